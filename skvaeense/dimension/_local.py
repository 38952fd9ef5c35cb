"""The dimension around samples, from their neighbours among reference samples."""

from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from skvaeense.dimension._noise import _measure, edge
from skvaeense.dimension._scaling import Calibration, inverse_dimensions

# References that distances are measured around, those of them that pools are taken around, and how
# many of these answer for a sample.
MAX_ANCHORS = 5000
MAX_LANDMARKS = 1000
N_ANSWERS = 10
# Least overlap (intersection over union) of the active latents of samples of one manifold.
LEAST_OVERLAP = 0.5
# Share of the largest variance under which a direction counts as curvature or noise.
FLAT = 0.1
# The rank is believed if it is so near, in dimensions or as a fraction, to what distances say, or
# within two of their standard errors.
NEAR, NEAR_SHARE = 0.3, 0.1
# Members that a pool must have for each dimension that it may have, or its rank says too little.
MEMBERS_PER_DIMENSION = 10
# Like neighbours are looked for among so many times as many.
SEARCHED = 2
# Share of the largest variance under which all references lie in a plane.
FLAT_PLANE = 1e-9
# Distances are believed where their squares are so many times what noise adds to them.
CLEAR = 4.0
# A direction stands above the noise with so many times the largest variance that noise has.
ABOVE = 2.0
# Where the estimate by distances falls to less than this share, and no rank agrees with it, it is
# noise that small scales show.
FALLEN = 0.5
# A pool's flat is that of so many of its nearest members. Others belong to it that are off it by so
# small a share of their squared distance, or by so many times what the next ones are, for curvature.
N_FLAT, OFF, CURVED = 24, 0.1, 4.0
# Radii of the nearest pools beyond which a sample is far from all references.
FAR = 2.0
# Samples that are answered at once.
CHUNK = 500
TINY = np.finfo(float).tiny


CAP = float(__import__("os").environ.get("CAP", "0"))


class LocalDimension(NamedTuple):
    """What neighbours say of samples; every array has the shape (n_samples,).

    Attributes
    ----------
    dimension : ndarray
        A whole number at nearly every sample; NaN where no neighbour is like the sample.

    ratio : ndarray
        The dimension by distances alone, at the smallest scale that is clear of noise; NaN
        likewise.

    least, most : ndarray
        The smallest and the largest at such scales.

    error : ndarray
        Standard error of `ratio`, by chance alone.

    fall : ndarray
        How far `least` is below the ratio at the smallest scale of all.

    spread : ndarray
        Standard deviation of the ranks of the pools nearby.

    alike : ndarray
        Share of the nearest references that have similar active latents.

    excess : ndarray
        How far the sample is from all references, as a share of the distance that is far; 0 if it
        is not.
    """

    dimension: np.ndarray
    ratio: np.ndarray
    least: np.ndarray
    most: np.ndarray
    error: np.ndarray
    fall: np.ndarray
    spread: np.ndarray
    alike: np.ndarray
    excess: np.ndarray


class LocalGeometry:
    """Measure the dimension around samples.

    The nearest references of a sample that have similar active latents are its pool. Two numbers
    are read off: the *ratio*, from how distances grow from neighbour to neighbour around each
    member of the pool, at several scales; and the *rank*, the number of directions in which pools
    around there extend. The rank is exact where the pool is nearly flat, and too high where it is
    not. The ratio is never far off, and never exact. So the rank is taken where the ratio agrees,
    and else the whole number next to the ratio. Small pools have no say in the rank, and the number
    of active latents stands for it. Noise makes the ratio too high at small scales, so
    the rank may agree with it at any scale down to which it falls; where it rises with the scale,
    other manifolds have come into view.

    Pools are taken around landmarks, which are some of the references, and the landmarks in its own
    pool answer for a sample: so it need be compared with them only.

    Parameters
    ----------
    points : ndarray of shape (n_references, n_features)
        References in random order, without noise as far as may be; at least six.

    active : ndarray of bool of shape (n_references, n_components) or None
        Their active latents. None: all are alike.

    n_neighbors : int
        Number of nearest references that a pool is taken from.

    noise_variance : float, default=0.0
        Variance of the noise that is left in each direction.

    n_noisy : ndarray of shape (n_references,) or None, default=None
        Number of directions that noise is left in. None: all.

    Attributes
    ----------
    hidden : float
        Share of the landmarks around which nothing stands above the noise.
    """

    def __init__(self, points, active, *, n_neighbors, noise_variance=0.0, n_noisy=None):
        self.n_neighbors = min(n_neighbors, len(points) - 1)
        self._noise_variance = noise_variance
        n_noisy = np.full(len(points), points.shape[1]) if n_noisy is None else n_noisy
        self.raw = active is None
        self._plane = _plane(points)
        points, patterns = points @ self._plane, _pack(points, active)
        search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(points)
        self._calibration = Calibration(len(points), self.n_neighbors)
        inverses, nearness = self._measure_inverses(search, points, patterns)
        self._measure_landmarks(search, points, patterns, inverses, nearness, n_noisy)

    def _measure_inverses(self, search, points, patterns):
        """Return 1 / dimension by distances to like neighbours, for each scale and anchor.

        Also the square of the smaller distance that each was measured by.
        """
        scales = self._calibration.scales
        n_neighbors = min(SEARCHED * scales[-1], self.n_neighbors)
        parts, nearness = [], []
        for rows in gen_batches(min(len(points), MAX_ANCHORS), CHUNK):
            # The reference itself comes first, or a copy of it, which is as far away.
            distances, neighbours = search.kneighbors(points[rows], n_neighbors + 1)
            alike = _alike(patterns[neighbours[:, 1:]], patterns[rows])
            parts.append([inverse_dimensions(distances[:, 1:], k, alike) for k in scales])
            nearness.append([np.square(distances[:, k // 4]) for k in scales])
        return np.concatenate(parts, axis=1), np.concatenate(nearness, axis=1)

    def _measure_landmarks(self, search, points, patterns, inverses, nearness, n_noisy):
        """Measure the ratios and the rank of the pools around landmarks, the first references."""
        n_landmarks = min(len(points), MAX_LANDMARKS)
        ranks, measured, clears, radii = [], [], [], []
        self._flats = []
        for rows in gen_batches(n_landmarks, CHUNK):
            distances, pools = search.kneighbors(points[rows])
            radii.append(distances[:, -1])
            members = []
            alike = _alike(patterns[pools], patterns[rows])
            for pool, like, n in zip(pools, alike, n_noisy[rows], strict=True):
                if like.any():
                    flat = Flat(points[pool[like]])
                    self._flats.append(flat)
                    like[like] = flat.holds(points[pool[like]])
                else:
                    self._flats.append(None)
                members.append(points[pool[like] if like.any() else pool])
            if rows.start == 0 and self._noise_variance == 0 and self.raw:
                told = [_measure(m)["noise"] for m in members[:50]]
                self._noise_variance = float(np.median(told))
            ranks += [self._ranks_of(m, n, flat) for m, n, flat in zip(members, n_noisy[rows], self._flats[rows], strict=True)]
            at_anchor = alike & (pools < inverses.shape[1])
            pools = np.where(at_anchor, pools, 0)
            measured.append(_average(inverses, pools, at_anchor))
            clears.append((pools, at_anchor))
        self._ranks, self._small, self._visible, self._flat = np.array(ranks).T
        clear = nearness > CLEAR * 2 * self._noise_variance * n_noisy[: inverses.shape[1]]
        self._clear = np.concatenate([(clear[:, pools] & a).sum(axis=2) > 0.5 * a.sum(axis=1) for pools, a in clears], axis=1)
        self.hidden = float((self._visible < 1).mean())
        self._inverses, self._errors = (
            np.concatenate(p, axis=-1) for p in zip(*measured, strict=True)
        )
        self._good = np.array([flat is not None and flat.good for flat in self._flats])
        self._radii = np.maximum(np.concatenate(radii), TINY)
        self._patterns = patterns[:n_landmarks]
        # As many as are in a pool.
        self._n_near = min(
            max(60, round(self.n_neighbors * n_landmarks / len(points))), n_landmarks
        )
        self._landmarks = NearestNeighbors(n_neighbors=self._n_near).fit(points[:n_landmarks])

    def _ranks_of(self, members, n_noisy, flat):
        rank, visible, gap = _rank(members, self._noise_variance, n_noisy)
        quarter = members[: max(len(members) // 4, 2)]
        small, _, small_gap = _rank(quarter, self._noise_variance, n_noisy)
        if len(quarter) < MEMBERS_PER_DIMENSION * small:
            small = rank
        exact = flat is not None and flat.rank == min(small, rank) and 4 * flat.rank <= N_FLAT
        return rank, min(small, rank), visible, exact

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
        ratios, clear, error, rank, small, exact, visible, share, spread, distance = self._measure(
            points, active, off
        )
        known = np.isfinite(ratios).all(axis=0)
        # The first scale at which distances are more than noise; the last one if there is none.
        first = np.where(clear.any(axis=0), clear.argmax(axis=0), len(ratios) - 1)
        ratio = np.take_along_axis(ratios, first[None], axis=0)[0]
        seen = np.where(clear, ratios, ratio)
        least, most, error = seen.min(axis=0), seen.max(axis=0), error * ratio
        if active is not None:
            count = active.sum(axis=1)
            rank = np.where(share * self.n_neighbors < MEMBERS_PER_DIMENSION * count, count, rank)
        falls = np.maximum(ratios[-2] - ratios[-1], 0.0) if len(ratios) > 1 else 0.0
        lowest = np.where(least == ratios[-1], np.maximum(least - falls, 0), least)
        ranks = np.array([np.minimum(small, rank), rank])
        near = np.hypot(np.maximum(NEAR, np.where(exact > 0.5, 0.3, NEAR_SHARE) * ranks), 2 * error)
        beside = np.abs(ranks - np.clip(ranks, lowest, ratio))
        agrees = (beside <= near) | ~clear.any(axis=0) & known
        chosen = np.where(agrees, beside, np.inf).argmin(axis=0)
        rank, agree = np.where(chosen == 0, ranks[0], rank), agrees.any(axis=0)
        clean = np.where((least < FALLEN * ratio) & (rank < least), least, ratio)
        dimension = np.where(agree, rank, np.round(clean))
        return LocalDimension(
            # Noise has no dimension.
            dimension=np.maximum(np.minimum(dimension, visible), 1.0),
            ratio=np.where(known, np.minimum(ratio, np.maximum(visible, 1.0)), np.nan),
            least=least,
            most=most,
            error=error,
            fall=ratios[0] - least,
            spread=spread,
            alike=share,
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
        ratios = self._measure(points, active)[0]
        known = np.isfinite(ratios).all(axis=0)
        return np.array(self._calibration.scales), np.where(known, ratios, np.nan).T

    def _measure(self, points, active, off=0.0):
        """Return corrected ratios at each scale, where they are clear of noise, and the rest.

        That is the relative error of the first ratio, the rank, the number of directions that stand
        above the noise, the share of those that are alike, how much ranks differ nearby, and how
        many radii of their pools the landmarks are away.
        """
        patterns, points = _pack(points, active), points @ self._plane
        off = np.broadcast_to(off, len(points))
        parts = [
            self._ask_landmarks(points[rows], patterns[rows], off[rows])
            for rows in gen_batches(len(points), CHUNK)
        ]
        *both, error, rank, small, exact, visible, share, spread, distance = np.hstack(parts)
        ratios, clear = np.split(np.array(both), 2)
        known = np.isfinite(ratios).all(axis=0)
        for scale, ratio in enumerate(ratios):
            if known.any():
                ratio[known] = self._calibration.correct(ratio[known], scale)
        return ratios, clear > 0.5, error, rank, small, exact, visible, share, spread, distance

    def _ask_landmarks(self, points, patterns, off):
        """Return what the landmarks in the pool of each sample say that are like it."""
        distances, near = self._landmarks.kneighbors(points)
        # Pools of copies of one reference have no radius.
        with np.errstate(over="ignore"):
            away = (np.hypot(distances, np.sqrt(off)[:, None]) / self._radii[near]).min(axis=1)
        alike = _alike(self._patterns[near], patterns)
        # The nearest that are alike first.
        held = self._holds(points, near, alike)
        level = np.where(held == 2, 3, np.where(held == 1, 2, 1 * alike))
        self._place(points, patterns, near, level)
        order = np.argsort(-level, axis=1, kind="stable")[:, :N_ANSWERS]
        near = np.take_along_axis(near, order, axis=1)
        level = np.take_along_axis(level, order, axis=1)
        asked = (level > 0) & (level == level[:, :1])
        with np.errstate(divide="ignore", invalid="ignore"):
            inverses, clear, error = (
                np.where(asked, values[..., near], 0.0).sum(axis=-1) / asked.sum(axis=1)
                for values in (self._inverses, self._clear, self._errors)
            )
            ratios = np.where(inverses > 0, 1 / inverses, np.nan)
        rank, small, visible = (
            _median(np.where(asked, values[near], np.nan))
            for values in (self._ranks, self._small, self._visible)
        )
        exact = np.where(asked, self._flat[near], 0.0).sum(axis=1) > 0.5 * asked.sum(axis=1)
        ranks = np.where(asked, self._ranks[near], rank[:, None])
        spread = np.where(asked.any(axis=1), ranks.std(axis=1), 0.0)
        return np.vstack([ratios, clear, error, rank, small, exact, visible, alike.mean(axis=1), spread, away])


    def _place(self, points, patterns, near, level):
        """Put a flat farther away that holds a sample in place of one that is not like it."""
        good, rows = np.flatnonzero(self._good), np.flatnonzero((level < 3).all(axis=1))
        if len(good) == 0 or len(rows) == 0:
            return
        shares = np.column_stack([self._flats[g].share(points[rows]) for g in good])
        best = shares.argmin(axis=1)
        held = (shares.min(axis=1) < 0) & _alike(self._patterns[good[best]][:, None], patterns[rows])[:, 0]
        near[rows[held], -1], level[rows[held], -1] = good[best[held]], 3
        self.placed = getattr(self, "placed", 0) + held.sum()

    def _holds(self, points, near, alike):
        """Return whether the flats of the landmarks near samples hold them."""
        held = np.zeros(near.shape, dtype=int)
        pairs = np.flatnonzero(alike)
        pairs = pairs[np.argsort(near.flat[pairs], kind="stable")]
        landmarks, starts = np.unique(near.flat[pairs], return_index=True)
        for landmark, own in zip(landmarks, np.split(pairs, starts[1:]), strict=True):
            flat, q = self._flats[landmark], points[own // near.shape[1]]
            held.flat[own] = flat.holds(q) + 1 * (flat.good & flat.holds(q, CAP))
        return held


class Flat:
    """The flat of the nearest members of a pool, which come first."""

    def __init__(self, points):
        nearest, further = points[:N_FLAT], points[N_FLAT : 2 * N_FLAT]
        self.centre = nearest.mean(axis=0)
        centred = nearest - self.centre
        variances, turns = np.linalg.eigh(centred @ centred.T)
        rank = int(_count_above(variances, _share_of(_count_above(variances, FLAT, 0), len(nearest)), 0))
        kept = variances[len(variances)-rank:]
        self.directions = centred.T @ turns[:, len(variances)-rank:] / np.sqrt(kept)
        self.rank, self.gap = rank, _gap(variances, rank)
        self.curvature = 0.0
        self.everything, self.good = len(further) < N_FLAT, False
        if len(further):
            off, squares = self._off(further)
            share = np.median(off / np.maximum(squares, TINY))
            self.good = share < OFF * (1 - rank / points.shape[1])
            self.curvature = CURVED * share / max(np.median(squares), TINY)

    def _off(self, points):
        points = points - self.centre
        squares = np.square(points).sum(axis=1)
        return squares - np.square(points @ self.directions).sum(axis=1), squares

    def share(self, points):
        off, squares = self._off(points)
        share = off / np.maximum(squares, TINY)
        return share - np.minimum(self.curvature * squares, OFF*0.1) - 1e-6

    def holds(self, points, cap=np.inf):
        if self.everything:
            return np.ones(len(points), dtype=bool)
        off, squares = self._off(points)
        return off <= (OFF + np.minimum(self.curvature * squares, cap)) * squares


def _share_of(rank, n_points):
    # Few points make equal variances unequal, by the law of Marchenko and Pastur.
    share = min(np.sqrt(rank / n_points), 1.0)
    return min(FLAT, 0.5 * ((1 - share) / (1 + share)) ** 2)


def _plane(points):
    """Return an orthonormal basis of the directions in which points vary, as columns."""
    centred = points - points.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    varying = variances > FLAT_PLANE * variances[-1]
    # Constant samples have one, too.
    varying[-1] = True
    return directions[:, varying]


def _alike(others, patterns):
    """Return which others have similar active latents.

    `others` has the shape (n_samples, n_others, n_words), `patterns` (n_samples, n_words).
    """
    both, either = np.zeros(others.shape[:2], int), np.zeros(others.shape[:2], int)
    for word in range(patterns.shape[1]):
        own, other = patterns[:, None, word], others[:, :, word]
        both += np.bitwise_count(own & other)
        either += np.bitwise_count(own | other)
    return both >= LEAST_OVERLAP * np.maximum(either, 1)


def _average(inverses, pools, alike):
    """Return the mean of those of each pool at each scale, and the relative error of the first."""
    inverses = np.where(alike, inverses[:, pools], np.nan)
    known = np.isfinite(inverses)
    n_known = known.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, inverses, 0.0).sum(axis=2) / n_known
        spread = np.where(known[0], np.square(inverses[0] - mean[0][:, None]), 0.0).sum(axis=1)
        return mean, np.sqrt(spread) / n_known[0] / mean[0]


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
    rank = _count_above(variances, FLAT, floor)
    # Few points make equal variances unequal, by the law of Marchenko and Pastur.
    share = min(np.sqrt(rank / len(points)), 1.0)
    share = min(FLAT, 0.5 * ((1 - share) / (1 + share)) ** 2)
    above = _count_above(variances, 0.0, floor) if floor > 0 else np.inf
    rank = _count_above(variances, share, floor)
    return rank, above, _gap(variances, int(rank))


def _gap(variances, rank):
    return 0.0 if rank in (0, len(variances)) else max(variances[-rank - 1], 0) / max(variances[-rank], TINY)


def _count_above(variances, share, floor):
    return float((variances > max(share * variances[-1], floor, TINY)).sum())
