"""The variation of the pattern of active latents between samples."""

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state, gen_batches

from skvaeense.metrics._arrays import _drop_weightless
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState, SparseArray

# Bytes of packed patterns, or of distances, that one step of a computation holds.
_BLOCK_BYTES = 2**22


def pattern_adaptivity(
    codes: ArrayLike | SparseArray,
    *,
    sample_weight: ArrayLike | None = None,
    max_pairs: int = 1_000_000,
    random_state: RandomState = None,
) -> float:
    """Compute the mean Jaccard distance between the supports of two different samples.

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
        or infinity, if `max_pairs` is not positive, or if weights are of another shape, negative,
        not whole numbers, or all 0.

    Notes
    -----
    With A(n) the support of sample n, this is the mean over all pairs of different samples
    n != m of::

        1 - |A(n) & A(m)| / |A(n) | A(m)|

    Two empty supports count as equal (distance 0). Samples with the same pattern are counted
    together, so the result is exact for any number of samples if there are few patterns. The
    estimate is unbiased, with a standard error of at most ``0.5 / sqrt(max_pairs)``. Beyond a
    copy of the patterns at one bit per entry, memory is bounded.

    Repeating all samples lowers the value, since copies of a sample are pairs at distance 0.
    So here, unlike in other metrics, the sum of the weights matters, and no fractions make sense.

    The distance does not tell a different choice of latents from a different number of them:
    nested supports of different sizes differ too.

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
    codes = check_array(codes, accept_sparse="csr", input_name="codes")
    if isinstance(max_pairs, bool) or not isinstance(max_pairs, numbers.Integral):
        raise TypeError(f"max_pairs must be an int, got {max_pairs!r}.")
    if max_pairs < 1:
        raise ValueError(f"max_pairs must be at least 1, got {max_pairs}.")
    rng = check_random_state(random_state)
    codes, weights = _drop_weightless(sample_weight, codes)
    copies = _count_copies(codes.shape[0], weights)
    packed = _pack_patterns(codes)
    patterns, inverse = np.unique(packed, axis=0, return_inverse=True)
    if len(patterns) * (len(patterns) - 1) // 2 <= max_pairs:
        return _average_over_all_pairs(patterns, np.bincount(inverse.ravel(), weights=copies))
    return _average_over_random_pairs(packed, copies, max_pairs, rng)


def _count_copies(n_samples: int, weights: DoubleArray | None) -> IntArray:
    """Return the weights as numbers of copies, at least two of them together."""
    if weights is None:
        weights = np.ones(n_samples)
    # Up to 2**53, float64 holds whole numbers exactly.
    if (weights != np.rint(weights)).any() or weights.sum() > 2**53:
        raise ValueError(
            "sample_weight must hold whole numbers, of at most 2**53 together: pairs of different "
            "samples are compared, so a weight is a number of copies."
        )
    if weights.sum() < 2:
        raise ValueError("Found codes of 1 sample while a minimum of 2 is required: give a pair.")
    return weights.astype(np.int_)


def _pack_patterns(codes: Any) -> NDArray[np.uint8]:
    """Return the supports at one bit per entry, shape (n_samples, ceil(n_components / 8))."""
    n_samples, n_components = codes.shape
    packed = np.empty((n_samples, -(-n_components // 8)), dtype=np.uint8)
    for rows in _iterate_blocks(n_samples, n_components):
        active = codes[rows] != 0
        packed[rows] = np.packbits(
            active if isinstance(active, np.ndarray) else active.toarray(), axis=1
        )
    return packed


def _average_over_all_pairs(patterns: NDArray[np.uint8], counts: DoubleArray) -> float:
    """Return the mean distance over pairs of samples, `counts` of them with each pattern."""
    n_samples = int(counts.sum())
    # float32 holds integers up to 2**24 exactly, more than a support can have.
    active = np.unpackbits(patterns, axis=1).astype(np.float32)
    sizes = active.sum(axis=1)
    total = 0.0
    for rows in _iterate_blocks(len(patterns), 4 * len(patterns)):
        shared = active[rows] @ active.T
        distances = _jaccard_distance(shared, sizes[rows, np.newaxis], sizes)
        total += float(counts[rows] @ distances @ counts)
    # A pattern is at distance 0 from itself, so pairs of equal samples add nothing.
    return total / (n_samples * (n_samples - 1))


def _average_over_random_pairs(
    packed: NDArray[np.uint8], copies: IntArray, n_pairs: int, rng: np.random.RandomState
) -> float:
    """Return the mean distance over `n_pairs` uniformly random pairs of different copies."""
    n_samples, n_bytes = packed.shape
    ends = np.cumsum(copies)
    n_copies = ends[-1]
    sizes = _count_ones(packed)
    total = 0.0
    for rows in _iterate_blocks(n_pairs, n_bytes):
        n_drawn = rows.stop - rows.start
        first = rng.randint(n_copies, size=n_drawn)
        # A nonzero step around the circle of copies reaches every other copy alike.
        second = (first + rng.randint(1, n_copies, size=n_drawn)) % n_copies
        if n_copies > n_samples:
            first, second = (np.searchsorted(ends, copy, side="right") for copy in (first, second))
        shared = _count_ones(packed[first] & packed[second])
        total += float(_jaccard_distance(shared, sizes[first], sizes[second]).sum())
    return total / n_pairs


def _count_ones(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of ones in each row of bytes."""
    return np.bitwise_count(packed).sum(axis=1, dtype=np.int64)


def _jaccard_distance(
    n_shared: NDArray[Any], n_first: NDArray[Any], n_second: NDArray[Any]
) -> NDArray[Any]:
    """Return the distance between supports from their sizes and that of their overlap."""
    n_union = n_first + n_second - n_shared
    # Two empty supports are equal: 0 differences out of at least one.
    return (n_union - n_shared) / np.maximum(n_union, 1).astype(np.float64)


def _iterate_blocks(n_rows: int, bytes_per_row: int) -> Iterator[slice]:
    """Return slices that cover `n_rows` rows in blocks of bounded memory."""
    blocks: Iterator[slice] = gen_batches(n_rows, max(1, _BLOCK_BYTES // bytes_per_row))
    return blocks
