"""Covariances of components: the directions that stand out from the noise, and shrinkage."""

from typing import Any, NamedTuple

import numpy as np

from skvaeense.utils._linalg import ROUNDING, TINY
from skvaeense.utils._typing import DoubleArray, IntArray

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

    noises : ndarray of shape (n_components,)
        Variance in every other direction.
    """

    means: DoubleArray
    directions: DoubleArray
    variances: DoubleArray
    noises: DoubleArray


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


def edge(noise_variance: Any, n_directions: Any, n_rows: Any, *, quantile: float = 3.2724) -> Any:
    """Return the largest variance that noise has in any direction, in 999 of 1,000 samples [1]_.

    Parameters
    ----------
    noise_variance : float or ndarray
        Variance of the noise in each direction.

    n_directions : int or ndarray
        Number of directions; 0 counts as 1.

    n_rows : float or ndarray
        Number of rows of the sample.

    quantile : float, default=3.2724
        The quantile of the Tracy-Widom law, by default for 999 of 1,000.

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
    largest = (a + b) ** 2 + quantile * (a + b) * (1 / a + 1 / b) ** (1 / 3)
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
    moments: Moments, n_features: int, family: Family, common: DoubleArray, floor: float
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

    common : ndarray of shape (n_directions, n_directions)
        Pooled covariance within the components.

    floor : float
        Least variance in any direction.

    Returns
    -------
    Gaussians
        The distributions.
    """
    n, p = moments.n_rows, moments.means.shape[1]
    S, rests = _shrunk(moments, family, common), moments.rests
    n = n + family.shrinkage
    values, vectors = np.linalg.eigh(S)
    values, vectors = np.maximum(values[:, ::-1], 0), vectors[:, :, ::-1]
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


def _shrunk(moments: Moments, family: Family, common: DoubleArray) -> DoubleArray:
    """Return covariances, shrunk towards the prior of a family."""
    S = moments.covariances
    if not family.shrinkage:
        return S
    n = moments.n_rows[:, None, None]
    size = np.sqrt(np.maximum(np.diagonal(S, axis1=1, axis2=2), TINY))
    scale = np.sqrt(np.maximum(np.diag(common), TINY))
    correlation = (1 - family.roundness) * common / np.outer(scale, scale)
    correlation += family.roundness * np.eye(len(scale))
    target = correlation * size[:, :, None] * size[:, None, :]
    return (n * S + family.shrinkage * target) / (n + family.shrinkage)
