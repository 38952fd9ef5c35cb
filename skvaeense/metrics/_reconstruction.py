"""Errors of reconstructions."""

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.metrics._arrays import _check_pair, _mean_inner


def squared_error(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the squared reconstruction error, summed over features, averaged over samples.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Mean squared Euclidean norm of the residual, in squared units of X.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if
        their shapes differ, or if weights are of another shape, negative, NaN or infinite, or
        all 0.

    Notes
    -----
    ``mean_n ||x_n - xhat_n||^2``. Divide by n_features for the mean squared error.

    Examples
    --------
    >>> from skvaeense.metrics import squared_error
    >>> squared_error([[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [3.0, 2.0]])
    2.5
    """
    X, X_reconstructed, weights = _check_pair(X, X_reconstructed, sample_weight)
    residual = X - X_reconstructed
    return _mean_inner(residual, residual, weights)


def fvu(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of variance unexplained by a reconstruction.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        0 for a perfect reconstruction, 1 for one as good as the mean of X, more than 1 for
        a worse one. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if X is constant, or if weights are of another shape, negative, NaN or
        infinite, or all 0.

    Notes
    -----
    ``sum_nj (x_nj - xhat_nj)^2 / sum_nj (x_nj - m_j)^2``, with m the column means of X.
    This is one ratio over the whole set, and not a mean of ratios per feature or sample. It
    is one minus `sklearn.metrics.r2_score` with ``multioutput="variance_weighted"``, except
    that errors in constant features count here.

    References
    ----------
    H. Cunningham et al., "Sparse autoencoders find highly interpretable features in
    language models", 2023, arXiv:2309.08600.

    Examples
    --------
    >>> from skvaeense.metrics import fvu
    >>> fvu([[0.0, 0.0], [4.0, 2.0]], [[1.0, 0.0], [4.0, 2.0]])
    0.1
    """
    X, X_reconstructed, weights = _check_pair(X, X_reconstructed, sample_weight)
    # Ranges are exact, where rounding in the mean could hide that X is constant.
    if np.ptp(X, axis=0).max() == 0:
        raise ValueError(
            f"X is constant over its {X.shape[0]} sample(s), so it has no variance to explain: "
            "give samples that differ, or use squared_error."
        )
    residual, deviation = X - X_reconstructed, X - np.average(X, axis=0, weights=weights)
    return _mean_inner(residual, residual, weights) / _mean_inner(deviation, deviation, weights)


def explained_variance(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of variance explained by a reconstruction.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        1 for a perfect reconstruction, 0 for one as good as the mean of X, negative for a
        worse one. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if X is constant, or if weights are of another shape, negative, NaN or
        infinite, or all 0.

    Notes
    -----
    ``1 - fvu(X, X_reconstructed)``. A constant shift of the reconstruction counts as
    error, unlike in `sklearn.metrics.explained_variance_score`.

    Examples
    --------
    >>> from skvaeense.metrics import explained_variance
    >>> explained_variance([[0.0, 0.0], [4.0, 2.0]], [[1.0, 0.0], [4.0, 2.0]])
    0.9
    """
    return 1.0 - fvu(X, X_reconstructed, sample_weight=sample_weight)
