"""Locations: one point for each group of manifolds that has no point in common with the others.

A Gaussian mixture finds clusters. The hull of a cluster is its mean and the directions in which it
varies; where hulls meet within the clusters, as those of linear subspaces and of sparse codes do
at the origin, the clusters share a location. Data is then described relative to its location.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state

from skvaeense.training._data_inits import find_structure
from skvaeense.training._spectrum import (
    clear_drop,
    dimension_holding,
    principal_directions,
    visible_rank,
)

# Rows that clusters are sought in, the directions they are sought in, and how many there may be.
MAX_ROWS = 2048
MAX_DIRECTIONS = 32
MAX_CLUSTERS = 12
# Fewer rows per cluster than this say nothing of its hull.
MIN_ROWS = 20
# Hulls meet where their mean squared distance from a point is less than this share of the variance
# within clusters ...
MEETING_GAP = 1e-4
# ... and that point is not farther from a mean than this many times the variance of its cluster.
BULK = 4.0


@dataclass(frozen=True)
class Locations:
    """Points that groups of clusters lie around.

    Attributes
    ----------
    points : ndarray of shape (n_locations, n_features)
        The locations.

    groups : ndarray of int of shape (n_clusters,)
        Index of the location of each cluster.

    center : ndarray of shape (n_features,)
        Point that `basis` starts from.

    basis : ndarray of shape (n_directions, n_features)
        Directions that clusters are told apart in.

    means : ndarray of shape (n_clusters, n_directions)
        Means of the clusters along them.

    precisions : ndarray of shape (n_clusters, n_directions, n_directions)
        Cholesky factors of the clusters' precisions: ``precision = factor @ factor.T``.

    log_weights : ndarray of shape (n_clusters,)
        Log shares of the clusters.
    """

    points: np.ndarray
    groups: np.ndarray
    center: np.ndarray
    basis: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    log_weights: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def assign(self, X: np.ndarray) -> np.ndarray:
        """Return the index of each row's location.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices into `points`.
        """
        if len(self) == 1:
            return np.zeros(len(X), dtype=int)
        Y = (X - self.center) @ self.basis.T
        log_density = np.empty((len(Y), len(self.means)))
        for k, (mean, factor) in enumerate(zip(self.means, self.precisions, strict=True)):
            distance = np.square((Y - mean) @ factor).sum(axis=1)
            log_density[:, k] = self.log_weights[k] + np.log(np.diag(factor)).sum() - 0.5 * distance
        return self.groups[log_density.argmax(axis=1)]


@dataclass
class _Hull:
    """Mean, directions and variance of a cluster, and its share of the rows."""

    mean: np.ndarray
    directions: np.ndarray
    variance: float
    share: float
    cluster: int

    def off(self, point: np.ndarray) -> tuple[float, float]:
        """Return the squared distances of a point from the hull, and within it from the mean."""
        difference = point - self.mean
        within = float(np.square(self.directions @ difference).sum())
        return max(float(difference @ difference) - within, 0.0), within


def find_locations(Z: torch.Tensor, random_state: int | np.random.RandomState) -> Locations:
    """Find the points that the data lies around.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_features)
        Samples in random order, centred and scaled by one scalar. The first 2,048 are used.

    random_state : int or RandomState
        Seed or generator of the mixtures.

    Returns
    -------
    Locations
        One location, the mean, where all hulls meet or clusters are too small to tell.
    """
    rng = check_random_state(random_state)
    rows = Z[:MAX_ROWS].detach().cpu().double().numpy()
    center = rows.mean(axis=0)
    variances, directions = principal_directions(rows - center)
    rank = min(dimension_holding(variances, 0.99), MAX_DIRECTIONS)
    basis = directions[:rank]
    Y = (rows - center) @ basis.T
    best, best_bic, worse = None, np.inf, 0
    apart = False
    for n_clusters in range(1, min(MAX_CLUSTERS, len(rows) // MIN_ROWS) + 1):
        mixture = _mixture(Y, n_clusters, 1e-3 * float(variances.sum()) / rows.shape[1], rng)
        bic = mixture.bic(Y)
        worse = 0 if bic < best_bic else worse + 1
        if bic < best_bic:
            best, best_bic = mixture, bic
        if n_clusters > 1 and bic <= best_bic:
            apart = apart or not _meet(_hulls(rows, mixture.predict(Y)))[0]
        if worse == 2 or (n_clusters == 3 and not apart):
            break
    if best is not None and apart:
        labels = best.predict(Y)
        groups = _merge(_hulls(rows, labels))
        if len(groups) > 1:
            members = np.zeros(best.n_components, dtype=int)
            for i, hulls in enumerate(groups):
                members[[hull.cluster for hull in hulls]] = i
            points = np.array(
                [
                    _origin(rows[members[labels] == i], rng) if len(g) > 1 else g[0].mean
                    for i, g in enumerate(groups)
                ]
            )
            return Locations(
                np.array(points),
                members,
                center,
                basis,
                best.means_,
                best.precisions_cholesky_,
                np.log(best.weights_),
            )
    one = np.zeros((1, rank))
    return Locations(
        center[None], np.zeros(1, dtype=int), center, basis, one, np.eye(rank)[None], np.zeros(1)
    )


def _mixture(
    Y: np.ndarray, n_clusters: int, noise: float, rng: np.random.RandomState
) -> GaussianMixture:
    """Fit a mixture of normal distributions, with this variance added in every direction."""
    mixture = GaussianMixture(
        n_clusters,
        reg_covar=max(noise, 1e-12),
        max_iter=60,
        n_init=1,
        init_params="k-means++",
        random_state=rng,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mixture.fit(Y)


def _hulls(rows: np.ndarray, labels: np.ndarray) -> list[_Hull]:
    """Return the hull of each cluster that has enough rows."""
    hulls = []
    for k in np.unique(labels):
        own = rows[labels == k]
        if len(own) < MIN_ROWS:
            continue
        mean = own.mean(axis=0)
        variances, directions = principal_directions(own - mean)
        # A spectrum that falls without a drop is that of a curved piece: what it bends into is
        # part of its hull.
        drop = clear_drop(variances, dimension_holding(variances, 0.99))
        rank = drop or visible_rank(variances)
        spread = float(np.square(own - mean).sum(axis=1).mean())
        hulls.append(_Hull(mean, directions[:rank], spread, len(own) / len(rows), int(k)))
    return hulls


def _origin(rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return the point at which all components of these rows are inactive."""
    mean = rows.mean(axis=0)
    scale = max(float(np.sqrt(np.square(rows - mean).mean())), 1e-12)
    scaled = (rows - mean) / scale
    rank = dimension_holding(principal_directions(scaled)[0], 0.99)
    structure = find_structure(torch.from_numpy(scaled), min(scaled.shape), rank, 0.0, rng)
    return mean + scale * structure.origin


def _meet(hulls: list[_Hull]) -> tuple[bool, float]:
    """Return whether hulls have a point in common, and how far from it they are.

    Of the points that are as near to all hulls, it is the one nearest to the mean.
    """
    shares = np.array([hull.share for hull in hulls]) / sum(hull.share for hull in hulls)
    mean = sum(share * hull.mean for share, hull in zip(shares, hulls, strict=True))
    outside = (1 + 1e-6) * np.eye(len(mean))
    target = np.zeros(len(mean))
    for share, hull in zip(shares, hulls, strict=True):
        outside -= share * hull.directions.T @ hull.directions
        difference = hull.mean - mean
        target += share * (difference - (difference @ hull.directions.T) @ hull.directions)
    point = mean + np.linalg.solve(outside, target)
    within = float(sum(s * hull.variance for s, hull in zip(shares, hulls, strict=True)))
    off = [hull.off(point) for hull in hulls]
    gap = float(sum(s * outside for s, (outside, _) in zip(shares, off, strict=True)))
    inside = all(far <= BULK * hull.variance for hull, (_, far) in zip(hulls, off, strict=True))
    return inside and gap <= MEETING_GAP * within, gap


def _merge(hulls: list[_Hull]) -> list[list[_Hull]]:
    """Merge the hulls that meet, nearest first, and return the groups."""
    if _meet(hulls)[0]:
        return [hulls]
    groups = [[hull] for hull in hulls]
    gaps: dict[tuple[int, ...], tuple[bool, float]] = {}
    while len(groups) > 1:
        pairs = []
        for i in range(len(groups)):
            for j in range(i):
                key = tuple(sorted(hull.cluster for hull in groups[i] + groups[j]))
                if key not in gaps:
                    gaps[key] = _meet(groups[i] + groups[j])
                meet, gap = gaps[key]
                if meet:
                    pairs.append((gap, i, j))
        if not pairs:
            break
        _, i, j = min(pairs)
        merged = groups[i] + groups[j]
        groups = [group for k, group in enumerate(groups) if k not in (i, j)] + [merged]
    return groups
