"""Number and fraction of active latents, and how far they vary between samples."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skvaeense.metrics._arrays import drop_weightless
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState, SparseArray
from skvaeense.utils._validation import AT_LEAST_ONE, Interval, check_array, dense, validate_params


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


@validate_params({"threshold": [Interval(Real, 0, 1, closed="left")]})
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


@validate_params({"max_pairs": [AT_LEAST_ONE]})
def pattern_adaptivity(
    codes: ArrayLike | SparseArray,
    *,
    sample_weight: ArrayLike | None = None,
    max_pairs: int = 1_000_000,
    random_state: RandomState = None,
) -> float:
    """Compute the mean Jaccard distance between the supports of pairs of different samples.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Number of copies of each sample, a whole number of at least 0. Different copies count as
        different samples.
    max_pairs : int, default=1_000_000
        Maximum number of pairs to compare. The result is exact if there are at most this many
        pairs of distinct patterns; otherwise it is estimated from this many random pairs of
        samples.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the random pairs. Unused if the result is exact.

    Returns
    -------
    float
        Between 0 (one pattern for all samples) and 1 (no two samples share an active
        latent).

    Raises
    ------
    TypeError
        If `max_pairs` is not an int.
    ValueError
        If `codes` is not two-dimensional, has fewer than two samples, counting copies, or holds NaN
        or infinity, if `max_pairs` is not positive, or if weights have the wrong shape, or are
        negative, not whole numbers, or all 0.

    Notes
    -----
    With A(n) the support of sample n, this is the mean over all pairs of different samples
    n != m of::

        1 - |A(n) & A(m)| / |A(n) | A(m)|

    Two empty supports count as equal (distance 0). Samples with the same pattern are counted
    together, so the result is exact for any number of samples if there are few patterns. The
    estimate is unbiased, with a standard error of at most ``0.5 / sqrt(max_pairs)``. Memory holds a
    copy of the patterns at one bit per entry, and a few numbers for each pair.

    Repeating all samples lowers the value, since copies of a sample are pairs at distance 0.
    So here, unlike in other metrics, the sum of the weights matters, and fractional weights make no
    sense.

    The distance does not distinguish a different choice of latents from a different number of
    latents: nested supports of different sizes differ too.

    References
    ----------
    P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2),
    1912.

    Examples
    --------
    >>> from skvaeense.metrics import pattern_adaptivity
    >>> pattern_adaptivity([[1, 1, 0, 0]] * 4)
    0.0
    >>> pattern_adaptivity([[1, 1, 0, 0], [0, 0, 1, 1]])
    1.0
    >>> round(pattern_adaptivity([[1, 1, 0], [0, 1, 1]]), 3)
    0.667
    """
    checked = check_array(codes, accept_sparse="csr", input_name="codes")
    rng = check_random_state(random_state)
    kept, weights = drop_weightless(sample_weight, checked)
    copies = _count_copies(kept.shape[0], weights)
    patterns, inverse = np.unique(_pack_patterns(kept), axis=0, return_inverse=True)
    counts = np.bincount(inverse.ravel(), weights=copies)
    n_copies = copies.sum()
    if len(patterns) * (len(patterns) - 1) // 2 <= max_pairs:
        first, second = np.triu_indices(len(patterns), 1)
        # A pattern is at distance 0 from itself, so pairs of equal samples add nothing.
        n_pairs = 0.5 * n_copies * (n_copies - 1)
        return float(counts[first] * counts[second] @ _distances(patterns, first, second) / n_pairs)
    copy = rng.randint(n_copies, size=max_pairs)
    # A nonzero step around the circle of copies reaches every other copy with equal probability.
    other = (copy + rng.randint(1, n_copies, size=max_pairs)) % n_copies
    first, second = (np.searchsorted(counts.cumsum(), c, side="right") for c in (copy, other))
    return float(_distances(patterns, first, second).mean())


def _count_active(codes: Any, sample_weight: Any) -> tuple[float, DoubleArray]:
    """Return the total weight of samples, and for each latent the weight of its active samples."""
    codes = check_array(codes, accept_sparse="csr", input_name="codes")
    codes, weights = drop_weightless(sample_weight, codes)
    # != drops zeros that a sparse matrix stores explicitly.
    active = codes != 0
    if weights is None:
        # The sum of a sparse matrix is a matrix, hence ravel.
        return codes.shape[0], np.asarray(active.sum(axis=0), dtype=np.float64).ravel()
    return weights.sum(), active.T @ weights


def _count_copies(n_samples: int, weights: DoubleArray | None) -> IntArray:
    """Return the weights as numbers of copies, whose sum must be at least two."""
    if weights is None:
        weights = np.ones(n_samples)
    # Up to 2**53, float64 holds whole numbers exactly.
    if (weights != np.rint(weights)).any() or weights.sum() > 2**53:
        raise ValueError(
            "sample_weight must hold whole numbers with a sum of at most 2**53. Pairs of different "
            "samples are compared, so a weight is a number of copies."
        )
    if weights.sum() < 2:
        raise ValueError("Found codes of 1 sample while a minimum of 2 is required to form a pair.")
    return weights.astype(np.int_)


def _pack_patterns(codes: Any) -> NDArray[np.uint8]:
    """Return the supports at one bit per entry, shape (n_samples, ceil(n_components / 8))."""
    blocks = (codes[rows] != 0 for rows in row_blocks(*codes.shape))
    return np.concatenate([np.packbits(dense(active), axis=1) for active in blocks])


def _distances(
    patterns: NDArray[np.uint8], first: NDArray[Any], second: NDArray[Any]
) -> DoubleArray:
    """Return the Jaccard distances of pairs of patterns."""
    n_shared, n_union = np.empty(len(first)), np.empty(len(first))
    for pairs in row_blocks(len(first), patterns.shape[1]):
        a, b = patterns[first[pairs]], patterns[second[pairs]]
        n_shared[pairs] = np.bitwise_count(a & b).sum(axis=1)
        n_union[pairs] = np.bitwise_count(a | b).sum(axis=1)
    # Two empty supports have distance 0. The maximum avoids a division by zero.
    return (n_union - n_shared) / np.maximum(n_union, 1)
