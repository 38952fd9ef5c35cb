"""The variation of the pattern of active latents between samples."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skvaeense.metrics._arrays import _drop_weightless
from skvaeense.utils._arrays import check_array
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState, SparseArray
from skvaeense.utils._validation import check_integer


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
    max_pairs = check_integer(max_pairs, "max_pairs", minimum=1)
    rng = check_random_state(random_state)
    kept, weights = _drop_weightless(sample_weight, checked)
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
    packed = []
    for rows in row_blocks(*codes.shape):
        active = codes[rows] != 0
        dense = active if isinstance(active, np.ndarray) else active.toarray()
        packed.append(np.packbits(dense, axis=1))
    return np.concatenate(packed)


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
