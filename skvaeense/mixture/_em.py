"""Expectation maximisation for mixtures of normal distributions with few directions each."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from skvaeense.mixture._density import (
    MANY_COMPONENTS,
    Holes,
    MixtureDensity,
    along,
    log_sum_exp,
    products_of,
    symmetric,
)
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING, TINY
from skvaeense.utils._rows import BLOCK_ENTRIES
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray

# A direction stands clearly above noise if its variance is this multiple of the edge.
ABOVE = 2.0
# Least variance of a component, as a share of the mean variance of neighbouring rows. Networks in
# single precision cannot tell smaller variances from rounding.
LEAST_VARIANCE = ROUNDING


class Family(NamedTuple):
    """The regularisation of the covariances of components.

    Attributes
    ----------
    cut : bool, default=True
        Whether directions that do not stand out from the noise count as noise. Otherwise all are
        kept.

    shrinkage : float, default=0.0
        Number of rows that a prior covariance counts as. The prior has the variances of the
        component.

    roundness : float, default=1.0
        Shrinkage of the prior's correlations, which are pooled over all components: 0 keeps the
        correlations, 1 removes them.

    scaled : bool, default=False
        Whether each feature is divided by its standard deviation first.
    """

    cut: bool = True
    shrinkage: float = 0.0
    roundness: float = 1.0
    scaled: bool = False


class Gaussians(NamedTuple):
    """Normal distributions with few directions each.

    Attributes
    ----------
    means : ndarray of shape (n_components, n_directions)
        Means.

    directions : ndarray of shape (n_components, n_directions, max_rank)
        Orthonormal columns, padded with columns of zeros.

    variances : ndarray of shape (n_components, max_rank)
        Variances along the directions, padded with the noise variance.

    noise_variances : ndarray of shape (n_components,)
        Variance in every other direction.
    """

    means: DoubleArray
    directions: DoubleArray
    variances: DoubleArray
    noise_variances: DoubleArray


class Moments(NamedTuple):
    """Counts, means and covariances of the rows of components, weighted by the rows' shares.

    Attributes
    ----------
    n_rows : ndarray of shape (n_components,)
        Effective number of rows: the number of rows of equal weight with the same information.

    means : ndarray of shape (n_components, n_directions)
        Means.

    covariances : ndarray of shape (n_components, n_directions, n_directions)
        Covariances.

    rests : ndarray of shape (n_components,)
        Mean squared distances from the span of the directions.
    """

    n_rows: DoubleArray
    means: DoubleArray
    covariances: DoubleArray
    rests: DoubleArray


def edge(noise_variance: Any, n_directions: Any, n_rows: Any) -> Any:
    """Return the largest variance that noise has in any direction, in 999 of 1,000 samples [1]_.

    Parameters
    ----------
    noise_variance : float or ndarray
        Variance of the noise in each direction.

    n_directions : int or ndarray
        Number of directions; 0 counts as 1.

    n_rows : float or ndarray
        Number of rows of the sample.

    Returns
    -------
    float or ndarray
        The largest variance.

    References
    ----------
    .. [1] I. Johnstone (2001). On the distribution of the largest eigenvalue in principal
       components analysis. Annals of Statistics 29.
    """
    a, b = np.sqrt(n_rows), np.sqrt(np.maximum(n_directions, 1))
    # The quantile of the Tracy-Widom law for 999 of 1,000.
    largest = (a + b) ** 2 + 3.2724 * (a + b) * (1 / a + 1 / b) ** (1 / 3)
    return noise_variance * largest / n_rows


def spikes(
    values: DoubleArray,
    rests: DoubleArray,
    n_features: int,
    n_rows: DoubleArray,
    floor: float | DoubleArray,
) -> tuple[IntArray, DoubleArray]:
    """Return the numbers of eigenvalues that stand out from the noise, and the noise variances.

    An eigenvalue stands out if it exceeds the `edge` of the noise in the space left by all larger
    eigenvalues. All eigenvalues up to the last one that stands out count as directions. The first
    ones need not stand out: if only a few directions are noise, the others raise the mean.

    Parameters
    ----------
    values : ndarray of shape (n_components, n_directions)
        Eigenvalues, in descending order.

    rests : ndarray of shape (n_components,)
        Sum of the variances in all further directions.

    n_features : int
        Total number of directions.

    n_rows : ndarray of shape (n_components,)
        Number of rows of each covariance.

    floor : float or ndarray of shape (n_components, 1)
        Least noise variance.

    Returns
    -------
    ranks : ndarray of int of shape (n_components,)
        Number of directions of each component.

    noises : ndarray of shape (n_components,)
        Mean variance in the other directions, corrected for the degrees of freedom.
    """
    p = values.shape[1]
    r = np.arange(p + 1)
    left = np.maximum(n_features - r, 1)
    tails = np.zeros((len(values), p + 1))
    tails[:, :p] = values[:, ::-1].cumsum(axis=1)[:, ::-1]
    tails += rests[:, None]
    n = n_rows[:, None]
    rows = np.maximum(n - r - 1, 1.0)
    noises = np.maximum(tails / left * np.maximum(n / rows, 1.0), floor)
    edges = edge(noises, left, rows) * rows / n
    stands_out = (values > edges[:, :p]) & (r[:p] < n - 2)
    # Count the last eigenvalue that stands out, and all before it.
    ranks = (stands_out * (r[:p] + 1)).max(axis=1, initial=0)
    return ranks, np.take_along_axis(noises, ranks[:, None], axis=1)[:, 0]


def unbiased(values: DoubleArray, noises: DoubleArray, ratios: DoubleArray) -> DoubleArray:
    """Return eigenvalues that stand out, corrected for the bias that noise adds in few rows.

    The estimate minimises the Frobenius loss and the entropy loss: Donoho, Gavish and Johnstone,
    "Optimal shrinkage of eigenvalues in the spiked covariance model", 2018.

    Parameters
    ----------
    values : ndarray of shape (n_components, n_directions)
        Eigenvalues of sample covariances.

    noises : ndarray of shape (n_components,)
        Variances of the noise.

    ratios : ndarray of shape (n_components,)
        Number of noise directions per row.

    Returns
    -------
    ndarray of shape (n_components, n_directions)
        Variances, at least the noise variance.
    """
    noise, ratio = noises[:, None], ratios[:, None]
    y = np.maximum(values / noise, (1 + np.sqrt(ratio)) ** 2 * (1 + 1e-9))
    sums = y + 1 - ratio
    true = 0.5 * (sums + np.sqrt(np.maximum(sums * sums - 4 * y, 0)))
    above = np.maximum(true - 1, 1e-12)
    cosines = np.clip((1 - ratio / above**2) / (1 + ratio / above), 0, 1)
    return noise * np.maximum(true * cosines + 1 - cosines, 1.0)


def gaussians(
    moments: Moments,
    n_features: int,
    family: Family,
    floor: float,
    common: DoubleArray | None = None,
) -> Gaussians:
    """Return the normal distributions of a family that best fit the moments.

    Parameters
    ----------
    moments : Moments
        Moments of each component.

    n_features : int
        Total number of directions.

    family : Family
        The regularisation of covariances.

    floor : float
        Least variance in any direction.

    common : ndarray of shape (n_directions, n_directions) or None, default=None
        Covariance whose correlations are those of the prior; None for a
        family without shrinkage.

    Returns
    -------
    Gaussians
        The distributions.
    """
    n, p, rests = moments.n_rows + family.shrinkage, moments.means.shape[1], moments.rests
    values, vectors = eigen(_shrunk(moments, family, common))
    # The i-th direction is found after i others, which cost degrees of freedom.
    inflate = n[:, None] / np.maximum(n[:, None] - 1.0 - np.arange(p), 1.0 + 0.02 * n[:, None])
    inflated = values * inflate + floor
    if family.cut:
        ranks, noises = spikes(values + floor, rests, n_features, n, floor)
        ratios = (n_features - ranks) / np.maximum(n, 1)
        variances = np.maximum(unbiased(inflated, noises, ratios), noises[:, None])
    else:
        ranks = np.minimum((values > floor).sum(axis=1), min(p, n_features - 1))
        after = np.arange(p) >= ranks[:, None]
        left = np.maximum(n_features - ranks, 1)
        noises = np.maximum((np.where(after, inflated, 0).sum(axis=1) + rests) / left, floor)
        variances = inflated
    rank = int(ranks.max(initial=0))
    kept = np.arange(rank) < ranks[:, None]
    directions = np.where(kept[:, None], vectors[:, :, :rank], 0.0)
    variances = np.where(kept, variances[:, :rank], noises[:, None])
    return Gaussians(moments.means, directions, variances, noises)


def eigen(covariances: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the eigenvalues of covariances, descending and at least 0, and the eigenvectors."""
    values, vectors = np.linalg.eigh(covariances)
    return np.maximum(values[..., ::-1], 0), vectors[..., ::-1]


def _shrunk(moments: Moments, family: Family, common: DoubleArray | None) -> DoubleArray:
    """Return covariances, shrunk towards the prior of a family."""
    S = moments.covariances
    if not family.shrinkage or common is None:
        return S
    n = moments.n_rows[:, None, None]
    size = np.sqrt(np.maximum(np.diagonal(S, axis1=1, axis2=2), TINY))
    common = common + 1e-12 * np.eye(len(common))
    scale = np.sqrt(np.diag(common))
    correlation = (1 - family.roundness) * common / np.outer(scale, scale)
    correlation += family.roundness * np.eye(len(scale))
    target = correlation * size[:, :, None] * size[:, None, :]
    return (n * S + family.shrinkage * target) / (n + family.shrinkage)


# Smaller responsibilities do not count for the covariance of a component.
LEAST_RESPONSIBILITY = ROUNDING
# A component with fewer rows is dropped.
LEAST_ROWS = 2.0
# Share of the rows in the core, chosen by benchmark "outliers", and number of fits to it.
CORE, CORE_STEPS = 0.65, 10
# Blur, in units of the mean variance of a feature, beyond which only distances count.
FAR_BLUR = 1e3
# Variance of the rounding error of numbers of unit size.
ROUNDING_VARIANCE = float(np.square(np.finfo(float).eps))
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
        n, d = x.shape
        if basis is None or np.isnan(x).any():
            # A hole in a row would make all its coordinates NaN.
            basis, h, off = np.eye(d), x, np.zeros(n)
        else:
            h, off = along(x, basis)
        weights = np.ones(n) if weights is None else weights
        squares = np.zeros(d) if steps is None else np.square(steps / 2)
        blur = (basis.T * squares) @ basis
        off_blur = max(float(squares.sum() - np.trace(blur)), 0.0)
        return cls(basis, h, off, weights, np.full(n, -np.inf), local_size(x), blur, off_blur)

    def __len__(self) -> int:
        return len(self.h)

    def __getitem__(self, rows: slice | BoolArray | IntArray) -> Self:
        each = "h", "off", "weights", "log_broad"
        return replace(self, **{name: getattr(self, name)[rows] for name in each})

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.basis)

    @cached_property
    def has_holes(self) -> bool:
        """Whether some values are missing."""
        return bool(np.isnan(self.h).any())

    @cached_property
    def groups(self) -> list[Holes]:
        """What the rows miss."""
        return Holes.groups_of(self.h)

    @cached_property
    def products(self) -> DoubleArray | None:
        """All products of pairs of coordinates; None if there are many, or few rows.

        Once they are known, they save time in all steps.
        """
        n, p = self.h.shape
        return products_of(self.h) if 2 * p <= n and n * p**2 <= 2 * BLOCK_ENTRIES else None

    @property
    def floor(self) -> float:
        """Least variance of a component in any direction."""
        return float(least_variance(self.size))

    def facing(self, background: Any) -> Self:
        """Return the rows with their log-density under a background."""
        return replace(self, log_broad=log_sum_exp(self.joint(background)[:, :-1]))

    def joint(self, density: MixtureDensity) -> DoubleArray:
        """Return the joint log-density of the rows and each component, and last the background."""
        broad = np.full(len(self), -np.inf)
        if self.has_holes:
            joint = density.log_joint(self.h, self.groups)
        else:
            joint = density.log_joint_along(self.h, self.off, vars(self).get("products"))
        if density.background is not None:
            broad = self.log_broad + math.log(density.background_weight)
        return np.column_stack([joint, broad])

    def log_prob(self, density: MixtureDensity) -> DoubleArray:
        """Return the log-density of the rows."""
        return self.responsibilities(density)[-1]

    def responsibilities(
        self, density: MixtureDensity
    ) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return shares of rows in components and in the background, and log-densities of rows.

        Shares that are too small to count for a covariance are 0.
        """
        joint = self.joint(density)
        total = np.logaddexp(log_sum_exp(joint[:, :-1]), joint[:, -1])
        every = np.exp(joint - total[:, None])
        shares = np.where(every > LEAST_RESPONSIBILITY, every, 0.0)[:, :-1] * self.weights[:, None]
        return shares, every[:, -1] * self.weights, total

    def moments(self, shares: DoubleArray, density: MixtureDensity | None = None) -> Moments:
        """Return the moments of components, given the shares of rows in them.

        With holes, these are the expected moments under a mixture.
        """
        k, p = shares.shape[1], self.h.shape[1]
        products = vars(self).get("products")
        if k >= MANY_COMPONENTS and products is not None:
            found = self.moments_of_products(shares, products)
            # Otherwise rounding would spoil the differences of squares.
            largest = np.square(found.means).sum(axis=1).max()
            if np.finfo(float).eps * largest <= ROUNDING * self.floor:
                return found
        n, means, rests = np.empty(k), np.empty((k, p)), np.zeros(k)
        covariances = np.empty((k, p, p))
        has_holes = self.has_holes
        for c in range(k):
            own = shares[:, c] > LEAST_RESPONSIBILITY * self.weights
            x, s, extra = self.h[own], shares[own, c], np.zeros((p, p))
            total = max(s.sum(), TINY)
            if has_holes and density is not None:
                x, extra = density.completed(c, self.h, own * shares[:, c], self.groups)
                x = x[own]
            # Rows of unequal weight carry the information of fewer equal rows: Kish, "Survey
            # Sampling", 1965.
            n[c] = total**2 / max(s @ self.weights[own], TINY)
            means[c] = s @ x / total
            y = (x - means[c]) * np.sqrt(s)[:, None]
            covariances[c] = (y.T @ y + extra) / total
            rests[c] = s @ self.off[own] / total
        if has_holes:
            covariances = self._within_range(covariances)
        return Moments(n, means, covariances + self.blur, rests + self.off_blur)

    def moments_of_products(self, shares: DoubleArray, products: DoubleArray) -> Moments:
        """Return the moments of components from products of pairs of coordinates."""
        total = np.maximum(shares.sum(axis=0), TINY)
        n = total**2 / np.maximum(self.weights @ shares, TINY)
        means = shares.T @ self.h / total[:, None]
        seconds = symmetric(shares.T @ products / total[:, None], self.h.shape[1])
        covariances = seconds - means[:, :, None] * means[:, None] + self.blur
        return Moments(n, means, covariances, self.off @ shares / total + self.off_blur)

    def _within_range(self, covariances: DoubleArray) -> DoubleArray:
        """Return covariances whose standard deviations are at most half of each feature's range.

        Otherwise, if all rows of a component lack a feature, its expected variance could grow from
        step to step.
        """
        missing = np.isnan(self.h)
        low, high = (np.where(missing, s * np.inf, self.h) for s in (1, -1))
        most = 0.5 * np.abs(high.max(axis=0) - low.min(axis=0))
        sizes = np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), TINY))
        factors = np.minimum(most / sizes, 1.0)
        return covariances * factors[:, None] * factors[:, :, None]

    def mixture(self, weights: DoubleArray, parts: Gaussians) -> MixtureDensity:
        """Return the mixture of normal distributions in the basis of the rows."""
        return MixtureDensity(np.zeros(self.n_features), self.basis, weights, *parts)

    def gaussians(
        self, moments: Moments, family: Family, common: DoubleArray, least: float = 0.0
    ) -> Gaussians:
        """Return the normal distributions of a family that best fit moments of the rows."""
        return gaussians(moments, self.n_features, family, max(least, self.floor), common)

    def background(self) -> MixtureDensity:
        """Return a broad mixture: the normal distribution of all rows, and wider and rounder ones.

        The normal distribution has only the directions that stand out from the noise. With all
        directions, it would fit a few rows better than the components do.

        Returns
        -------
        MixtureDensity
            A mixture whose components have the same mean.
        """
        one = self.maximise(self.weights[:, None], Family())
        floors = float(one.spreads[0]) * LEAST_VARIANCE ** np.array([0.0, 0.5, 1.0])
        floors, factors = np.repeat(floors, len(BROAD_FACTORS)), np.tile(BROAD_FACTORS, len(floors))
        k, weights = len(factors), factors**-0.5
        variances = factors[:, None] * np.maximum(one.variances, floors[:, None])
        noises = factors * np.maximum(one.noise_variances, floors)
        places = np.repeat(one.means, k, axis=0), np.repeat(one.directions, k, axis=0)
        # The tails fall like the tails of a multivariate Cauchy distribution.
        return self.mixture(weights / weights.sum(), Gaussians(*places, variances, noises))

    def maximise(
        self,
        shares: DoubleArray,
        family: Family,
        before: MixtureDensity | None = None,
        broad_shares: DoubleArray | None = None,
    ) -> MixtureDensity:
        """Return the mixture of a family that best fits rows, given their shares in components.

        Components with too few rows are dropped.

        Parameters
        ----------
        shares : ndarray of shape (n_rows, n_components)
            Responsibilities for the rows, times the weights of the self.

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
        moments = self.moments(shares, before)
        weights = n / n.sum()
        common = np.einsum("k,kpq->pq", weights, moments.covariances)
        parts = self.gaussians(moments, family, common)
        density = self.mixture(weights, parts)
        if before is None or before.background is None:
            return density
        # The background has the weight of at least one row.
        n_broad = 0.0 if broad_shares is None else float(broad_shares.sum())
        weight = max(n_broad, 1.0) / (n.sum() + n_broad + 1.0)
        return replace(density, background=before.background, background_weight=weight)

    def shares_in(self, density: MixtureDensity) -> tuple[MixtureDensity, DoubleArray, DoubleArray]:
        """Return a mixture, and the shares of rows in its components and in the background.

        If all rows belong to the background, the mixture has one component, to which they belong.

        Parameters
        ----------
        density : MixtureDensity
            The mixture.

        Returns
        -------
        density : MixtureDensity
            The mixture, or its first component.

        shares : ndarray of shape (n_rows, n_components)
            Responsibilities for the rows, times the weights of the self.

        broad : ndarray of shape (n_rows,)
            Shares of the rows in the background.
        """
        shares, broad, _ = self.responsibilities(density)
        if shares.sum() < LEAST_ROWS:
            return density.take(np.arange(1)), shares[:, :1] + broad[:, None], 0.0 * broad
        return density, shares, broad

    def em(
        self, density: MixtureDensity, family: Family, n_iter: int, tol: float
    ) -> MixtureDensity:
        """Return the best mixture that expectation maximisation finds from a starting one.

        Parameters
        ----------
        density : MixtureDensity
            The mixture to start from.

        family : Family
            The regularisation of covariances.

        n_iter : int
            Maximum number of iterations.

        tol : float
            Gain in nats per row below which the iterations stop.

        Returns
        -------
        MixtureDensity
            The mixture.
        """
        best, before = density, -np.inf
        if not family.cut and len(density) >= MANY_COMPONENTS and not self.has_holes:
            # They are kept, since a search comes back to the same rows.
            _ = self.products
        shares, broad, total = self.responsibilities(density)
        for _ in range(n_iter):
            if shares.sum() < LEAST_ROWS:
                break
            advance()
            density = self.maximise(shares, family, density, broad)
            shares, broad, total = self.responsibilities(density)
            mean = float(np.average(total, weights=self.weights))
            if mean > before:
                best = density
            # The choice of directions is not part of the M-step, and can lower the likelihood.
            if mean - before < tol:
                break
            before = mean
        return best

    def core(self, density: MixtureDensity, family: Family) -> MixtureDensity:
        """Return the mixture of the rows that surprise least, without a background.

        Outliers can have components of their own, and widen those of other rows. So a mixture is
        fitted to the share `CORE` of the rows that are most probable under the blurred mixture,
        again and again, as the minimum covariance determinant is found [1]_. At first, distance
        alone decides.

        Parameters
        ----------
        density : MixtureDensity
            The mixture to start from.

        family : Family
            The regularisation of covariances.

        Returns
        -------
        MixtureDensity
            The mixture.

        References
        ----------
        .. [1] P. Rousseeuw and K. Van Driessen (1999). A fast algorithm for the minimum covariance
           determinant estimator. Technometrics 41.
        """
        core, factor = density.blurred(0.0), FAR_BLUR
        for _ in range(CORE_STEPS):
            log_prob = self.log_prob(core.blurred(factor))
            order, factor = np.argsort(-log_prob, kind="stable"), 1.0
            before = self.weights[order].cumsum() - self.weights[order]
            last = order[before < CORE * self.weights.sum()][-1]
            is_in = log_prob >= log_prob[last]
            core = self.maximise(self.responsibilities(core)[0] * is_in[:, None], family)
        return core


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
