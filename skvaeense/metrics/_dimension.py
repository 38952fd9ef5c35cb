"""Errors of estimated dimensions."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error

from skvaeense.metrics._arrays import check_pair
from skvaeense.utils._validation import column_or_1d


def dimension_error(
    dimension_true: ArrayLike, dimension_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean absolute error of estimated dimensions.

    Parameters
    ----------
    dimension_true : array-like of shape (n_samples,)
        True dimension of each sample.
    dimension_pred : array-like of shape (n_samples,)
        Estimated dimension of each sample, not necessarily whole.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Mean absolute difference, in dimensions. 0 is best.

    Raises
    ------
    ValueError
        If the lengths differ, if an array is not one-dimensional, is empty, or holds NaN or
        infinity, or if weights have the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``mean_n |r_n - rhat_n|``. Errors of opposite sign do not cancel, as they would in the
    difference of two means.

    Examples
    --------
    >>> from skvaeense.metrics import dimension_error
    >>> dimension_error([2, 4, 8, 8], [2.0, 5.0, 8.0, 7.0])
    0.5
    """
    true, pred, weights = _check_pair(dimension_true, dimension_pred, sample_weight)
    return float(mean_absolute_error(true, pred, sample_weight=weights))


def dimension_accuracy(
    dimension_true: ArrayLike, dimension_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of samples whose rounded estimated dimension is correct.

    Parameters
    ----------
    dimension_true : array-like of shape (n_samples,)
        True dimension of each sample.
    dimension_pred : array-like of shape (n_samples,)
        Estimated dimension of each sample, not necessarily whole.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Fraction of samples, between 0 and 1. 1 is best.

    Raises
    ------
    ValueError
        If the lengths differ, if an array is not one-dimensional, is empty, or holds NaN or
        infinity, or if weights have the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    Estimates are rounded to the nearest whole number, and halves to the nearest even number, as
    `numpy.rint` does. True dimensions are not rounded.

    Examples
    --------
    >>> from skvaeense.metrics import dimension_accuracy
    >>> dimension_accuracy([2, 4, 8, 8], [2.2, 5.0, 7.9, 8.4])
    0.75
    """
    true, pred, weights = _check_pair(dimension_true, dimension_pred, sample_weight)
    return float(np.average(true == np.rint(pred), weights=weights))


def mean_percentage_error(
    dimension_true: ArrayLike, dimension_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean absolute error of estimated dimensions, in percent of the true dimensions.

    Parameters
    ----------
    dimension_true : array-like of shape (n_samples,)
        True dimension of each sample (or of each data set), above 0.
    dimension_pred : array-like of shape (n_samples,)
        Estimated dimension of each sample (or of each data set), not necessarily whole.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample (or data set) counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Mean percentage error, in percent. 0 is best.

    Raises
    ------
    ValueError
        If the lengths differ, if an array is not one-dimensional, is empty, or holds NaN
        or infinity, if a true dimension is not positive, or if weights have the wrong shape, or are
        negative, NaN, infinite or all 0.

    Notes
    -----
    ``MPE = 100 mean_n |r_n - rhat_n| / r_n``, the measure that benchmarks of intrinsic
    dimension estimators report with one entry for each data set [1]_. Despite the name, errors are
    absolute.

    References
    ----------
    .. [1] P. Campadelli, E. Casiraghi, C. Ceruti and A. Rozza, "Intrinsic dimension
       estimation: relevant techniques and a benchmark framework", Mathematical Problems in
       Engineering, 2015, doi:10.1155/2015/759567.

    Examples
    --------
    >>> from skvaeense.metrics import mean_percentage_error
    >>> mean_percentage_error([2, 4, 8, 10], [2.0, 5.0, 6.0, 10.0])
    12.5
    """
    true, pred, weights = _check_pair(dimension_true, dimension_pred, sample_weight)
    if true.min() <= 0:
        raise ValueError(
            f"dimension_true must be positive for a percentage error, got {true.min():g}: drop "
            "those samples, or use dimension_error."
        )
    return 100.0 * float(mean_absolute_percentage_error(true, pred, sample_weight=weights))


def _check_pair(true: Any, pred: Any, sample_weight: Any) -> tuple[Any, ...]:
    """Check both arrays; return them as float64, and weights, without samples of weight 0."""
    names = "dimension_true", "dimension_pred"
    true, pred = (
        column_or_1d(x, dtype=np.float64, input_name=name)[:, None]
        for x, name in zip((true, pred), names, strict=True)
    )
    true, pred, weights = check_pair(true, pred, sample_weight, names)
    return true[:, 0], pred[:, 0], weights
