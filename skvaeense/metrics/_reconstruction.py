"""Errors, lengths and directions of reconstructions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.metrics._arrays import (
    check_nonzero_rows,
    check_pair,
    in_unit,
    mean_inner,
    normalise_rows,
)
from skvaeense.utils._validation import POSITIVE, dense, validate_params


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
        their shapes differ, or if weights have the wrong shape, or are negative, NaN, infinite or
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
    X, X_reconstructed, weights = check_pair(X, X_reconstructed, sample_weight)
    residual = X - X_reconstructed
    return mean_inner(residual, residual, weights)


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
        shapes differ, if X is constant, or if weights have the wrong shape, or are negative, NaN,
        infinite or all 0.

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
    X, X_reconstructed, weights = check_pair(X, X_reconstructed, sample_weight)
    # Ranges are exact. Rounding in the mean could hide that X is constant.
    if np.ptp(X, axis=0).max() == 0:
        raise ValueError(
            f"X is constant over its {X.shape[0]} sample(s), so it has no variance to explain: "
            "give samples that differ, or use squared_error."
        )
    X, exponent = in_unit(X)
    residual = X - np.ldexp(X_reconstructed, -exponent)
    deviation = X - np.average(X, axis=0, weights=weights)
    return mean_inner(residual, residual, weights) / mean_inner(deviation, deviation, weights)


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
        shapes differ, if X is constant, or if weights have the wrong shape, or are negative, NaN,
        infinite or all 0.

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


@validate_params({"length": [POSITIVE]})
def explained_variance_at(length: float) -> Callable[..., float]:
    """Return a scorer of codes that all have the same mean length.

    Longer codes explain more, so models that differ in the length of their codes can only be
    compared at one length. The scorer is for `GridSearchCV` and `cross_val_score`, whose default is
    the method `score` of the estimator: densities do not depend on the length of codes.

    Parameters
    ----------
    length : float
        Mean number of entries of a code that count, above 0. These are the entries that move the
        reconstructions farthest; all others are set to 0.

    Returns
    -------
    callable
        A function ``scorer(estimator, X, y=None)``. It returns the share of the variance of X that
        the shortened codes explain. The estimator needs `transform`, `inverse_transform` and
        `components_`, whose rows are the directions of the codes.

    Raises
    ------
    ValueError
        If `length` is not a number above 0.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.metrics import explained_variance_at
    >>> X, *_ = make_linear_subspaces(600, dims=(1, 3), n_features=8, random_state=0)
    >>> scorer = explained_variance_at(2)
    >>> bool(scorer(PCA().fit(X), X) < scorer(VAEenseTransformer(random_state=0).fit(X), X))
    True
    >>> search = GridSearchCV(PCA(), {"n_components": [1, 4]}, scoring=scorer).fit(X)
    >>> search.best_params_
    {'n_components': 4}
    """
    return partial(_explained_at, length=float(length))


def _explained_at(estimator: Any, X: ArrayLike, y: object = None, *, length: float) -> float:
    codes = dense(estimator.transform(X))
    effects = np.abs(codes) * np.linalg.norm(estimator.components_, axis=1)
    n_kept = min(max(round(length * len(codes)), 1), effects.size)
    least = np.partition(effects, effects.size - n_kept, axis=None)[effects.size - n_kept]
    return explained_variance(X, estimator.inverse_transform(np.where(effects < least, 0, codes)))


def l2_ratio(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean ratio of the norm of a reconstruction to the norm of its sample.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data. No sample may be 0.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        1 for reconstructions as long as the data, below 1 for shorter ones, above 1 for
        longer ones. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if a sample has norm 0, or if weights have the wrong shape, or are negative,
        NaN, infinite or all 0.

    Notes
    -----
    ``mean_n (||xhat_n|| / ||x_n||)``, a mean of ratios, in which short samples weigh as
    much as long ones. Reconstructions that leave out noise are shorter than the data without
    being biased; `shrinkage` measures bias alone.

    The arrays are not centred. If the mean of X is far from 0, it makes up most of both norms, and
    the ratio is near 1 whatever else is lost. Subtract ``X.mean(axis=0)`` from both arrays first to
    measure the rest.

    References
    ----------
    S. Marks, A. Karvonen and A. Mueller, "dictionary_learning", 2024,
    https://github.com/saprmarks/dictionary_learning.

    J. Bloom et al., "SAELens", 2024, https://github.com/jbloomAus/SAELens.

    Examples
    --------
    >>> from skvaeense.metrics import l2_ratio
    >>> l2_ratio([[3.0, 4.0], [0.0, 2.0]], [[1.5, 2.0], [0.0, 2.0]])
    0.75
    """
    X, X_reconstructed, weights = check_pair(X, X_reconstructed, sample_weight)
    check_nonzero_rows(
        X, "X", "no length can be divided by 0, so drop these samples from both arrays"
    )
    (X, unit), (X_reconstructed, other) = in_unit(X, 1), in_unit(X_reconstructed, 1)
    ratios = np.linalg.norm(X_reconstructed, axis=1) / np.linalg.norm(X, axis=1)
    return float(np.average(np.ldexp(ratios, (other - unit)[:, 0]), weights=weights))


def cosine_similarity(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean cosine of the angle between a sample and its reconstruction.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data. No sample may be 0.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        1 if all reconstructions point along their samples, 0 if they are orthogonal to them, -1
        if all point the opposite way. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if a sample has norm 0, or if weights have the wrong shape, or are negative,
        NaN, infinite or all 0.

    Notes
    -----
    ``mean_n (x_n . xhat_n) / (||x_n|| ||xhat_n||)``. A reconstruction of norm 0 has no
    direction and counts as 0. Lengths do not matter: see `l2_ratio` and `shrinkage`.
    Samples are compared with their own reconstructions only, and not in all pairs as in
    `sklearn.metrics.pairwise.cosine_similarity`.

    The arrays are not centred. If the mean of X is far from 0, it makes up most of both vectors,
    and the cosine is near 1 whatever else is lost. Subtract ``X.mean(axis=0)`` from both arrays
    first to measure the rest.

    References
    ----------
    S. Marks, A. Karvonen and A. Mueller, "dictionary_learning", 2024,
    https://github.com/saprmarks/dictionary_learning.

    J. Bloom et al., "SAELens", 2024, https://github.com/jbloomAus/SAELens.

    Examples
    --------
    >>> from skvaeense.metrics import cosine_similarity
    >>> round(cosine_similarity([[1.0, 0.0], [0.0, 2.0]], [[0.5, 0.0], [2.0, 2.0]]), 3)
    0.854
    """
    X, X_reconstructed, weights = check_pair(X, X_reconstructed, sample_weight)
    check_nonzero_rows(
        X, "X", "a zero vector has no direction, so drop these samples from both arrays"
    )
    cosines = np.einsum("ij,ij->i", normalise_rows(X), normalise_rows(X_reconstructed))
    # Rounding can take the cosine of parallel vectors beyond 1.
    return float(np.average(np.clip(cosines, -1.0, 1.0), weights=weights))


def shrinkage(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the bias towards reconstructions that are too short to minimise the squared error.

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
        0 if no common factor would improve the reconstructions, between 0 and 1 if they are too
        short, negative if they are too long. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if the reconstructions do not point along X on average, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``1 - gamma``, with gamma the relative reconstruction bias [1]_::

        gamma = A / B    with    A = mean_n ||xhat_n||^2    and    B = mean_n (xhat_n . x_n)

    gamma minimises ``mean_n ||xhat_n / g - x_n||^2`` over g. As a function of s = 1 / g, this mean
    is the quadratic ``A s^2 - 2 B s + mean_n ||x_n||^2``, which is smallest at s = B / A. So
    dividing all reconstructions by gamma lowers `squared_error` more than any other factor does, by
    ``(A - B)^2 / A``. If B is 0 or less, the best s is not positive, and reconstructions are wrong
    rather than short.

    An orthogonal projection, such as `sklearn.decomposition.PCA` on its training data, has A = B
    and no shrinkage, although its `l2_ratio` on centred data is below 1: leaving out variance is
    not a bias.

    The arrays are not centred. If the mean of X is far from 0, it makes up most of A and of B, and
    hides shrinkage around the mean. Subtract ``X.mean(axis=0)`` from both arrays first to measure
    the rest.

    References
    ----------
    .. [1] S. Rajamanoharan et al., "Improving dictionary learning with gated sparse
       autoencoders", 2024, arXiv:2404.16014.

    Examples
    --------
    >>> from skvaeense.metrics import shrinkage
    >>> shrinkage([[2.0, 0.0], [0.0, 4.0]], [[1.5, 0.0], [0.0, 3.0]])
    0.25
    """
    X, X_reconstructed, weights = check_pair(X, X_reconstructed, sample_weight)
    (X, unit), (X_reconstructed, other) = in_unit(X), in_unit(X_reconstructed)
    inner = mean_inner(X_reconstructed, X, weights)
    if inner <= 0:
        raise ValueError(
            "The mean inner product of X and X_reconstructed must be positive for shrinkage, got "
            f"{np.ldexp(inner, unit + other):g}: check that rows match and that reconstructions "
            "are not all 0, or use squared_error."
        )
    ratio = mean_inner(X_reconstructed, X_reconstructed, weights) / inner
    return 1.0 - float(np.ldexp(ratio, other - unit))
