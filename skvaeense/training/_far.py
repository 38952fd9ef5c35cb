"""Rows far from all others, which are left out of training because they would dominate it."""

from typing import Any

import numpy as np

from skvaeense.mixture._rows import MAX_FAR_SHARE, Reach
from skvaeense.samples._sources import Source
from skvaeense.utils._rows import MANY_ROWS, MAX_ENTRIES, row_blocks
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray


class Balls:
    """Balls that hold all rows but those far from all others: of samples, and of their target.

    Parameters
    ----------
    sample : ndarray of shape (n_sample, n_features)
        Some of the rows.

    parts : sequence of slice
        Columns of the samples, and of their target, each of which has its own ball.

    Attributes
    ----------
    far : set of int
        Positions of the far rows that were seen.
    """

    def __init__(self, sample: FloatArray, parts: list[slice]) -> None:
        self.far: set[int] = set()
        ones = np.ones(len(sample))
        self.balls = [
            (part, Reach.of(sample[:, part], ones, np.median(sample[:, part], axis=0)))
            for part in parts
        ]

    @classmethod
    def of(cls, X: Any, parts: list[slice]) -> "Balls":
        """Return the balls of an array or a source."""
        n_rows = min(MANY_ROWS, max(MAX_ENTRIES // X.shape[1], 1), X.shape[0])
        if isinstance(X, Source):
            return cls(X.take(X.draw(n_rows, np.random.RandomState(0))), parts)
        some = np.random.RandomState(0).permutation(len(X))[:n_rows]
        return cls(X[some], parts)

    def near(self, rows: FloatArray, start: int | None = None) -> BoolArray:
        """Return the mask of rows that are not far; note others if their start is given."""
        is_near = np.ones(len(rows), dtype=bool)
        for part, reach in self.balls:
            is_near &= reach.shares(rows[:, part]) > 0
        if start is not None:
            self.far.update((start + np.flatnonzero(~is_near)).tolist())
        return is_near

    def far_of(self, X: FloatArray, weights: DoubleArray | None = None) -> IntArray:
        """Return the positions of the far rows of an array; none, if these count for many."""
        for rows in row_blocks(*X.shape):
            self.near(X[rows], rows.start)
        far = np.array(sorted(self.far), dtype=int)
        share = len(far) / len(X) if weights is None else weights[far].sum() / weights.sum()
        return far if share <= MAX_FAR_SHARE else far[:0]
