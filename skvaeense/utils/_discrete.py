"""Columns of repeated values, whose log-density has no bound."""

import warnings
from collections.abc import Sequence

import numpy as np

from skvaeense.utils._typing import BoolArray, FloatArray

# A column is discrete if one value fills this share of the rows.
DISCRETE_SHARE = 0.1


def find_discrete(X: FloatArray) -> BoolArray:
    """Return the mask of the columns in which one value fills `DISCRETE_SHARE` of the rows."""
    known = [column[~np.isnan(column)] for column in X.T]
    counts = np.array([np.unique(c, return_counts=True)[1].max(initial=0) for c in known])
    return counts >= max(2, DISCRETE_SHARE * len(X))


def warn_of_discrete(names: Sequence[str], bound: str, cure: str, stacklevel: int) -> None:
    """Warn that scores depend on how sharply a density fits the values of these columns."""
    if not names:
        return
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    warnings.warn(
        f"One value fills {DISCRETE_SHARE:.0%} of the rows or more in these columns: {shown}. "
        f"Their log-density is {bound}, so a density with spikes at such values scores highly, "
        f"however poor it is otherwise. Drop these columns, or {cure}.",
        stacklevel=stacklevel + 1,
    )
