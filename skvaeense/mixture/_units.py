"""Distinct rows, centred and scaled without those far from all others."""

import numpy as np

from skvaeense.mixture._covariance import LEAST_VARIANCE
from skvaeense.mixture._growth import TIED
from skvaeense.samples._weights import own_order
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import checked_scale

# Largest share of the rows that is ever left out.
MAX_FAR_SHARE = 0.05
# Beyond this multiple of the typical size of rows, rounding of squares reaches the least variance.
FAR = float(np.sqrt(LEAST_VARIANCE / np.finfo(float).eps))


def units_of(x: DoubleArray, weights: DoubleArray) -> tuple[DoubleArray, float]:
    """Return the centre and the scale of rows, leaving out distant rows.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, perhaps with holes.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    Returns
    -------
    center : ndarray of shape (n_features,)
        Means of the features, without the farthest quarter of the rows.

    scale : float
        Root mean square, about the centre, of the rows without the farthest quarter.
    """
    known = ~np.isnan(x) * weights[:, None]
    center = _quantile(x, known, 0.5)
    with np.errstate(over="ignore"):
        # In units of a power of two near the median, squares are finite except for very distant
        # rows.
        sizes = np.abs(np.nan_to_num(x - center)).max(axis=1)
        unit = np.ldexp(1.0, np.frexp(np.median(sizes) or sizes.max() or 1.0)[1] - 1)
        squares = np.square(np.nan_to_num((x - center) / unit)).mean(axis=1)
    # Rounding does not decide which of equally distant rows are near.
    near = squares <= _quantile(squares, weights, 0.75) * (1 + TIED)
    total = known[near].sum(axis=0)
    with np.errstate(over="ignore"):
        shifts = (known * np.nan_to_num(x - center))[near].sum(axis=0)
        center = center + shifts / np.maximum(total, 1e-300)
        squares = known * np.square(np.nan_to_num((x - center) / unit))
    spread = squares[near].sum() / max(total.sum(), 1e-300)
    if not spread > 0:
        spread = squares.sum() / known.sum()
    return center, float(unit * np.sqrt(spread)) or 1.0


def scaled_rows(
    x: DoubleArray, weights: DoubleArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
    """Return distinct rows, centred and scaled, their weights, the centre and the scale.

    Rows far from most others are drawn nearer, so that squares of all rows keep their digits.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, perhaps with holes.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    Returns
    -------
    x : ndarray of shape (n_different, n_features)
        The distinct rows, as from `merged`.

    weights : ndarray of shape (n_different,)
        Their weights.

    center : ndarray of shape (n_features,)
        Centre, in the units of x.

    scale : float
        Scale, in the units of x.
    """
    advance()
    center, scale = units_of(x, weights)
    advance()
    with np.errstate(over="ignore"):
        # In units of this scale, no more rows than can be left out lie beyond FAR.
        sizes = np.abs(np.nan_to_num(x - center)).max(axis=1)
        far = float(np.quantile(sizes, 1 - MAX_FAR_SHARE)) / FAR
        scale = checked_scale(max(scale, far))
        # Clipping at twice FAR does not cut a far part in two.
        rows = np.clip((x - center) / scale, -2 * FAR, 2 * FAR)
    return *merged(rows, weights), center, scale


def _quantile(values: DoubleArray, weights: DoubleArray, share: float) -> DoubleArray:
    """Return the quantile of weighted values along the first axis."""
    order = np.argsort(values, axis=0)
    sums = np.take_along_axis(weights, order, axis=0).cumsum(axis=0)
    first = (sums >= share * sums[-1] * (1 - ROUNDING)).argmax(axis=0)
    place = np.take_along_axis(order, first[None], axis=0)
    return np.take_along_axis(values, place, axis=0)[0]


def merged(
    x: DoubleArray, weights: DoubleArray | None, same: float = 1e-9
) -> tuple[DoubleArray, DoubleArray]:
    """Return the distinct rows, in an order of their own, and the total weight of each.

    A row that occurs twice says no more about the noise than one row of twice the weight. For
    everything else, it counts as two rows.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, centred and of about unit size, so that neither units nor the order of features nor
        rounding decides which rows are the same, and which comes first.

    weights : ndarray of shape (n_rows,) or None
        How often each row counts; None means once.

    same : float, default=1e-9
        Rows that differ by less, as a share of their size, are the same row.

    Returns
    -------
    x : ndarray of shape (n_different, n_features)
        The distinct rows of weight above 0.

    weights : ndarray of shape (n_different,)
        Their weights, scaled so that the smallest is 1.
    """
    weights = np.ones(len(x)) if weights is None else weights
    x, weights = x[weights > 0], weights[weights > 0]
    order = own_order(x)
    x, weights = x[order], weights[order]
    known = np.nan_to_num(x)
    size = np.abs(known).max(axis=1)
    is_new = np.abs(known[1:] - known[:-1]).max(axis=1) > same * np.maximum(size[1:], size[:-1])
    is_new = np.r_[True, is_new | (np.isnan(x[1:]) != np.isnan(x[:-1])).any(axis=1)]
    sums = np.add.reduceat(weights, np.flatnonzero(is_new))
    return x[is_new], sums / sums.min()
