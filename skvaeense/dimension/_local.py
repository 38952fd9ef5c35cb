"""The dimension around samples, from their neighbours among reference samples."""

from typing import NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches

from skvaeense.dimension._scaling import Calibration, inverse_dimensions

# References at which the rank is measured, and how many of them answer for a sample.
MAX_LANDMARKS = 2000
N_ANSWERS = 10
# Least overlap (intersection over union) of the active latents of samples of one manifold.
LEAST_OVERLAP = 0.5
# Share of the largest variance under which a direction counts as curvature or noise.
FLAT = 0.1
# The rank is believed if it is so near, in dimensions or as a fraction, to what distances say. The
# second fraction is for a rank that is also the number of active latents.
NEAR, NEAR_SHARE, NEAR_SHARE_OF_COUNT = 0.5, 0.15, 0.25
# Members that a pool must have for each dimension that it may have, or its rank says too little.
MEMBERS_PER_DIMENSION = 10
# Like neighbours are looked for among so many times as many.
SEARCHED = 2
# Samples that are answered at once.
CHUNK = 500
TINY = np.finfo(float).tiny


class LocalDimension(NamedTuple):
    """What neighbours say of samples; every array has the shape (n_samples,).

    Attributes
    ----------
    dimension : ndarray
        A whole number at nearly every sample; NaN where no neighbour is like the sample.

    ratio : ndarray
        The dimension by distances alone, at the smallest scale; NaN likewise.

    std : ndarray
        Standard error of `ratio`, and how far it falls with the scale; NaN likewise.

    alike : ndarray
        Share of the nearest references that have similar active latents.
    """

    dimension: np.ndarray
    ratio: np.ndarray
    std: np.ndarray
    alike: np.ndarray


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

    Parameters
    ----------
    points : ndarray of shape (n_references, n_features)
        References in random order, without noise as far as may be; at least six.

    active : ndarray of bool of shape (n_references, n_components) or None
        Their active latents. None: all are alike.

    n_neighbors : int
        Number of nearest references that a pool is taken from.
    """

    def __init__(self, points, active, *, n_neighbors):
        self.n_neighbors = min(n_neighbors, len(points) - 1)
        self._patterns = _pack(points, active)
        self._search = NearestNeighbors(n_neighbors=self.n_neighbors).fit(points)
        self._calibration = Calibration(len(points), self.n_neighbors)
        self._inverses = self._measure_inverses(points, self._calibration.scales)
        self._measure_ranks(points)

    def _measure_inverses(self, points, scales):
        """Return 1 / dimension by distances to like neighbours, for each scale and reference."""
        n_neighbors = min(SEARCHED * scales[-1], self.n_neighbors)
        parts = []
        for rows in gen_batches(len(points), CHUNK):
            # The reference itself comes first, or a copy of it, which is as far away.
            distances, neighbours = self._search.kneighbors(points[rows], n_neighbors + 1)
            alike = self._alike(neighbours[:, 1:], self._patterns[rows])
            parts.append([inverse_dimensions(distances[:, 1:], k, alike) for k in scales])
        return np.concatenate(parts, axis=1)

    def _measure_ranks(self, points):
        """Measure the rank around landmarks, which are the first references."""
        landmarks = points[:MAX_LANDMARKS]
        self._ranks = np.array(
            [
                _rank(points[pool[like] if like.any() else pool])
                for pools, alike in self._pools(landmarks, self._patterns[:MAX_LANDMARKS])
                for pool, like in zip(pools, alike, strict=True)
            ]
        )
        n_answers = min(N_ANSWERS, len(landmarks))
        self._landmarks = NearestNeighbors(n_neighbors=n_answers).fit(landmarks)

    def _pools(self, points, patterns):
        """Yield, for some samples at a time, their nearest references and which are like them."""
        for rows in gen_batches(len(points), CHUNK):
            pools = self._search.kneighbors(points[rows], return_distance=False)
            yield pools, self._alike(pools, patterns[rows])

    def _alike(self, references, patterns):
        """Return which references have similar active latents, one row for each sample."""
        both, either = np.zeros(references.shape, int), np.zeros(references.shape, int)
        for own, word in zip(patterns.T, self._patterns.T, strict=True):
            both += np.bitwise_count(own[:, None] & word[references])
            either += np.bitwise_count(own[:, None] | word[references])
        return both >= LEAST_OVERLAP * np.maximum(either, 1)

    def at(self, points, active):
        """Return the dimension around samples.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)
            Samples, without noise as far as may be.

        active : ndarray of bool of shape (n_samples, n_components) or None
            Their active latents.

        Returns
        -------
        LocalDimension
            What neighbours say.
        """
        patterns = _pack(points, active)
        ratios, error, share = self._measure(points, patterns)
        known = np.isfinite(ratios).all(axis=0)
        ratio, least = ratios[0], np.min(ratios, axis=0)
        rank = self._rank_near(points, patterns)
        counted = False
        if active is not None:
            count = active.sum(axis=1)
            rank = np.where(share * self.n_neighbors < MEMBERS_PER_DIMENSION * count, count, rank)
            counted = rank == count
        near = np.maximum(NEAR, np.where(counted, NEAR_SHARE_OF_COUNT, NEAR_SHARE) * rank)
        agree = (rank >= least - near) & (rank <= ratio + near)
        return LocalDimension(
            dimension=np.where(agree, rank, np.maximum(np.round(ratio), 1.0)),
            ratio=np.where(known, ratio, np.nan),
            std=np.hypot(error * ratio, 0.5 * (ratio - least)),
            alike=share,
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
        ratios, _, _ = self._measure(points, _pack(points, active))
        known = np.isfinite(ratios).all(axis=0)
        return np.array(self._calibration.scales), np.where(known, ratios, np.nan).T

    def _measure(self, points, patterns):
        """Return the corrected ratios at each scale, the error of the first, and who is alike."""
        parts = [
            np.vstack([self._ratios(pools, alike), alike.mean(axis=1)])
            for pools, alike in self._pools(points, patterns)
        ]
        *ratios, error, share = np.hstack(parts)
        known = np.isfinite(ratios).all(axis=0)
        for scale, ratio in enumerate(ratios):
            if known.any():
                ratio[known] = self._calibration.correct(ratio[known], scale)
        return np.array(ratios), error, share

    def _ratios(self, pools, alike):
        """Return the ratio at each scale, and the relative error of the first."""
        inverses = np.where(alike, self._inverses[:, pools], np.nan)
        known = np.isfinite(inverses)
        n_known = known.sum(axis=2)
        total = np.where(known, inverses, 0.0).sum(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / n_known
            spread = np.where(known[0], np.square(inverses[0] - mean[0][:, None]), 0.0).sum(axis=1)
            error = np.sqrt(spread) / n_known[0] / mean[0]
            return np.vstack([np.where(mean > 0, 1 / mean, np.nan), error])

    def _rank_near(self, points, patterns):
        """Return the median rank of the nearest landmarks that are like each sample."""
        nearest = self._landmarks.kneighbors(points, return_distance=False)
        alike = self._alike(nearest, patterns)
        # All answer where none is alike: such a sample is not believed anyway.
        alike |= ~alike.any(axis=1, keepdims=True)
        return np.nanmedian(np.where(alike, self._ranks[nearest], np.nan), axis=1)


def _pack(points, active):
    """Return active latents as the bits of words, of shape (n_samples, n_words).

    Where none are given, all samples have the same one.
    """
    if active is None:
        active = np.ones((len(points), 1), dtype=bool)
    packed = np.packbits(active, axis=1)
    padding = -packed.shape[1] % 8
    return np.pad(packed, [(0, 0), (0, padding)]).view(np.uint64)


def _rank(points):
    """Return the number of directions in which points extend."""
    points = points - points.mean(axis=0)
    wide = points.shape[1] > points.shape[0]
    variances = np.linalg.eigvalsh(points @ points.T if wide else points.T @ points)
    rank = _count_above(variances, FLAT)
    # Few points make equal variances unequal, by the law of Marchenko and Pastur.
    share = min(np.sqrt(rank / len(points)), 1.0)
    return _count_above(variances, min(FLAT, 0.5 * ((1 - share) / (1 + share)) ** 2))


def _count_above(variances, share):
    return float((variances > max(share * variances[-1], TINY)).sum())
