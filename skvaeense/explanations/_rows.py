"""Rows to be explained: distinct, centred and scaled, without rows far from all others."""

from typing import Any

import numpy as np

from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._em import MAX_COMPONENTS
from skvaeense.mixture._fit import fit_mixture
from skvaeense.mixture._units import FAR, MAX_FAR_SHARE, scaled_rows
from skvaeense.samples._weights import own_order
from skvaeense.utils._linalg import principal_directions
from skvaeense.utils._rows import MANY_ROWS, MAX_ENTRIES
from skvaeense.utils._typing import DoubleArray, IntArray


def some_rows(
    X: np.ndarray, weights: DoubleArray | None, rng: np.random.RandomState
) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
    """Return distinct rows of a random subsample, as from `scaled_rows`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units; NaN marks missing values.

    weights : ndarray of shape (n_samples,) or None
        How often each sample counts, above 0; None means once.

    rng : RandomState
        The source of randomness.

    Returns
    -------
    x : ndarray of shape (n_rows, n_features)
        The rows, centred and scaled, in an order of their own.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    center : ndarray of shape (n_features,)
        Centre, in the units of the samples.

    scale : float
        Scale, in the units of the samples.
    """
    n = min(len(X), MANY_ROWS, max(MAX_ENTRIES // X.shape[1], 1))
    some = np.arange(n)
    if n < len(X):
        center = np.nanmedian(X, axis=0)
        with np.errstate(over="ignore"):
            scale = float(np.nanmedian(np.abs(X - center))) or 1.0
        some = rng.permutation(own_order(X, center, scale))[:n]
    rows = X[some].astype(np.float64)
    return scaled_rows(rows, np.ones(n) if weights is None else weights[some])


def find_density(
    X: np.ndarray,
    weights: DoubleArray | None,
    rng: np.random.RandomState,
    *,
    max_components: int = MAX_COMPONENTS,
) -> MixtureDensity:
    """Return a mixture that explains samples, with or without missing values.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units; NaN marks missing values.

    weights : ndarray of shape (n_samples,) or None
        How often each sample counts, above 0; None means once.

    rng : RandomState
        The source of randomness.

    max_components : int, default=64
        Maximum number of components.

    Returns
    -------
    MixtureDensity
        The density, in the same units.
    """
    x, counts, center, scale = some_rows(X, weights, rng)
    found = fit_mixture(x, counts, rng, max_components=max_components)
    return found.density.in_units(center, scale)


def find_far_rows(
    X: np.ndarray, weights: DoubleArray | None = None, *, may_be_alike: bool = False
) -> IntArray:
    """Return the positions of rows that are far from most others, and would outweigh them.

    No component of a mixture explains these rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    may_be_alike : bool, default=False
        Whether rows beyond a gap are far, too, if they outweigh all others by one direction, beside
        which they are no farther than others. Such rows, like the first tokens of texts, can be as
        alike as a component of a mixture.

    Returns
    -------
    ndarray of int
        Ascending positions; empty if far rows are many, or have less variance than the others.
    """
    X, nothing = X.astype(np.float64), np.empty(0, dtype=int)
    # A missing value takes no row farther away.
    X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X) if np.isnan(X).any() else X
    n_few = int(MAX_FAR_SHARE * len(X))
    x = (X - np.median(X, axis=0)) / (float(np.abs(X).max()) or 1.0)
    squares = np.square(x).sum(axis=1)
    order = np.argsort(squares)
    few, edge = order[len(X) - n_few :], squares[order[len(X) - n_few - 1 :]]
    # A few rows do not move the median far. So if a few rows outweigh the others, the farthest rows
    # have at least half the others' sum of squares about the median.
    if n_few == 0 or 3 * squares[few].sum() <= squares.sum():
        return nothing
    if may_be_alike and edge[0] > 0:
        gap = int(np.argmax(edge[1:] / edge[:-1]))
        alike = few[gap:]
        beside = squares[alike] - np.square(x[alike] @ principal_directions(x[alike])[1][0])
        if 2 * squares[alike].sum() > squares.sum() and beside.max() <= edge[gap]:
            return np.sort(alike)
    # Two components suffice to find rows that neither of them explains. Many can take in far rows.
    density = find_density(X, weights, np.random.RandomState(0), max_components=2)
    broad: Any = density.background
    # Beyond this reach, squares can overflow.
    reach = FAR * np.sqrt(broad.spreads.max()) * density.unit
    within = np.clip(X, density.center - reach, density.center + reach)
    outlying = density.background_share(within) > 0.5
    if not 0 < outlying.mean() <= MAX_FAR_SHARE:
        return nothing
    squares = np.square((X - X[~outlying].mean(axis=0)) / np.abs(X).max()).sum(axis=1)
    return np.flatnonzero(outlying & (squares[outlying].sum() > squares[~outlying].sum()))
