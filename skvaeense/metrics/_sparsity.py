"""Numbers and fractions of active latents."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skvaeense.utils._typing import DoubleArray, IntArray, SparseArray


def l0(codes: ArrayLike | SparseArray) -> float:
    """Compute the mean number of active latents per sample.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.

    Returns
    -------
    float
        Mean number of non-zeros per sample, between 0 and n_components.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity.

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
    n_samples, counts = _count_active(codes)
    return float(counts.sum() / n_samples)


def active_union(codes: ArrayLike | SparseArray) -> int:
    """Count the latents that are active in at least one sample.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.

    Returns
    -------
    int
        Number of latents in the union of the samples' supports, between 0 and
        n_components.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity.

    Notes
    -----
    A model whose pattern is the same for every sample has a union as large as its `l0`; an
    adaptive one has a larger union.

    Examples
    --------
    >>> from skvaeense.metrics import active_union
    >>> active_union([[True, False, False], [False, False, True]])
    2
    """
    return int(np.count_nonzero(_count_active(codes)[1]))


def dead_fraction(codes: ArrayLike | SparseArray) -> float:
    """Compute the fraction of latents that are active in none of the samples.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.

    Returns
    -------
    float
        Fraction of dead latents, between 0 and 1.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity.

    Notes
    -----
    ``1 - active_union(codes) / n_components``. A latent counts as dead if it is inactive in all of
    the given samples. A rare latent looks dead if there are too few samples, so the value can
    only fall as samples are added: compare values over equally many samples.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from skvaeense.metrics import dead_fraction
    >>> dead_fraction([[0.5, 0.0, -1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    0.5
    """
    return float(np.mean(_count_active(codes)[1] == 0))


def feature_density(codes: ArrayLike | SparseArray) -> DoubleArray:
    """Compute the fraction of samples in which each latent is active.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.

    Returns
    -------
    ndarray of shape (n_components,)
        Fraction of samples per latent, between 0 and 1. Its sum is `l0`.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity.

    Notes
    -----
    ``density[j] = mean_n [codes[n, j] != 0]``, the quantity of the feature density
    histograms drawn for sparse autoencoders.

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
    n_samples, counts = _count_active(codes)
    return counts / n_samples


def _count_active(codes: Any) -> tuple[int, IntArray]:
    """Return the number of samples, and in how many of them each latent is active."""
    codes = check_array(codes, accept_sparse="csr", input_name="codes")
    # != drops the zeros that a sparse matrix may store; its sum is a matrix, hence ravel.
    return codes.shape[0], np.asarray((codes != 0).sum(axis=0)).ravel()
