"""Blocks of rows, and columns that repeat a value in many rows."""

from collections.abc import Sequence

import numpy as np

from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray
from skvaeense.utils._warnings import warn_user

# Number of entries of an array for one block of rows: few enough to stay in the caches between
# operations and to bound the memory; enough that loops over blocks cost nothing.
BLOCK_ENTRIES = 2**20
# Number of blocks of samples that are in memory at once.
N_BLOCKS = 8
# Number of rows that suffice for averages and medians, for sizes and choices, and for a whole
# density.
SOME_ROWS, SEARCH_ROWS, MANY_ROWS = 1000, 4096, 8192
# Largest number of entries of samples, or of their codes, that are explained at once.
MAX_ENTRIES = 4 * BLOCK_ENTRIES
# Samples with at most this number of bytes are read into memory at once, as an array. Of larger
# samples, at most this number of bytes, or one batch, is kept in memory.
IN_MEMORY = 2**28
# Fewer rows than this are not split: all are both training and held-out rows. Nor is a group of
# fewer rows checked for a collapse.
MIN_ROWS_TO_SPLIT = 20
# A column is discrete if one value fills this share of the rows.
DISCRETE_SHARE = 0.1


def block_rows(*widths: int) -> int:
    """Return the number of rows in a block, given the entries of arrays for each row."""
    return max(BLOCK_ENTRIES // max(1, *widths), 1)


def row_blocks(n_rows: int, *widths: int) -> list[slice]:
    """Return slices that divide rows into blocks."""
    step = block_rows(*widths)
    return list(map(slice, range(0, n_rows, step), range(step, n_rows + step, step)))


def find_discrete(X: FloatArray) -> BoolArray:
    """Return the mask of the columns in which one value fills `DISCRETE_SHARE` of the rows."""
    known = [column[~np.isnan(column)] for column in X.T]
    counts = np.array([np.unique(c, return_counts=True)[1].max(initial=0) for c in known])
    return counts >= max(2, DISCRETE_SHARE * len(X))


def find_steps(
    X: FloatArray, weights: FloatArray | None = None, *, same: float = 1e-11
) -> DoubleArray:
    """Return the step between the values of each column, such as 1 for counts.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples; NaN marks missing values.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts; None means once.

    same : float, default=1e-11
        Values are the same if they differ by less, as a share of the largest.

    Returns
    -------
    ndarray of shape (n_features,)
        The largest step of which all differences are multiples; 0 for columns without a step, and
        for columns in which no value fills `DISCRETE_SHARE` of the rows.
    """
    weights = np.ones(len(X)) if weights is None else weights
    return np.apply_along_axis(_step, 0, X, weights, same)


def _step(
    column: FloatArray, weights: FloatArray, same: float, *, tolerance: float = 1e-3
) -> float:
    """Return the step of a column, up to a part of the step."""
    known = ~np.isnan(column)
    values, counts = column[known], weights[known]
    if not len(values) or counts.min() == counts.max():
        # To sort takes far less time than to find an order.
        values = np.sort(values)
    else:
        order = np.argsort(values)
        values, counts = values[order], counts[order]
    gaps = np.diff(values)
    is_new = gaps > same * np.abs(values).max(initial=0.0)
    if not is_new.any():
        return 0.0
    starts = np.r_[0, 1 + np.flatnonzero(is_new)]
    if np.add.reduceat(counts, starts).max() < max(2, DISCRETE_SHARE * counts.sum()):
        return 0.0
    step = float(gaps[is_new].min())
    places = (values[starts] - values[0]) / step
    return step if np.abs(places - np.round(places)).max() < tolerance else 0.0


def warn_of_discrete(names: Sequence[str], bound: str, cure: str) -> None:
    """Warn that scores depend on how sharply a density fits the values of these columns."""
    if not names:
        return
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    warn_user(
        f"One value fills {DISCRETE_SHARE:.0%} of the rows or more in these columns: {shown}. "
        f"Their log-density is {bound}, so a density with spikes at such values scores highly, "
        f"however poor it is otherwise. Drop these columns, or {cure}."
    )
