"""The dimension around samples, from their neighbours among reference samples."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import Bunch

from skvaeense.dimension import _scaling
from skvaeense.dimension._posterior import ANY, CLOSE, Evidence
from skvaeense.dimension._rank import CLEAR, FLAT, fair_share, typical_noise
from skvaeense.mixture._em import ABOVE, edge
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import EXACT, TINY, principal_directions
from skvaeense.utils._records import Kept
from skvaeense.utils._rows import MANY_ROWS, SOME_ROWS, row_blocks

# A flat is fitted to this number of the nearest members of a pool, and tested on the same number of
# others.
N_MEMBERS = 24
LEAST_SQUARE = np.sqrt(TINY)


class Flats(Kept):
    """Flats through the nearest samples of pools, which test whether others share their manifolds.

    If manifolds cross or come near one another, the nearest samples still belong to one manifold,
    and their principal directions are its tangents. Because of curvature, other samples of this
    manifold are off the flat by a share of their squared distance that grows with the squared
    distance. Samples of another manifold are off by more. The next members of the pool show how
    much is usual. If noise or too few samples turn the flat, the next members are so far off that
    all samples belong.

    Parameters
    ----------
    pools : list of ndarray of shape (n_members, n_features)
        Members of each pool, the nearest first.

    Attributes
    ----------
    ranks : ndarray of shape (n_flats,)
        Number of directions of each flat.

    fit : ndarray of bool of shape (n_flats,)
        Whether members that the flat was not fitted to lie near it, and not by chance.
    """

    def __init__(self, pools):
        sizes, n_features = np.array(list(map(len, pools))), pools[0].shape[1]
        # The spread is the mean squared distance of the fitted members from the centre, the reach
        # the largest squared distance of a member. The bend is the share of the squared distance by
        # which members can be off the flat, per unit of squared distance; NaN if it is unknown.
        self._spreads, self._reaches, self._bends = np.full((3, len(pools)), np.nan)
        self.fit, self.ranks = np.zeros(len(pools), dtype=bool), np.zeros(len(pools), dtype=int)
        self._centres, directions = np.empty((len(pools), n_features)), [None] * len(pools)
        # All flats that are fitted to the same number of members at once.
        kinds = np.where(sizes < 2 * N_MEMBERS, np.minimum(sizes, N_MEMBERS), 2 * N_MEMBERS)
        for kind in np.unique(kinds):
            of_kind = np.flatnonzero(kinds == kind)
            for block in row_blocks(len(of_kind), kind * n_features):
                some = of_kind[block]
                found = _fit_flats(np.array([pools[i][:kind] for i in some]))
                self._centres[some], self._spreads[some], self._bends[some] = found[1:4]
                self.fit[some], self.ranks[some] = found[4:]
                for i, turned, rank in zip(some, found[0], self.ranks[some], strict=True):
                    directions[i] = turned[:, turned.shape[1] - rank :]
        for i, points in enumerate(pools):
            self._reaches[i] = _squares(points - self._centres[i]).max()
        self._directions = np.hstack(directions)
        self._ends = np.cumsum(self.ranks)

    def belong(self, i, points):
        """Return a mask of the points of the i-th pool that seem to be on the same manifold.

        Parameters
        ----------
        i : int
            Index of the pool.

        points : ndarray of shape (n_points, n_features)
            Points.

        Returns
        -------
        ndarray of bool of shape (n_points,)
            Whether each point is on the manifold.
        """
        off, squares = self._off(i, points)
        return ~(off > FLAT + self._bends[i] * squares)

    def settle(self, near):
        """Let flats hold samples only where most of the flats nearby fit too, not by chance.

        Parameters
        ----------
        near : ndarray of int of shape (n_flats, n_near)
            Indices of the flats near each flat.
        """
        self.fit = self.fit & (2 * self.fit[near].sum(axis=1) > near.shape[1])

    def hold(self, points, flats):
        """Return whether flats hold points: the points are near the flats, and within reach.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        flats : ndarray of int of shape (n_points, n_asked)
            Indices of the flats to test for each point.

        Returns
        -------
        ndarray of bool of shape (n_points, n_asked)
            Whether each flat holds the point.
        """
        off, squares = self._distances(points, flats)
        most = _most_off(self.ranks, points.shape[1])
        return (off <= most[flats]) & (squares <= self._reaches[flats])

    def bar(self, points, flats):
        """Return whether flats fit and exclude points, even if manifolds bend.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        flats : ndarray of int of shape (n_points, n_asked)
            Indices of the flats to test for each point.

        Returns
        -------
        ndarray of bool of shape (n_points, n_asked)
            Whether each flat excludes the point.
        """
        off, squares = self._distances(points, flats)
        return off > FLAT + self._bends[flats] * squares

    def _distances(self, points, flats):
        """Return how far points are off flats and the squared distances, as `_off` does.

        Both are NaN for flats that do not fit.
        """
        found = np.full((2, flats.size), np.nan)
        pairs = np.flatnonzero(self.fit[flats])
        # All points of a flat at once.
        pairs = pairs[np.argsort(flats.flat[pairs], kind="stable")]
        asked, starts = np.unique(flats.flat[pairs], return_index=True)
        for i, own in zip(asked, np.split(pairs, starts)[1:], strict=True):
            found[:, own] = self._off(i, points[own // flats.shape[1]])
        return found.reshape(2, *flats.shape)

    def _off(self, i, points):
        directions = self._directions[:, self._ends[i] - self.ranks[i] : self._ends[i]]
        return _off(points, self._centres[i], directions, self._spreads[i])


def _fit_flats(points):
    """Return directions, centres, spreads and bends of flats, whether they fit, and their ranks.

    `points` has the members of each pool. Since manifolds bend, samples can be `CLEAR` times
    farther off than the next members of the pool.
    """
    nearest, next_ones = points[:, :N_MEMBERS], points[:, N_MEMBERS:]
    centres, n_features = nearest.mean(axis=1), points.shape[2]
    nearest = nearest - centres[:, None]
    spreads = np.square(nearest).sum(axis=(1, 2)) / nearest.shape[1]
    variances, turns = np.linalg.eigh(nearest @ nearest.transpose(0, 2, 1))
    ranks = _rank(variances, nearest.shape[1])[0].astype(int)
    # Only the last directions, as many as the rank, are of norm 1.
    turns /= np.sqrt(np.maximum(variances, TINY))[:, None]
    directions = nearest.transpose(0, 2, 1) @ turns
    bends, fits = np.full(len(points), np.nan), np.zeros(len(points), dtype=bool)
    if next_ones.shape[1]:
        kept = np.arange(len(variances.T)) >= len(variances.T) - ranks[:, None]
        shares, squares = _off(
            next_ones, centres[:, None], directions * kept[:, None], spreads[:, None]
        )
        off, square = np.median(shares, axis=1), np.median(squares, axis=1)
        # Copies of one point have no directions.
        known = square > LEAST_SQUARE
        fits = known & (off < _most_off(ranks, n_features))
        bends[known] = CLEAR * off[known] / square[known]
    return directions, centres, spreads, bends, fits, ranks


def _most_off(rank, n_features):
    """Return the largest share by which samples can be off a flat: a tenth of that by chance."""
    return FLAT * (1 - rank / n_features)


def _off(points, centre, directions, spread):
    """Return the shares of squared distances by which points are off a flat, and the distances.

    The spread of the flat limits the shares near the centre, where all directions are alike.
    """
    points = points - centre
    squares, along = _squares(points), _squares(points @ directions)
    return np.maximum(squares - along, 0.0) / np.maximum(squares, np.maximum(spread, TINY)), squares


def _squares(points):
    """Return the squared norms of points."""
    return np.einsum("...i,...i->...", points, points)


# Maximum number of landmarks, around which pools are taken, and number that a sample uses.
MAX_LANDMARKS = SOME_ROWS
N_ANSWERS = 10


class LocalGeometry(Kept):
    """Measure the dimension around samples.

    The pool of a sample is the nearest references that have similar active latents and belong to
    the flat of the first of them. Two numbers are measured. The *ratio* is the dimension from the
    growth of distances from neighbour to neighbour around each member of the pool, at several
    scales. The *rank* is the number of directions in which the pools nearby extend.

    The rank is exact if the pool is nearly flat, and too high otherwise. The ratio is never far
    off, and never exact. Noise and thin directions make the ratio higher at small scales, so it is
    also measured how much noise there can be. All these measurements give one distribution over
    dimensions. In small pools, the number of active latents replaces the rank.

    Pools are taken around landmarks, which are some of the references. A sample uses the landmarks
    in its pool: landmarks whose flats hold it, otherwise landmarks whose flats do not fit,
    otherwise all. So the sample is compared with landmarks only.

    Parameters
    ----------
    points : ndarray of shape (n_references, n_features)
        References in random order, as free of noise as possible; at least six.

    active : ndarray of bool of shape (n_references, n_components) or None
        Active latents of the references. None means that all are alike.

    n_neighbors : int
        Number of nearest references that a pool is taken from.

    noise_variance : float, default=0.0
        Variance of the remaining noise in each direction. If it is 0, pools show whether there may
        be noise and, without active latents, how much. With active latents, some noise may have
        been removed.

    most_noise : float, default=inf
        Upper bound on the noise variance of samples in each direction, before denoising.

    n_noisy : ndarray of shape (n_references,) or None, default=None
        Number of directions with remaining noise. None means all.

    observed : ndarray of shape (n_references, n_observed) or None, default=None
        The references with all their noise. None means that they are `points`.

    Attributes
    ----------
    hidden : float
        Share of the landmarks around which no direction stands above the noise.

    usual : ndarray of shape (n_dimensions,)
        How usual each dimension is, as of `Evidence.usual`; at first, all are alike.
    """

    def __init__(
        self,
        points,
        active,
        n_neighbors,
        *,
        noise_variance=0.0,
        most_noise=np.inf,
        n_noisy=None,
        observed=None,
    ):
        self.n_neighbors = min(n_neighbors, len(points) - 1)
        self.usual = ANY
        self._noise_variance = noise_variance
        n_noisy = np.full(len(points), points.shape[1]) if n_noisy is None else n_noisy
        self._n_features = points.shape[1]
        observed = points if observed is None else observed
        variances, directions = principal_directions(points - points.mean(axis=0))
        # An orthonormal basis of the directions in which points vary.
        self._plane = directions[variances > EXACT * variances[0]].T
        points, patterns = points @ self._plane, _pack(points, active)
        search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(points)
        self._calibration = _scaling.Calibration(len(points), self.n_neighbors, points.shape[1])
        # The part of squared distances that is noise, if there is as much as there can be.
        known = most_noise if np.isfinite(most_noise) or noise_variance == 0 else noise_variance
        with np.errstate(invalid="ignore", over="ignore"):
            part = 2.0 * known * n_noisy[:MANY_ROWS]
        n_near = 1 + min(2 * self._calibration.scales[-1], self.n_neighbors)
        # A point itself comes first, or a copy at the same distance.
        found = search.kneighbors(points[:MAX_LANDMARKS], max(n_near, self.n_neighbors))
        near = [values[:, :n_near] for values in found]
        if len(points) > MAX_LANDMARKS:
            near = search.kneighbors(points[:MANY_ROWS], n_near)
        inverses, reduced, nearness = self._measure_inverses(*near, patterns, part)
        near = [values[:, : self.n_neighbors] for values in found]
        anchors, at_anchor, members = self._measure_landmarks(*near, points, patterns, inverses)
        self._reduced = _average(reduced, anchors, at_anchor)[0]
        with np.errstate(over="ignore"):
            self._noisy = _mean((part / np.maximum(nearness, TINY))[:, anchors], at_anchor)
        if noise_variance == 0 and active is None:
            # The noise that decoding leaves has no single variance.
            self._noise_variance = typical_noise(
                [points[pool] for pool in members[: _scaling.N_QUERIES]]
            )
        close = _mean(nearness[0][anchors], at_anchor)
        self._measure_ranks(points, observed, members, n_noisy)
        # Noise explains no dimension if it changes squared distances by a share below `CLOSE`.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self._noiseless = 1 / (1 + np.square(2 * most_noise * self._n_features / close / CLOSE))
        self._noiseless = np.nan_to_num(self._noiseless)

        # Squared distances that are clearly more than noise.
        noise = 2 * self._noise_variance * n_noisy[: nearness.shape[1]]
        above = (CLEAR * noise < nearness)[:, anchors] & at_anchor
        self._clear = (2 * above.sum(axis=-1) > at_anchor.sum(axis=1)) | self._hidden

    def _measure_inverses(self, distances, neighbours, patterns, part):
        """Return 1 / dimension by distances to similar neighbours, for each scale and anchor.

        Also return it without the part of squared distances that can be noise, and the square of
        the smaller of the two distances behind each value.
        """
        alike = _alike(patterns[neighbours[:, 1:]], patterns[:MANY_ROWS])
        scales, squares = self._calibration.scales, np.square(distances)
        # Some of each distance is left, since noise can be less.
        reduced = np.sqrt(np.maximum(squares - part[:, None], squares / (2 * CLEAR)))
        inverses, without = (
            np.array([_scaling.inverse_dimensions(own[:, 1:], k, alike) for k in scales])
            for own in (distances, reduced)
        )
        return inverses, without, squares.T[[k // _scaling.NEAREST for k in scales]]

    def _measure_landmarks(self, distances, pools, points, patterns, inverses):
        """Measure the flats and the ratios around landmarks, the first references.

        Return the anchors of each pool, a mask of the anchors that count, and the members of each
        pool.
        """
        landmarks, self._patterns = points[:MAX_LANDMARKS], patterns[:MAX_LANDMARKS]
        n_landmarks = len(landmarks)
        self._radii = _radii(distances)
        alike = _alike(patterns[pools], self._patterns)
        # If no latent is active, nothing shows which members are alike, so all count.
        own = alike | ~alike.any(axis=1, keepdims=True)
        members = [points[pool[its]] for pool, its in zip(pools, own, strict=True)]
        self._flats = Flats(members)
        for i, its in enumerate(own):
            advance()
            its[its] = self._flats.belong(i, members[i])
        del members
        # About the number of landmarks in a pool.
        n_near = max(N_ANSWERS, round(self.n_neighbors * n_landmarks / len(points)))
        self._landmarks = NearestNeighbors(n_neighbors=min(n_near, n_landmarks)).fit(landmarks)
        near = self._landmarks.kneighbors(landmarks, return_distance=False)
        self._flats.settle(near)
        own &= ~self._barred(points, pools, near)
        # A landmark is on its own manifold, whatever the flats say.
        own[:, 0] = True
        at_anchor = alike & own & (pools < inverses.shape[1])
        anchors = np.where(at_anchor, pools, 0)
        self._inverses, self._errors = _average(inverses, anchors, at_anchor)
        return anchors, at_anchor, [pool[its] for pool, its in zip(pools, own, strict=True)]

    def _barred(self, points, pools, near):
        """Return a mask of the members of the landmarks' pools that are on another manifold.

        Such a member is on the flat of its nearest landmark, and this flat excludes the landmark of
        the pool. If the flat of the pool does not fit, every flat that does not hold the landmark
        of the pool counts as another manifold.
        """
        landmarks = points[: len(pools)]
        off, solid = self._flats.bar(landmarks, near), ~self._flats.fit
        off[solid] |= ~self._flats.hold(landmarks[solid], near[solid])
        barred = np.zeros((len(pools), len(pools)), dtype=bool)
        np.put_along_axis(barred, near, off, axis=1)
        home = self._landmarks.kneighbors(points, 1, return_distance=False)
        held = self._flats.hold(points, home)[:, 0]
        return held[pools] & np.take_along_axis(barred, home[pools][..., 0], axis=1)

    def _measure_ranks(self, points, observed, members, n_noisy):
        """Measure the ranks of pools, how their variances grow, and which stand above the noise."""
        p, n = points.shape[1], np.array(list(map(len, members)))
        # The nearest quarter is flatter than the pool, and its nearest members still more.
        n_nearest, n_noisy = np.maximum(n // _scaling.NEAREST, 2), n_noisy[: len(members)]
        variances, nearest = np.zeros((2, len(members), p))
        for i, pool in enumerate(members):
            advance()
            own = points[pool]
            for found, some in ((variances, own), (nearest, own[: n_nearest[i]])):
                values = _variances(some)
                found[i, p - len(values) :] = values
        visible = _rank(variances, n, self._noise_variance, n_noisy)[1]
        self._hidden = visible < 1
        # The answer is then the rank without noise, and uncertain.
        noise, self._visible = (
            ~self._hidden * self._noise_variance,
            np.where(self._hidden, np.inf, visible),
        )
        near, whole = (
            _rank(nearest, n_nearest, noise, n_noisy)[0],
            _rank(variances, n, noise, n_noisy)[0],
        )
        ranks = np.where(2 * self._flats.ranks > N_MEMBERS, near, self._flats.ranks)
        self._ranks = np.where(2 * ranks > n_nearest, whole, ranks)
        n_known = np.minimum(n_nearest, p)
        nearest, variances = nearest / n_nearest[:, None], variances / n[:, None]
        self._falls = _falls(nearest, self._ranks.astype(int), n_known)
        growths = _growths(nearest, variances, np.minimum(n_known, n))
        # Of no more directions than can be asked for.
        self._growths = growths[:, : int(self._ranks.max()) + 1]
        self._rests, self._evenness = _measure_rests(
            points, observed, members, self._ranks.astype(int)
        )
        self.hidden = float(self._hidden.mean())

    def at(self, points, active, off=0.0, bound=np.inf):
        """Return the dimension around samples.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)
            Samples, as free of noise as possible.

        active : ndarray of bool of shape (n_samples, n_components) or None
            Active latents of the samples.

        off : ndarray of shape (n_samples,) or float, default=0.0
            Squared distances of the samples to these points, beyond the usual distance.

        bound : ndarray of shape (n_samples,) or float, default=inf
            Number of directions that equations leave; infinite if no equation holds.

        Returns
        -------
        Bunch
            Arrays of shape (n_samples,): `dimension`, mostly whole numbers; its standard error
            `std`; `ratio`, the dimension by distances alone at the smallest scale that is clear of
            noise, or NaN if too few neighbours are like the sample; `hidden`, the share of nearby
            pools in which no direction stands above the noise; `alike`, the share of the nearest
            references that have similar active latents; `held`, whether the sample is on the flat
            of a landmark that it uses; and `excess`, the distance from all references beyond the
            distance that counts as far, as a share of the latter. The `evidence` has the
            measurements from which the dimension follows. The dict `reasons` says how much each
            of them leaves open, in dimensions: "sampling", the error of `ratio` by chance;
            "noise", the fall of the ratio from scale to scale; "disagreement", the difference
            between the dimension and the ratio; and "intersection", the difference between the
            dimension and the ranks of nearby pools.
        """
        near, asked, held, share, away = self._ask_landmarks(points, active, off)
        ratios, known = self._ratios(near, asked)

        def mean(values):
            return _mean(values[..., near], asked)

        def median(values):
            return _median(np.where(asked, values[near], np.nan))

        clear, hidden = mean(self._clear) > 0.5, mean(self._hidden)
        visible = median(self._visible)
        # The first scale at which distances are more than noise; the last scale if there is none.
        first = np.where(clear.any(axis=0), clear.argmax(axis=0), len(ratios) - 1)
        # Samples at equal distances, such as one-hot rows, have no finite ratio.
        ratios = np.minimum(ratios, self._n_features)
        ratio = np.take_along_axis(ratios, first[None], axis=0)[0]
        least = np.where(clear, ratios, ratio).min(axis=0)
        lowest = self._lowest(near, asked, ratios, least)
        error, bound = mean(self._errors), np.broadcast_to(bound, len(ratio))
        growth = np.stack([mean(values) for values in self._growths.T], axis=1)
        others = median(self._falls), growth, median(self._rests), median(self._evenness)
        distances = ratio, ratios[0], least, lowest, error
        evidence = Evidence(*distances, median(self._ranks), bound, *others, mean(self._noiseless))
        dimension, std = evidence.posterior(self.usual)
        # Directions within the noise do not count.
        dimension = np.maximum(np.minimum(dimension, visible), 1.0)
        apart = np.square(self._ranks[near] - dimension[:, None])
        return Bunch(
            dimension=dimension,
            std=std,
            ratio=np.where(known, np.minimum(ratio, np.maximum(visible, 1.0)), np.nan),
            reasons={
                "sampling": error * ratio,
                "noise": ratio - least,
                "disagreement": np.abs(dimension - np.clip(dimension, least, ratio)),
                "intersection": np.sqrt(_mean(apart, asked)),
            },
            hidden=hidden,
            alike=share,
            held=held & (np.broadcast_to(off, len(held)) <= 0),
            # Beyond two radii of the nearest pools, a sample is far from all references.
            excess=np.maximum(away / 2 - 1, 0.0),
            evidence=evidence,
        )

    def over_scales(self, points, active):
        """Return the number of neighbours at each scale, and the ratios around samples.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)
            Samples, as free of noise as possible.

        active : ndarray of bool of shape (n_samples, n_components) or None
            Active latents of the samples.

        Returns
        -------
        n_neighbors : ndarray of shape (n_scales,)
            Numbers of neighbours, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            Ratios; NaN where they are unknown.
        """
        ratios, known = self._ratios(*self._ask_landmarks(points, active)[:2])
        return np.array(self._calibration.scales), np.where(known, ratios, np.nan).T

    def _ask_landmarks(self, points, active, off=0.0):
        """Return the landmarks in samples' pools, and which of them are most like the samples.

        Also return whether flats hold the samples, the share of landmarks that are alike, and the
        distance to the landmarks in radii of their pools.
        """
        patterns, points = _pack(points, active), points @ self._plane
        off = np.broadcast_to(off, len(points))
        distances, near = self._landmarks.kneighbors(points)
        with np.errstate(over="ignore"):
            # If all references are copies of one, any other point is infinitely far.
            away = (np.hypot(distances, np.sqrt(off)[:, None]) / self._radii[near]).min(axis=1)
        alike = _alike(self._patterns[near], patterns)
        # 3 if a flat holds the sample, 2 if it does not fit. A flat that fits but does not hold the
        # sample more likely belongs to another manifold.
        like = alike * (1 + ~self._flats.fit[near] + 2 * self._flats.hold(points, near))
        # The nearest of the landmarks that are most like the sample.
        order = np.argsort(-like, axis=1, kind="stable")[:, :N_ANSWERS]
        near, like = (np.take_along_axis(values, order, axis=1) for values in (near, like))
        asked = (like > 0) & (like == like[:, :1])
        return near, asked, like[:, 0] > 2, alike.mean(axis=1), away

    def _lowest(self, near, asked, ratios, least):
        """Return the dimension by distances if there is as much noise as there can be.

        It is that of the first scale at which distances are clearly more than this noise. If there
        is none, dimensions may fall once more by as much as from the first scale to the least.
        """
        reduced = self._corrected(self._reduced, near, asked)
        clear = CLEAR * _mean(self._noisy[:, near], asked) < 1
        is_clear = clear.any(axis=0)
        first = np.where(is_clear, clear.argmax(axis=0), len(ratios) - 1)[None]
        at_first, lowest = (np.take_along_axis(v, first, axis=0)[0] for v in (ratios, reduced))
        lowest = np.fmin(lowest, at_first)
        return np.where(is_clear, lowest, np.fmin(lowest, least * np.minimum(least / ratios[0], 1)))

    def _ratios(self, near, asked):
        """Return corrected ratios, with a row for each scale, and for which samples they are known.

        A sample is known if it has a ratio at all scales but the largest.
        """
        ratios = self._corrected(self._inverses, near, asked)
        known = np.isfinite(ratios[: len(_scaling.SCALES)]).all(axis=0)
        for scale, ratio in enumerate(ratios):
            # Parts of few samples have no larger scale, so they keep the smaller one.
            own = np.isfinite(ratio)
            ratio[~own] = ratios[max(scale - 1, 0)][~own]
        return ratios, known

    def _corrected(self, inverses, near, asked):
        """Return corrected ratios of mean inverses at landmarks; NaN where they are unknown."""
        inverses = _mean(inverses[:, near], asked)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(inverses > 0, 1 / inverses, np.nan)
        for scale, ratio in enumerate(ratios):
            own = np.isfinite(ratio)
            if own.any():
                ratio[own] = self._calibration.correct(ratio[own], scale)
        return ratios


def _radii(distances):
    """Return the radii of pools: a pool of copies of one reference gets the median of the others.

    `distances` has a row for each pool, in ascending order.
    """
    radii = distances[:, -1]
    usual = np.median(radii[radii > 0]) if radii.any() else TINY
    return np.where(radii > 0, radii, usual)


def _alike(others, patterns):
    """Return a mask of others with similar active latents: at least half of the union is shared.

    `others` has the shape (n_samples, n_others, n_words), `patterns` (n_samples, n_words).
    """
    both, either = np.zeros(others.shape[:2], int), np.zeros(others.shape[:2], int)
    for word in range(patterns.shape[1]):
        own, other = patterns[:, None, word], others[:, :, word]
        both += np.bitwise_count(own & other)
        either += np.bitwise_count(own | other)
    return 2 * both >= np.maximum(either, 1)


def _average(inverses, pools, alike):
    """Return the mean inverse of each pool at each scale, and the relative error of the first."""
    inverses = inverses[:, pools]
    known = alike & np.isfinite(inverses)
    mean = _mean(inverses, known)
    squares = _mean(np.square(inverses[0] - mean[0][:, None]), known[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return mean, np.sqrt(squares / known[0].sum(axis=1)) / mean[0]


def _mean(values, asked):
    """Return the mean of the chosen values of each row; NaN if none is chosen."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(asked, values, 0.0).sum(axis=-1) / asked.sum(axis=-1)


def _median(values):
    """Return the lower median of the known values of each row; NaN if none is known."""
    middle = np.maximum((~np.isnan(values)).sum(axis=1) - 1, 0) // 2
    return np.take_along_axis(np.sort(values, axis=1), middle[:, None], axis=1)[:, 0]


def _pack(points, active):
    """Return active latents as the bits of words, of shape (n_samples, n_words).

    Without active latents, all samples get the same single latent.
    """
    if active is None:
        active = np.ones((len(points), 1), dtype=bool)
    packed = np.packbits(active, axis=1)
    padding = -packed.shape[1] % 8
    return np.pad(packed, [(0, 0), (0, padding)]).view(np.uint64)


def _variances(points):
    """Return the sums of squares of points along principal directions, ascending."""
    points = points - points.mean(axis=0)
    wide = points.shape[1] > points.shape[0]
    return np.linalg.eigvalsh(points @ points.T if wide else points.T @ points)


def _rank(variances, n_points, noise_variance=0.0, n_noisy=0):
    """Return the number of directions in which points extend, and the number above the noise.

    `variances` are sums of squares, in ascending order along the last axis. The second number is
    infinite if there is no noise.
    """
    floor = n_points * ABOVE * edge(noise_variance, n_noisy, n_points)
    share = fair_share(FLAT, _count_above(variances, FLAT, floor), n_points)
    above = np.where(floor > 0, _count_above(variances, 0.0, floor), np.inf)
    return _count_above(variances, share, floor), above


def _falls(variances, ranks, n_known):
    """Return logarithms of ratios of ascending variances before and after ranks.

    Of each row, the last `n_known` variances are known; after the last of them, the fall is
    infinite.
    """
    places = variances.shape[1] - np.stack([ranks, ranks + 1], axis=1)
    known = (ranks > 0) & (ranks < n_known)
    places = np.where(known[:, None], places, 0)
    before, after = np.log(np.maximum(np.take_along_axis(variances, places, axis=1), TINY)).T
    return np.where(known, before - after, np.inf)


def _growths(small, large, n_known):
    """Return powers of the squared size with which ascending variances grow; NaN if unknown."""
    known = np.arange(small.shape[1]) < n_known[:, None]
    small, large = (np.maximum(values[:, ::-1], TINY) for values in (small, large))
    sizes = np.log((large * known).sum(axis=1)) - np.log((small * known).sum(axis=1))
    known &= sizes[:, None] > CLOSE
    sizes = np.where(sizes > CLOSE, sizes, 1.0)[:, None]
    return np.where(known, (np.log(large) - np.log(small)) / sizes, np.nan)


def _measure_rests(points, observed, members, ranks):
    """Return how the rests of curved surfaces grow, and the share of directions that they fill.

    Surfaces of second degree, with as many directions as the rank, are fitted to the nearest
    members of a pool, twice as many as their terms, and to twice as many members. The first result
    is the power of the squared size with which the mean square of what is left grows: NaN if there
    are too few members, and infinite if nothing but rounding is left. The second is of the observed
    samples, where noise fills all directions evenly, and a thinner direction one of them. Half of
    the pools are measured, because they overlap.
    """
    growths, evenness = np.full((2, len(members)), np.nan)
    p = points.shape[1]
    growths[ranks == p] = np.inf
    sizes = (ranks + 1) * (ranks + 2)
    is_known = (ranks > 0) & (ranks < p) & (2 * sizes <= list(map(len, members)))
    is_known[len(members) // 2 + 1 :] = False
    for rank in np.unique(ranks[is_known]):
        of_rank = np.flatnonzero(is_known & (ranks == rank))
        size = sizes[of_rank[0]]
        for block in row_blocks(len(of_rank), 2 * size * max(observed.shape[1], 2 * size)):
            some = of_rank[block]
            own = np.array([members[i][: 2 * size] for i in some])
            (small, rest), (large, whole) = (
                [np.maximum(_squares(its).sum(axis=1) / left, TINY) for its, left in found]
                for found in (_off_surface(points[own[:, :n]], rank) for n in (size, 2 * size))
            )
            grown = np.log(large / small)
            power = np.log(whole / rest) / np.maximum(grown, TINY)
            # Rounding is no direction.
            power = np.where(whole > EXACT * large, power, np.inf)
            growths[some] = np.where(grown > CLOSE, power, np.nan)
            evenness[some] = _evenness(*_off_surface(observed[own], rank)[1], rank)
    return growths, evenness


def _off_surface(points, rank):
    """Return points from their mean and from surfaces of second degree, each with what is left."""
    n, p = points.shape[1:]
    points = points - points.mean(axis=1, keepdims=True)
    if p < n:
        along = points @ np.linalg.eigh(points.transpose(0, 2, 1) @ points)[1][:, :, -rank:]
        along *= np.sqrt(n / np.maximum(np.square(along).sum(axis=1, keepdims=True), TINY))
    else:
        turns = np.linalg.eigh(points @ points.transpose(0, 2, 1))[1]
        along = turns[:, :, -rank:] * np.sqrt(n)
    first, second = np.triu_indices(rank)
    terms = [np.ones_like(along[:, :, :1]), along, along[:, :, first] * along[:, :, second]]
    basis = np.linalg.qr(np.concatenate(terms, axis=2))[0]
    rests = points - basis @ (basis.transpose(0, 2, 1) @ points)
    return (points, n), (rests, n - basis.shape[2])


def _evenness(rests, n_left, rank):
    """Return the shares of directions off surfaces that rests fill: the participation ratio.

    The sum of squares of their covariance is estimated without bias: M. S. Srivastava, "Some tests
    concerning the covariance matrix in high dimensional data", Journal of the Japan Statistical
    Society 35, 2005. The shares are NaN if there are fewer than two directions.
    """
    n_directions = rests.shape[2] - rank
    if n_directions < 2:
        return np.nan
    products = rests @ rests.transpose(0, 2, 1)
    total = np.maximum(np.trace(products, axis1=1, axis2=2), TINY)
    part = np.square(products / total[:, None, None]).sum(axis=(1, 2)) - 1 / n_left
    part *= n_left**2 / ((n_left - 1) * (n_left + 2))
    return 1 / np.maximum(part * n_directions, 1.0)


def _count_above(variances, share, floor):
    least = np.maximum(share * variances[..., -1], np.maximum(floor, TINY))
    return (variances > least[..., None]).sum(axis=-1).astype(float)
