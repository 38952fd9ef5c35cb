"""The dimension around samples, from their neighbours among reference samples."""

from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skvaeense.dimension._flats import FLAT, N_MEMBERS, Flat, Flats
from skvaeense.dimension._noise import (
    ABOVE,
    MAX_ROWS,
    RARELY,
    edge,
    fair_share,
    typical_noise,
)
from skvaeense.dimension._rank import clear_rank
from skvaeense.dimension._scaling import (
    N_POOL,
    N_QUERIES,
    NEAR,
    NEAR_SHARE,
    NEAREST,
    SCALES,
    Calibration,
    inverse_dimensions,
)
from skvaeense.utils._blocks import SOME_ROWS
from skvaeense.utils._rounding import EXACT

# References that pools are taken around, and how many of these answer for a sample.
MAX_LANDMARKS = SOME_ROWS
N_ANSWERS = 10
# The rank is believed if it is this near, in dimensions or as a fraction, to what distances say, or
# within two of their standard errors; the second fraction where the nearest members have the same
# rank, of which there must be this number for each dimension.
STEADY_SHARE, STEADY_MEMBERS = 0.3, 4
# Members that a pool must have for each dimension that it may have, or its rank says too little.
MEMBERS_PER_DIMENSION = 10
# Distances are believed where their squares are at least this multiple of what noise adds to them.
CLEAR = 4.0
# Radii of the nearest pools beyond which a sample is far from all references.
FAR = 2.0
TINY = np.finfo(float).tiny


class LocalDimension(NamedTuple):
    """What neighbours say of samples; every array has the shape (n_samples,).

    Attributes
    ----------
    dimension : ndarray
        A whole number at nearly every sample; NaN where no neighbour is like the sample.

    ratio : ndarray
        The dimension by distances alone, at the smallest scale that is clear of noise; NaN where
        too few neighbours are like the sample.

    least : ndarray
        The smallest at such scales; where there are none, it is not above the dimension.

    error : ndarray
        Standard error of `ratio`, by chance alone.

    fall : ndarray
        How far the smallest is below the ratio.

    hidden : ndarray
        Share of the pools nearby in which no direction stands above the noise.

    spread : ndarray
        How far the ranks of the pools nearby, and of their nearest quarters, are from the
        dimension: the root of the mean square.

    alike : ndarray
        Share of the nearest references that have similar active latents.

    held : ndarray of bool
        Whether the sample is on the flat of a reference that answers, and the dimension is that
        of its nearest members.

    excess : ndarray
        How far the sample is from all references, as a share of the distance that is far; 0 if it
        is not.
    """

    dimension: np.ndarray
    ratio: np.ndarray
    least: np.ndarray
    error: np.ndarray
    fall: np.ndarray
    hidden: np.ndarray
    spread: np.ndarray
    alike: np.ndarray
    held: np.ndarray
    excess: np.ndarray


class LocalGeometry:
    """Measure the dimension around samples.

    The nearest references of a sample that have similar active latents, and belong to the flat of
    the first of them, are its pool. Two numbers are read off: the *ratio*, from how distances grow
    from neighbour to neighbour around each member of the pool, at several scales; and the *rank*,
    the number of directions in which pools around there extend. The rank is exact where the pool is
    nearly flat, and too high where it is not. The ratio is never far off, and never exact. So the
    rank is taken where the ratio agrees, else the whole number next to the ratio. The nearest
    quarter of a pool is flatter than the whole, and its rank is taken if it agrees better. A rank
    that is that of the very nearest too need not agree as well, and one that is clear without noise
    need not agree at all: thin directions have hardly a say in distances. Small pools have no say
    in the rank, and the number of active latents stands for it. Noise makes the ratio too high at
    small scales, so the rank may agree with it at any scale down to which it falls, or would fall
    in one step more, unless noise would be seen, and is not, or the flattest of all pools says that
    there is less of it; where it rises with the scale, other manifolds have come into view.

    Pools are taken around landmarks, which are some of the references, and the landmarks in its own
    pool answer for a sample: those whose flats hold it, else those whose flats do not fit, else
    all. So it need be compared with them only.

    Parameters
    ----------
    points : ndarray of shape (n_references, n_features)
        References in random order, without noise as far as may be; at least six.

    active : ndarray of bool of shape (n_references, n_components) or None
        Their active latents. None: all are alike.

    n_neighbors : int
        Number of nearest references that a pool is taken from.

    noise_variance : float, default=0.0
        Variance of the noise that is left in each direction. If it is 0, pools say whether there
        may be noise, and how much where there are no active latents, by which some may have been
        taken off.

    n_noisy : ndarray of shape (n_references,) or None, default=None
        Number of directions that noise is left in. None: all.

    clear : bool, default=True
        Whether nothing is known to have been taken off the references. If something is, directions
        of which there is nothing are no sign of a manifold that is flat, and thin directions may be
        noise that is left.

    Attributes
    ----------
    hidden : float
        Share of the landmarks around which nothing stands above the noise.
    """

    def __init__(
        self, points, active, *, n_neighbors, noise_variance=0.0, n_noisy=None, clear=True
    ):
        self.n_neighbors = min(n_neighbors, len(points) - 1)
        self._noise_variance, self._may_be_clear = noise_variance, clear
        n_noisy = np.full(len(points), points.shape[1]) if n_noisy is None else n_noisy
        self._plane, self._n_features = _plane(points), points.shape[1]
        points, patterns = points @ self._plane, _pack(points, active)
        search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(points)
        self._calibration = Calibration(len(points), self.n_neighbors, points.shape[1])
        inverses, nearness = self._measure_inverses(search, points, patterns)
        (anchors, at_anchor), members, flats = self._measure_landmarks(
            search, points, patterns, inverses
        )
        may_be_noisy, most = True, _most_noise(flats)
        if noise_variance == 0:
            told_by = [points[pool] for pool in members[:N_QUERIES]]
            told, seen = typical_noise(told_by)
            may_be_noisy = seen or not clear
            # What decoding has left is no noise of one variance.
            self._noise_variance = told if active is None else 0.0
        self._measure_ranks(points, members, [flat.rank for flat in flats], n_noisy, most)

        def stand_above(noise_variance, squares):
            # What noise adds to the square of a distance.
            added = 2 * noise_variance * n_noisy[: squares.shape[-1]]
            above = (squares > CLEAR * added)[..., anchors] & at_anchor
            return 2 * above.sum(axis=-1) > at_anchor.sum(axis=1)

        self._clear = stand_above(self._noise_variance, nearness) | self._hidden
        self._may_be_noisy = np.full(len(flats), may_be_noisy)
        if clear and most < np.inf:
            self._may_be_noisy &= ~stand_above(most, nearness[0])

    def _measure_inverses(self, search, points, patterns):
        """Return 1 / dimension by distances to like neighbours, for each scale and anchor.

        Also the square of the smaller distance that each was measured by.
        """
        scales = self._calibration.scales
        n_neighbors = min(2 * scales[-1], self.n_neighbors)
        # The reference itself comes first, or a copy of it, which is as far away.
        distances, neighbours = search.kneighbors(points[:MAX_ROWS], n_neighbors + 1)
        alike = _alike(patterns[neighbours[:, 1:]], patterns[:MAX_ROWS])
        inverses = np.array([inverse_dimensions(distances[:, 1:], k, alike) for k in scales])
        return inverses, np.square([distances[:, k // NEAREST] for k in scales])

    def _measure_landmarks(self, search, points, patterns, inverses):
        """Measure the flats and the ratios around landmarks, the first references.

        Return their pools, with a mark at each anchor that counts, the members of each, and the
        flats through the nearest of them.
        """
        n_landmarks = min(len(points), MAX_LANDMARKS)
        landmarks, self._patterns = points[:n_landmarks], patterns[:n_landmarks]
        distances, pools = search.kneighbors(landmarks)
        self._radii = np.maximum(distances[:, -1], TINY)
        alike = _alike(patterns[pools], self._patterns)
        # Where nothing is active there is no telling who is alike.
        own = alike | ~alike.any(axis=1, keepdims=True)
        flats = [Flat(points[pool[its]]) for pool, its in zip(pools, own, strict=True)]
        for pool, its, flat in zip(pools, own, flats, strict=True):
            its[its] = flat.belongs(points[pool[its]])
        # As many as are in a pool.
        self._n_near = min(
            max(N_ANSWERS, round(self.n_neighbors * n_landmarks / len(points))), n_landmarks
        )
        self._landmarks = NearestNeighbors(n_neighbors=self._n_near).fit(landmarks)
        near = self._landmarks.kneighbors(landmarks, return_distance=False)
        self._flats = Flats(flats, near)
        own &= ~self._barred(points, pools, near)
        # Whatever flats say, a sample is on its own manifold.
        own[:, 0] = True
        at_anchor = alike & own & (pools < inverses.shape[1])
        anchors = np.where(at_anchor, pools, 0)
        self._inverses, self._errors = _average(inverses, anchors, at_anchor)
        members = [pool[its] for pool, its in zip(pools, own, strict=True)]
        return (anchors, at_anchor), members, flats

    def _barred(self, points, pools, near):
        """Return which members of the landmarks' pools are on a flat that landmarks are not on.

        That is the flat of the landmark next to a member. It is of another manifold. Where the
        landmark's own flat does not fit, so is each flat that does not go through the landmark.
        """
        landmarks = points[: len(pools)]
        off, solid = self._flats.bar(landmarks, near), ~self._flats.fit
        off[solid] |= ~self._flats.hold(landmarks[solid], near[solid])
        barred = np.zeros((len(pools), len(pools)), dtype=bool)
        np.put_along_axis(barred, near, off, axis=1)
        home = self._landmarks.kneighbors(points, 1, return_distance=False)
        held = self._flats.hold(points, home)[:, 0]
        return held[pools] & np.take_along_axis(barred, home[pools][..., 0], axis=1)

    def _measure_ranks(self, points, members, nearest, n_noisy, most):
        """Measure the ranks of pools and of their nearest quarters, and whether they are steady."""
        ranks = []
        for pool, nearest_rank, n in zip(members, nearest, n_noisy, strict=False):
            noise = self._noise_variance
            rank, visible = _rank(points[pool], noise, n)
            hidden = visible < 1
            if hidden:
                # The answer is then what it would be without noise, and unsure.
                noise = 0.0
                rank, visible = _rank(points[pool])
            quarter = points[pool[: max(len(pool) // NEAREST, 2)]]
            near = min(_rank(quarter, noise, n)[0], rank)
            if len(quarter) < MEMBERS_PER_DIMENSION * near:
                near = rank
            steady = nearest_rank == near and STEADY_MEMBERS * near <= N_MEMBERS
            ranks.append((near, rank, steady, visible, hidden))
        ranks = np.array(ranks, dtype=float).T
        self._near_ranks, self._ranks, self._steady, self._visible, self._hidden = ranks
        self._hidden = self._hidden > 0
        # 0: none is clear.
        self._clear_ranks = np.zeros(len(members))
        if self._noise_variance == 0 and self._may_be_clear:
            with np.errstate(divide="ignore"):
                ratio, largest = 1 / self._inverses[0], 1 / self._inverses[-1]
            # Where it rises with the scale, it is not for thin directions that it is small.
            rises = largest > ratio + np.maximum(NEAR, NEAR_SHARE * ratio)
            for i in np.flatnonzero(np.isfinite(ratio) & ~rises):
                rank = clear_rank(points[members[i][:N_POOL]], self._n_features, most)
                # Distances show at most a little more than there is.
                self._clear_ranks[i] = rank if rank >= ratio[i] - 1 else 0
        self.hidden = float(self._hidden.mean())

    def at(self, points, active, off=0.0):
        """Return the dimension around samples.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)
            Samples, without noise as far as may be.

        active : ndarray of bool of shape (n_samples, n_components) or None
            Their active latents.

        off : ndarray of shape (n_samples,) or float, default=0.0
            Squared distances of the samples to these points, beyond what is usual.

        Returns
        -------
        LocalDimension
            What neighbours say.
        """
        ratios, known, clear, (
            sure, error, hidden, noisy, near, rank, steady, visible, share, held, middle,
            spread, distance,
        ) = self._measure(points, active, off)  # fmt: skip
        # The first scale at which distances are more than noise; the last one if there is none.
        first = np.where(clear.any(axis=0), clear.argmax(axis=0), len(ratios) - 1)
        ratio = np.take_along_axis(ratios, first[None], axis=0)[0]
        seen = np.where(clear, ratios, ratio)
        least, error = seen.min(axis=0), error * ratio
        if active is not None:
            count = active.sum(axis=1)
            rank = np.where(share * self.n_neighbors < MEMBERS_PER_DIMENSION * count, count, rank)
        # Where it still falls at the last scale, it may fall as much once more.
        falling = np.maximum(ratios[-2:][0] - ratios[-1], 0.0) * (least == ratios[-1])
        ranks = np.array([np.minimum(near, rank), rank])
        allowed = np.where(steady > 0.5, STEADY_SHARE, NEAR_SHARE) * ranks
        allowed = np.hypot(np.maximum(NEAR, allowed), 2 * error)
        # If not for noise, it is for thin directions that it falls.
        down_to = np.where(noisy > 0.5, np.minimum(least - falling, ratio), ratio)
        beside = np.abs(ranks - np.clip(ranks, down_to, ratio))
        # Distances that are noise at all scales are only too large.
        agrees = (beside <= allowed) | ~clear.any(axis=0) & (ranks <= ratio + allowed)
        best = np.where(agrees, beside, np.inf).argmin(axis=0)
        rank, agree = np.take_along_axis(ranks, best[None], axis=0)[0], agrees.any(axis=0)
        dimension = np.where(agree, rank, np.round(ratio))
        # A flat that holds the sample bounds its dimension, whatever distances to others say.
        held = (held > 0.5) & (off <= 0)
        dimension = np.where(held & (steady > 0.5), np.minimum(dimension, near), dimension)
        # A clear rank needs no agreement: distances hardly show thin directions.
        dimension = np.where(sure > 0, sure, dimension)
        # Noise has no dimension.
        answer = np.maximum(np.minimum(dimension, visible), 1.0)
        # Distances that are noise at all scales are only too large.
        lowest = np.where(clear.any(axis=0), least, np.minimum(least, dimension))
        return LocalDimension(
            dimension=answer,
            ratio=np.where(known, np.minimum(ratio, np.maximum(visible, 1.0)), np.nan),
            least=lowest,
            error=error,
            fall=ratio - least,
            hidden=hidden,
            spread=np.hypot(spread, middle - answer),
            alike=share,
            held=held & (dimension == ranks[0]),
            excess=np.maximum(distance / FAR - 1, 0.0),
        )

    def over_scales(self, points, active):
        """Return the number of neighbours of each scale, and the ratio there around samples.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)
            Samples, without noise as far as may be.

        active : ndarray of bool of shape (n_samples, n_components) or None
            Their active latents.

        Returns
        -------
        n_neighbors : ndarray of shape (n_scales,)
            Ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            NaN where neighbours do not say.
        """
        ratios, known, *_ = self._measure(points, active)
        return np.array(self._calibration.scales), np.where(known, ratios, np.nan).T

    def _measure(self, points, active, off=0.0):
        """Return corrected ratios, where they are known and where clear of noise, and the rest.

        Ratios have a row for each scale; known are samples that have one at all but the largest.
        The rest is the rank that is clear without distances, or 0, the relative error of the first
        ratio, the share of the landmarks around which noise hides all, the ranks of the nearest and
        of all, whether they are steady, the number of directions that stand above the noise, the
        share of those that are alike, whether flats hold the samples, the mean of the ranks nearby
        and their standard deviation, and how many radii of their pools the landmarks are away.
        """
        patterns, points = _pack(points, active), points @ self._plane
        off = np.broadcast_to(off, len(points))
        said, n_scales = self._ask_landmarks(points, patterns, off), len(self._calibration.scales)
        ratios, clear, rest = np.split(said, [n_scales, 2 * n_scales])
        known = np.isfinite(ratios[: len(SCALES)]).all(axis=0)
        for scale, ratio in enumerate(ratios):
            own = np.isfinite(ratio)
            if own.any():
                ratio[own] = self._calibration.correct(ratio[own], scale)
            # Parts of few samples have no larger scale.
            ratio[~own] = ratios[max(scale - 1, 0)][~own]
        return ratios, known, clear > 0.5, rest

    def _ask_landmarks(self, points, patterns, off):
        """Return what the landmarks in the pool of each sample say that are like it."""
        distances, near = self._landmarks.kneighbors(points)
        # Pools of copies of one reference have no radius.
        with np.errstate(over="ignore"):
            away = (np.hypot(distances, np.sqrt(off)[:, None]) / self._radii[near]).min(axis=1)
        alike = _alike(self._patterns[near], patterns)
        share, held = alike.mean(axis=1), self._flats.hold(points, near)
        # 3 where a flat holds the sample, 2 where it does not fit. One that fits, and does not hold
        # the sample, is more likely of another manifold.
        like = alike * (1 + ~self._flats.fit[near] + 2 * held)
        # The nearest of those that are most like the sample.
        order = np.argsort(-like, axis=1, kind="stable")[:, :N_ANSWERS]
        near, like = (np.take_along_axis(values, order, axis=1) for values in (near, like))
        asked, held = (like > 0) & (like == like[:, :1]), like[:, 0] > 2
        with np.errstate(divide="ignore", invalid="ignore"):
            inverses, clear, error, hidden, noisy = (
                np.where(asked, values[..., near], 0.0).sum(axis=-1) / asked.sum(axis=1)
                for values in (
                    *(self._inverses, self._clear, self._errors, self._hidden),
                    self._may_be_noisy,
                )
            )
            ratios = np.where(inverses > 0, 1 / inverses, np.nan)
        near_rank, rank, steady, visible, sure = (
            _median(np.where(asked, values[near], np.nan))
            for values in (
                *(self._near_ranks, self._ranks, self._steady, self._visible),
                self._clear_ranks,
            )
        )
        ranks = np.hstack([values[near] for values in (self._near_ranks, self._ranks)])
        middle, spread = _mean_and_deviation(ranks, np.hstack([asked, asked]))
        return np.vstack(
            [
                *(ratios, clear, sure, error, hidden, noisy, near_rank, rank, steady, visible),
                *(share, held, middle, spread, away),
            ]
        )


def _plane(points):
    """Return an orthonormal basis of the directions in which points vary, as columns."""
    centred = points - points.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    varying = variances > EXACT * variances[-1]
    # Constant samples have one, too.
    varying[-1] = True
    return directions[:, varying]


def _alike(others, patterns):
    """Return which others have similar active latents: at least half of those of either are shared.

    `others` has the shape (n_samples, n_others, n_words), `patterns` (n_samples, n_words).
    """
    both, either = np.zeros(others.shape[:2], int), np.zeros(others.shape[:2], int)
    for word in range(patterns.shape[1]):
        own, other = patterns[:, None, word], others[:, :, word]
        both += np.bitwise_count(own & other)
        either += np.bitwise_count(own | other)
    return 2 * both >= np.maximum(either, 1)


def _most_noise(flats):
    """Return what the variance of the noise is at most: what samples are off the flattest flats."""
    off = [flat.noise for flat in flats if np.isfinite(flat.noise)]
    return np.quantile(off, RARELY) if off else np.inf


def _average(inverses, pools, alike):
    """Return the mean of those of each pool at each scale, and the relative error of the first."""
    inverses = np.where(alike, inverses[:, pools], np.nan)
    known = np.isfinite(inverses)
    n_known = known.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, inverses, 0.0).sum(axis=2) / n_known
        spread = np.where(known[0], np.square(inverses[0] - mean[0][:, None]), 0.0).sum(axis=1)
        return mean, np.sqrt(spread) / n_known[0] / mean[0]


def _mean_and_deviation(values, asked):
    """Return the mean and the standard deviation of the chosen values of each row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(asked, values, 0.0).sum(axis=1) / asked.sum(axis=1)
        squares = np.where(asked, np.square(values - mean[:, None]), 0.0).sum(axis=1)
        return mean, np.sqrt(squares / asked.sum(axis=1))


def _median(values):
    """Return the lower median of each row, of those that are known; NaN if none is."""
    middle = np.maximum((~np.isnan(values)).sum(axis=1) - 1, 0) // 2
    return np.take_along_axis(np.sort(values, axis=1), middle[:, None], axis=1)[:, 0]


def _pack(points, active):
    """Return active latents as the bits of words, of shape (n_samples, n_words).

    Where none are given, all samples have the same one.
    """
    if active is None:
        active = np.ones((len(points), 1), dtype=bool)
    packed = np.packbits(active, axis=1)
    padding = -packed.shape[1] % 8
    return np.pad(packed, [(0, 0), (0, padding)]).view(np.uint64)


def _rank(points, noise_variance=0.0, n_noisy=0):
    """Return the number of directions in which points extend, and of those above the noise.

    The second is infinite where there is no noise.
    """
    points = points - points.mean(axis=0)
    wide = points.shape[1] > points.shape[0]
    variances = np.linalg.eigvalsh(points @ points.T if wide else points.T @ points)
    floor = len(points) * ABOVE * edge(noise_variance, n_noisy, len(points))
    share = fair_share(FLAT, _count_above(variances, FLAT, floor), len(points))
    above = _count_above(variances, 0.0, floor) if floor > 0 else np.inf
    return _count_above(variances, share, floor), above


def _count_above(variances, share, floor):
    return float((variances > max(share * variances[-1], floor, TINY)).sum())
