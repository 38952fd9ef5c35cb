"""Number and fraction of active latents."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.metrics._arrays import _drop_weightless
from skvaeense.utils._arrays import check_array
from skvaeense.utils._typing import DoubleArray, SparseArray


def l0(codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None) -> float:
    """Compute the mean number of active latents per sample.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Mean number of non-zeros per sample, between 0 and n_components.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``L0 = mean_n |{j : codes[n, j] != 0}|``. For the count of one sample use
    ``np.count_nonzero(codes, axis=1)``.

    Examples
    --------
    >>> from skvaeense.metrics import l0
    >>> l0([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]])
    1.5
    """
    total, counts = _count_active(codes, sample_weight)
    return float(counts.sum() / total)


def active_union(codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None) -> int:
    """Count the latents that are active in at least one sample.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. Here it only matters whether a weight is 0.

    Returns
    -------
    int
        Number of latents in the union of the samples' supports, between 0 and
        n_components.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    A model whose pattern is the same for every sample has a union as large as its `l0`; an adaptive
    model has a larger union.

    Examples
    --------
    >>> from skvaeense.metrics import active_union
    >>> active_union([[True, False, False], [False, False, True]])
    2
    """
    return int(np.count_nonzero(_count_active(codes, sample_weight)[1]))


def dead_fraction(
    codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of latents that are active in none of the samples.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. Here it only matters whether a weight is 0.

    Returns
    -------
    float
        Fraction of dead latents, between 0 and 1.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``1 - active_union(codes) / n_components``. A latent counts as dead if it is inactive in all of
    the given samples. A rare latent looks dead if there are too few samples, so the value can
    only fall as samples are added: compare values over the same number of samples.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from skvaeense.metrics import dead_fraction
    >>> dead_fraction([[0.5, 0.0, -1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    0.5
    """
    return float(np.mean(_count_active(codes, sample_weight)[1] == 0))


def dense_fraction(
    codes: ArrayLike | SparseArray,
    *,
    threshold: float = 0.1,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the fraction of latents that are active in many of the samples.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    threshold : float, default=0.1
        A latent is dense if it is active in more than this share of the samples.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Fraction of dense latents, between 0 and 1.

    Raises
    ------
    ValueError
        If `threshold` is not between 0 and 1, if `codes` is not two-dimensional, is empty, or holds
        NaN or infinity, or if weights have the wrong shape, or are negative, NaN, infinite or all
        0.

    Notes
    -----
    ``mean_j [feature_density(codes)[j] > threshold]``. Latents that are active nearly everywhere
    represent what samples have in common, and rarely a separate feature.

    References
    ----------
    S. Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
    autoencoders", 2024, arXiv:2407.14435, on features of high frequency.

    Examples
    --------
    >>> from skvaeense.metrics import dense_fraction
    >>> dense_fraction([[0.5, 0.0, -1.0, 0.0], [0.0, 0.0, 2.0, 0.0]], threshold=0.5)
    0.25
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be at least 0 and below 1, got {threshold!r}.")
    return float(np.mean(feature_density(codes, sample_weight=sample_weight) > threshold))


def feature_density(
    codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None
) -> DoubleArray:
    """Compute the fraction of samples in which each latent is active.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    ndarray of shape (n_components,)
        Fraction of samples per latent, between 0 and 1. Its sum is `l0`.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``density[j] = mean_n [codes[n, j] != 0]``, the quantity that feature density histograms of
    sparse autoencoders show.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with
    dictionary learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> from skvaeense.metrics import feature_density
    >>> feature_density([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]]).tolist()
    [0.5, 0.0, 1.0]
    """
    total, counts = _count_active(codes, sample_weight)
    # Rounding can take the fraction of a latent that is always active beyond 1.
    return np.minimum(counts / total, 1.0)


def _count_active(codes: Any, sample_weight: Any) -> tuple[float, DoubleArray]:
    """Return the total weight of samples, and for each latent the weight of its active samples."""
    codes = check_array(codes, accept_sparse="csr", input_name="codes")
    codes, weights = _drop_weightless(sample_weight, codes)
    # != drops zeros that a sparse matrix stores explicitly.
    active = codes != 0
    _warn_of_locations(codes, active)
    if weights is None:
        # The sum of a sparse matrix is a matrix, hence ravel.
        return codes.shape[0], np.asarray(active.sum(axis=0), dtype=np.float64).ravel()
    return weights.sum(), active.T @ weights


def _warn_of_locations(codes: Any, active: Any) -> None:
    """Warn if codes end with columns of locations, exactly one of which is 1 in each sample."""
    if codes.dtype == bool:
        return
    counts = [np.asarray(mask.sum(axis=0)).ravel() for mask in (active, codes == 1)]
    is_binary = counts[0] == counts[1]
    n_last = int(np.argmin(is_binary[::-1]))
    there = np.asarray(active[:, codes.shape[1] - n_last :].sum(axis=1))
    n_used = int(np.count_nonzero(counts[0][codes.shape[1] - n_last :]))
    if n_last and n_used > 1 and (there == 1).all():
        warnings.warn(
            f"The last {n_used} columns of codes look like locations of a VAEenseTransformer, "
            "which are not latents, but each sample counts one. Give active_dimensions(X) instead.",
            stacklevel=4,
        )
