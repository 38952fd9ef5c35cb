"""Locations: one point for each group of manifolds that has no point in common with the others.

A Gaussian mixture finds clusters. The hull of a cluster is its mean and the directions in which it
varies; where hulls meet within the clusters, as those of linear subspaces and of sparse codes do
at the origin, the clusters share a location. Data is then described relative to its location.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state

from skvaeense.training._spectrum import (
    clear_drop,
    dimension_holding,
    visible_rank,
)
from skvaeense.training._structure import find_structure, typical_rows
from skvaeense.utils._principal import principal_directions

# Rows that clusters are sought in, the directions they are sought in, and how many there may be.
MAX_ROWS = 2048
MAX_DIRECTIONS = 32
MAX_CLUSTERS = 12
# A cluster of fewer rows than the first says something of its hull only where they lie in fewer
# directions than any such rows do, and one of fewer than the second does not at all.
MIN_ROWS = 20
MIN_FLAT_ROWS = 10
# Hulls meet where their mean squared distance from a point is less than this share of the variance
# within clusters, beyond this many times what few rows with noise would show of hulls that do ...
MEETING_GAP = 1e-4
SAMPLING_ERRORS = 10.0
# ... and that point is not farther from a mean than this many times the variance of its cluster.
BULK = 4.0
# Share of rows that may not be clearly of one location.
MAX_AMBIGUOUS = 0.05


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

    def in_units(self, mean: np.ndarray, scale: float) -> "Locations":
        """Return them for samples before centring and scaling.

        Parameters
        ----------
        mean : ndarray of shape (n_features,)
            What was subtracted.

        scale : float
            What was divided by after that.

        Returns
        -------
        Locations
            The same ones.
        """
        return replace(
            self,
            points=self.points * scale + mean,
            center=self.center * scale + mean,
            basis=np.ascontiguousarray(self.basis),
            means=self.means * scale,
            precisions=self.precisions / scale,
        )

    def check(self, n_features: int) -> None:
        """Raise an error unless all arrays are finite, and fit together.

        Parameters
        ----------
        n_features : int
            Number of features of the samples.

        Raises
        ------
        ValueError
            If they do not.
        """
        k, r = len(self.log_weights), len(self.basis)
        shapes = {
            "points": (len(self.points), n_features),
            "groups": (k,),
            "center": (n_features,),
            "basis": (r, n_features),
            "means": (k, r),
            "precisions": (k, r, r),
            "log_weights": (k,),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            kind = "i" if name == "groups" else "f"
            if array.shape != shape or array.dtype.kind != kind or not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite and of shape {shape}")
        if not (len(self) > 1 and set(self.groups.tolist()) == set(range(len(self)))):
            raise ValueError("groups must name each of several locations")

    @property
    def log_shares(self) -> np.ndarray:
        """Log share of the rows of each location."""
        weights = np.exp(self.log_weights)
        shares = np.array([weights[self.groups == i].sum() for i in range(len(self))])
        return np.log(shares / shares.sum())

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
        return self._log_densities(X).argmax(axis=1)

    def _log_densities(self, X: np.ndarray) -> np.ndarray:
        """Return the log density of each row under the clusters of each location."""
        log_densities = np.full((len(X), len(self)), -np.inf)
        if len(self) == 1:
            return log_densities
        Y = (X - self.center) @ self.basis.T
        for k, (mean, factor) in enumerate(zip(self.means, self.precisions, strict=True)):
            distance = np.square((Y - mean) @ factor).sum(axis=1)
            log_density = self.log_weights[k] + np.log(np.diag(factor)).sum() - 0.5 * distance
            own = log_densities[:, self.groups[k]]
            log_densities[:, self.groups[k]] = np.logaddexp(own, log_density)
        return log_densities

    def _are_distinct(self, X: np.ndarray) -> bool:
        """Return whether nearly every row is clearly of one location."""
        log_densities = self._log_densities(X)
        best = log_densities.max(axis=1, keepdims=True)
        clear = 1 / np.exp(log_densities - best).sum(axis=1) > 0.9
        return bool(clear.mean() > 1 - MAX_AMBIGUOUS)


@dataclass
class _Hull:
    """Mean, directions and variance of a cluster, its share of the rows, and its number.

    The error is the expected squared distance of its mean from the true hull.
    """

    mean: np.ndarray
    directions: np.ndarray
    variance: float
    share: float
    error: float
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
        Samples in random order, centred and scaled by one scalar. Clusters are sought
        in the first 2,048 that are not far from most.

    random_state : int or RandomState
        Seed or generator of the mixtures.

    Returns
    -------
    Locations
        One location, the mean, where all hulls meet or clusters are too small to tell.
    """
    rng = check_random_state(random_state)
    rows = Z.detach().cpu().double().numpy()
    rows = rows[typical_rows(rows)]
    center = rows.mean(axis=0)
    rows = rows[:MAX_ROWS]
    variances, directions = principal_directions(rows - center)
    basis = directions[: min(dimension_holding(variances, 0.99), MAX_DIRECTIONS)]
    noise = 1e-3 * float(variances.sum()) / rows.shape[1]
    found = _find_clusters(rows, (rows - center) @ basis.T, noise, rng)
    if found is not None:
        mixture, labels = found
        groups = _merge(_hulls(rows, labels))
        if len(groups) > 1:
            points = np.array([group[0].mean for group in groups])
            members = (
                np.square(mixture.means_[:, None] - ((points - center) @ basis.T)[None])
                .sum(axis=2)
                .argmin(axis=1)
            )
            for i, group in enumerate(groups):
                members[[hull.cluster for hull in group]] = i
            for i, group in enumerate(groups):
                if len(group) > 1:
                    points[i] = _origin(rows[members[labels] == i], rng)
            factors, weights = mixture.precisions_cholesky_, np.log(mixture.weights_)
            several = Locations(points, members, center, basis, mixture.means_, factors, weights)
            if several._are_distinct(rows):
                return several
    one = np.zeros(1)
    return Locations(
        center[None],
        one.astype(int),
        center,
        basis,
        np.zeros((1, len(basis))),
        np.eye(len(basis))[None],
        one,
    )


def _find_clusters(
    rows: np.ndarray, Y: np.ndarray, noise: float, rng: np.random.RandomState
) -> tuple[GaussianMixture, np.ndarray] | None:
    """Return the mixture with the best BIC, and the cluster of each row; None if hulls meet."""
    best, best_bic, worse, apart = None, np.inf, 0, False
    for n_clusters in range(1, min(MAX_CLUSTERS, len(rows) // MIN_ROWS) + 1):
        mixture = _mixture(Y, n_clusters, noise, rng)
        bic = mixture.bic(Y)
        worse = 0 if bic < best_bic else worse + 1
        if worse == 0:
            best, best_bic = mixture, bic
        # One that fits worse, for it has stopped too soon, can show it too.
        apart = apart or not _meet(_hulls(rows, mixture.predict(Y)))[0]
        # Sparse codes have a cluster for each pattern. Two or three of them show that hulls meet.
        if worse == 2 or (n_clusters == 3 and not apart):
            break
    return (best, best.predict(Y)) if best is not None and apart else None


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
    """Return the hull of each cluster that has enough rows.

    A spectrum that falls without a drop is that of a piece of something curved. Where there is
    one, directions say nothing, and hulls have all in which the rows vary: only far ones are apart.
    """
    hulls, everything, flat = [], [], True
    for k in np.unique(labels):
        own = rows[labels == k]
        if len(own) < MIN_FLAT_ROWS:
            continue
        mean = own.mean(axis=0)
        variances, directions = principal_directions(own - mean)
        drop = clear_drop(variances, dimension_holding(variances, 0.99))
        if len(own) < MIN_ROWS and (drop is None or drop > len(own) - 3):
            continue
        spread = float(np.square(own - mean).sum(axis=1).mean())
        error = float(variances[drop:].sum()) / len(own) if drop is not None else 0.0
        hull = _Hull(mean, directions[:drop], spread, len(own) / len(rows), error, int(k))
        hulls.append(hull)
        all_directions = directions[: visible_rank(variances)]
        everything.append(replace(hull, directions=all_directions, error=0.0))
        flat = flat and drop is not None
    return hulls if flat else everything


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
    if len(hulls) < 2:
        return True, 0.0
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
    error = float(sum(s * hull.error for s, hull in zip(shares, hulls, strict=True)))
    return inside and gap <= MEETING_GAP * within + SAMPLING_ERRORS * error, gap


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
