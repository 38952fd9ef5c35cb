"""Expectation maximisation for mixtures of normal distributions with few directions each."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from skvaeense.mixture._covariance import LEAST_VARIANCE, Family, Gaussians, Moments, gaussians
from skvaeense.mixture._density import MixtureDensity, along, log_sum_exp
from skvaeense.mixture._holes import condition
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING, TINY
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray

# Smaller responsibilities do not count for the covariance of a component.
LEAST_RESPONSIBILITY = ROUNDING
# A component with fewer rows is dropped.
LEAST_ROWS = 2.0
# Variance of the rounding error of numbers of unit size.
ROUNDING_VARIANCE = float(np.finfo(float).eps) ** 2
# Default maximum number of components.
MAX_COMPONENTS = 64
# Factors on the variances of the background. Each is the square of the previous one. The last
# reaches rows so far away that their squares are rounded by about the least variance.
BROAD_FACTORS = tuple(2.0**2**i for i in range(6))


@dataclass(frozen=True)
class Rows:
    """Weighted rows, given by their coordinates in a basis.

    Attributes
    ----------
    basis : ndarray of shape (n_features, n_directions)
        Orthonormal columns.

    h : ndarray of shape (n_rows, n_directions)
        Coordinates. NaN marks missing values; the basis is then the identity.

    off : ndarray of shape (n_rows,)
        Squared distances from the span of the basis.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    log_broad : ndarray of shape (n_rows,)
        Log-density under the background, which all mixtures of these rows share.

    size : float
        Mean variance per feature of neighbouring rows; least variances are shares of it. Subsets of
        the rows keep this size: without noise, small components would seem to gain from smaller
        least variances.

    blur : ndarray of shape (n_directions, n_directions)
        Covariance that is added to those of components, along the basis: of columns with a step,
        whose density is smoothed by half of it. Otherwise a component could be a spike.

    off_blur : float
        Trace of this covariance off the basis.
    """

    basis: DoubleArray
    h: DoubleArray
    off: DoubleArray
    weights: DoubleArray
    log_broad: DoubleArray
    size: float
    blur: DoubleArray
    off_blur: float

    @classmethod
    def of(
        cls,
        x: DoubleArray,
        weights: DoubleArray | None = None,
        basis: DoubleArray | None = None,
        steps: DoubleArray | None = None,
    ) -> Self:
        """Return rows as coordinates in a basis, by default the features.

        Columns whose values are multiples of a step are smoothed. The density of such a value,
        times the steps, is then its probability: normal distributions with a standard deviation of
        at least half a step add up to 1 on a grid, within 1.5 % for each column.
        """
        h, off = x, np.zeros(len(x))
        if basis is None or np.isnan(x).any():
            # A hole in a row would make all its coordinates NaN.
            basis = np.eye(x.shape[1])
        else:
            h, off = along(x, basis)
        weights = np.ones(len(x)) if weights is None else weights
        nowhere, size = np.full(len(x), -np.inf), local_size(x)
        squares = np.zeros(x.shape[1]) if steps is None else np.square(steps / 2)
        blur = (basis.T * squares) @ basis
        off_blur = max(float(squares.sum() - np.trace(blur)), 0.0)
        return cls(basis, h, off, weights, nowhere, size, blur, off_blur)

    def __len__(self) -> int:
        return len(self.h)

    def __getitem__(self, rows: slice | BoolArray | IntArray) -> Self:
        return replace(
            self,
            h=self.h[rows],
            off=self.off[rows],
            weights=self.weights[rows],
            log_broad=self.log_broad[rows],
        )

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.basis)

    @property
    def has_holes(self) -> bool:
        """Whether some values are missing."""
        return bool(np.isnan(self.h).any())

    def facing(self, background: Any) -> Self:
        """Return the rows with their log-density under a background."""
        return replace(self, log_broad=log_sum_exp(self.joint(background)))

    def joint(self, density: MixtureDensity) -> DoubleArray:
        """Return the joint log-density of the rows and each component."""
        if self.has_holes:
            return density.log_joint(self.h)
        return density.log_joint_along(self.h, self.off)

    def log_prob(self, density: MixtureDensity) -> DoubleArray:
        """Return the log-density of the rows."""
        return np.logaddexp(log_sum_exp(self.joint(density)), self.broad(density))

    def broad(self, density: MixtureDensity) -> DoubleArray:
        """Return the joint log-density of the rows and the background."""
        if density.background is None:
            return np.full(len(self), -np.inf)
        return self.log_broad + math.log(density.background_weight)

    def responsibilities(
        self, density: MixtureDensity
    ) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return shares of rows in components and in the background, and log-densities of rows.

        Shares that are too small to count for a covariance are 0.
        """
        joint, broad = self.joint(density), self.broad(density)
        total = np.logaddexp(log_sum_exp(joint), broad)
        shares = np.exp(joint - total[:, None])
        shares = np.where(shares > LEAST_RESPONSIBILITY, shares, 0.0) * self.weights[:, None]
        return shares, np.exp(broad - total) * self.weights, total

    def moments(self, shares: DoubleArray, density: MixtureDensity | None = None) -> Moments:
        """Return the moments of components, given the shares of rows in them.

        With holes, these are the expected moments under a mixture.
        """
        k, p = shares.shape[1], self.h.shape[1]
        n, means, rests = np.empty(k), np.empty((k, p)), np.zeros(k)
        covariances = np.empty((k, p, p))
        has_holes = self.has_holes
        for c in range(k):
            own = shares[:, c] > LEAST_RESPONSIBILITY * self.weights
            x, s = self.h[own], shares[own, c]
            total, extra = s.sum(), 0.0
            if has_holes and density is not None:
                missing = np.isnan(x)
                _, x, factors = condition(density, c, x)
                # Put all columns of all rows side by side.
                flat = (np.sqrt(s)[:, None, None] * factors).transpose(1, 0, 2).reshape(p, -1)
                noise = density.noise_variances[c] * np.square(density.unit)
                extra = flat @ flat.T + np.diag(noise * (s @ missing))
            # Rows of unequal weight carry the information of fewer equal rows: Kish, "Survey
            # Sampling", 1965.
            n[c] = total**2 / max(s @ self.weights[own], TINY)
            means[c] = s @ x / total
            y = (x - means[c]) * np.sqrt(s)[:, None]
            covariances[c] = (y.T @ y + extra) / total
            if has_holes:
                covariances[c] = self._within_range(covariances[c])
            rests[c] = s @ self.off[own] / total
        return Moments(n, means, covariances + self.blur, rests + self.off_blur)

    def _within_range(self, covariance: DoubleArray) -> DoubleArray:
        """Return a covariance whose standard deviations are at most half of each feature's range.

        Otherwise, if all rows of a component lack a feature, its expected variance could grow from
        step to step.
        """
        missing = np.isnan(self.h)
        low, high = (np.where(missing, s * np.inf, self.h) for s in (1, -1))
        most = 0.5 * np.abs(high.max(axis=0) - low.min(axis=0))
        size = np.sqrt(np.maximum(np.diag(covariance), TINY))
        factor = np.minimum(most / size, 1.0)
        return covariance * factor * factor[:, None]

    def mixture(self, weights: DoubleArray, parts: Gaussians) -> MixtureDensity:
        """Return the mixture of normal distributions in the basis of the rows."""
        return MixtureDensity(np.zeros(self.n_features), self.basis, weights, *parts)


def local_size(x: DoubleArray) -> float:
    """Return half the mean squared difference, per feature, of two neighbouring rows.

    This is the quantile 1 / `MAX_COMPONENTS` over random pairs of rows. With K components, at least
    a share of 1 / K of all pairs lie in the same component.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, perhaps with holes.

    Returns
    -------
    float
        Half the mean squared difference; 0 if all rows are equal.
    """
    shuffled = x[np.random.RandomState(0).permutation(len(x))]
    differences = np.square(shuffled - np.roll(shuffled, 1, axis=0))
    n_known = np.maximum((~np.isnan(differences)).sum(axis=1), 1)
    every = np.nansum(differences, axis=1) / n_known
    return 0.5 * float(np.quantile(every[every > 0], 1 / MAX_COMPONENTS)) if every.any() else 0.0


def blur_of(steps: DoubleArray) -> float:
    """Return the mean variance, over all columns, by which columns with a step are smoothed."""
    return float(np.square(steps / 2).mean())


def least_variance(size: Any) -> Any:
    """Return the least variance of a component in any direction.

    Parameters
    ----------
    size : float or ndarray
        Mean variance per feature of neighbouring rows, as from `local_size`.

    Returns
    -------
    float or ndarray
        The variance, above 0.
    """
    return np.maximum(LEAST_VARIANCE * size, ROUNDING_VARIANCE)


def background(rows: Rows) -> MixtureDensity:
    """Return a broad mixture: the normal distribution of all rows, and wider and rounder ones.

    The normal distribution has only the directions that stand out from the noise. With all
    directions, it would fit a few rows better than the components do.

    Parameters
    ----------
    rows : Rows
        All rows, without holes.

    Returns
    -------
    MixtureDensity
        A mixture whose components have the same mean.
    """
    one = maximise(rows, rows.weights[:, None], Family())
    floors = float(one.spreads[0]) * LEAST_VARIANCE ** np.array([0.0, 0.5, 1.0])
    floors, factors = np.repeat(floors, len(BROAD_FACTORS)), np.tile(BROAD_FACTORS, len(floors))
    k, weights = len(factors), factors**-0.5
    parts = Gaussians(
        np.repeat(one.means, k, axis=0),
        np.repeat(one.directions, k, axis=0),
        factors[:, None] * np.maximum(one.variances, floors[:, None]),
        factors * np.maximum(one.noise_variances, floors),
    )
    # The tails fall like the tails of a multivariate Cauchy distribution.
    return rows.mixture(weights / weights.sum(), parts)


def maximise(
    rows: Rows,
    shares: DoubleArray,
    family: Family,
    before: MixtureDensity | None = None,
    broad_shares: DoubleArray | None = None,
) -> MixtureDensity:
    """Return the mixture of a family that best fits rows, given their shares in components.

    Components with too few rows are dropped.

    Parameters
    ----------
    rows : Rows
        The rows.

    shares : ndarray of shape (n_rows, n_components)
        Responsibilities for the rows, times the weights of the rows.

    family : Family
        The regularisation of covariances.

    before : MixtureDensity or None, default=None
        The mixture that gave the shares. It fills in holes, and its background is kept.

    broad_shares : ndarray of shape (n_rows,) or None, default=None
        Shares of the rows in the background.

    Returns
    -------
    MixtureDensity
        The mixture.
    """
    n = shares.sum(axis=0)
    kept = n >= min(LEAST_ROWS, 0.5 * n.sum() / len(n))
    shares, n = shares[:, kept], n[kept]
    before = before.take(kept) if before is not None else None
    moments = rows.moments(shares, before)
    weights = n / n.sum()
    common = np.einsum("k,kpq->pq", weights, moments.covariances)
    common = common + 1e-12 * np.eye(len(common))
    parts = gaussians(moments, rows.n_features, family, common, least_variance(rows.size))
    density = rows.mixture(weights, parts)
    if before is None or before.background is None:
        return density
    # The background has the weight of at least one row.
    n_broad = 0.0 if broad_shares is None else float(broad_shares.sum())
    weight = max(n_broad, 1.0) / (n.sum() + n_broad + 1.0)
    return replace(density, background=before.background, background_weight=weight)


def shares_in(
    rows: Rows, density: MixtureDensity
) -> tuple[MixtureDensity, DoubleArray, DoubleArray]:
    """Return a mixture, and the shares of rows in its components and in the background.

    If all rows belong to the background, the mixture has one component, to which they belong.

    Parameters
    ----------
    rows : Rows
        The rows.

    density : MixtureDensity
        The mixture.

    Returns
    -------
    density : MixtureDensity
        The mixture, or its first component.

    shares : ndarray of shape (n_rows, n_components)
        Responsibilities for the rows, times the weights of the rows.

    broad : ndarray of shape (n_rows,)
        Shares of the rows in the background.
    """
    shares, broad, _ = rows.responsibilities(density)
    if shares.sum() < LEAST_ROWS:
        return density.take(np.arange(1)), shares[:, :1] + broad[:, None], 0.0 * broad
    return density, shares, broad


def em(
    rows: Rows, density: MixtureDensity, family: Family, n_iter: int = 30, tol: float = 1e-3
) -> MixtureDensity:
    """Return the best mixture that expectation maximisation finds from a starting one.

    Parameters
    ----------
    rows : Rows
        The rows.

    density : MixtureDensity
        The mixture to start from.

    family : Family
        The regularisation of covariances.

    n_iter : int, default=30
        Maximum number of iterations.

    tol : float, default=1e-3
        Gain in nats per row below which the iterations stop.

    Returns
    -------
    MixtureDensity
        The mixture.
    """
    best, before, total_weight = density, -np.inf, rows.weights.sum()
    shares, broad, total = rows.responsibilities(density)
    for _ in range(n_iter):
        if shares.sum() < LEAST_ROWS:
            break
        advance()
        density = maximise(rows, shares, family, density, broad)
        shares, broad, total = rows.responsibilities(density)
        mean = float(total @ rows.weights / total_weight)
        if mean > before:
            best = density
        # The choice of directions is not part of the maximisation, and can lower the likelihood.
        if mean - before < tol:
            break
        before = mean
    return best
