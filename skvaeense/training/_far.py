"""Rows far from all others, which are left out of training because they would dominate it."""

import reprlib
import warnings
from typing import Any

import numpy as np

from skvaeense.explanations._rows import find_far_rows
from skvaeense.mixture._units import MAX_FAR_SHARE
from skvaeense.samples._sources import Source
from skvaeense.utils._rows import MANY_ROWS, MAX_ENTRIES, row_blocks
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray


class Reach:
    """Balls that hold all rows but those far from all others.

    A few thousand rows decide where a ball ends: halfway, as a factor, between their near and their
    far rows. Other rows are also far if one of them outweighs all of these few thousand rows.

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
        self.balls = [(part, *_ball(sample[:, part])) for part in parts]

    @classmethod
    def of(cls, X: Any, parts: list[slice]) -> "Reach":
        """Return the balls of an array or a source."""
        n_rows = min(MANY_ROWS, max(MAX_ENTRIES // X.shape[1], 1), X.shape[0])
        if isinstance(X, Source):
            return cls(X.take(X.draw(n_rows, np.random.RandomState(0))), parts)
        some = np.random.RandomState(0).permutation(len(X))[:n_rows]
        return cls(X[some], parts)

    def near(self, rows: FloatArray, start: int | None = None) -> BoolArray:
        """Return the mask of rows that are not far; note others if their start is given."""
        is_near = np.ones(len(rows), dtype=bool)
        for part, centre, limit in self.balls:
            is_near &= _squares(rows[:, part], centre) <= limit
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


def _ball(X: FloatArray) -> tuple[FloatArray, float]:
    """Return the centre and the squared radius of the ball of a sample."""
    far = find_far_rows(X, may_be_alike=True)
    is_near = ~np.isin(np.arange(len(X)), far)
    centre = X[is_near].mean(axis=0, dtype=np.float64)
    squares = _squares(X, centre)
    most = squares[is_near].max()
    limit = max(squares[is_near].sum(), most)
    if len(far):
        limit = min(limit, max(np.sqrt(most) * np.sqrt(squares[far].min()), most))
    # Rows at the very edge stay within it in any precision.
    return centre, float(limit) * (1 + 1e-6)


def _squares(X: FloatArray, centre: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.square(X.astype(np.float64) - centre).sum(axis=1)


def warn_of_far(far: Any, n_rows: int, where: str, stacklevel: int) -> None:
    """Warn of rows that are left out, by name."""
    warnings.warn(
        f"{len(far)} of {n_rows} samples are far from all others and were left out of training, "
        f"which they would dominate: rows {reprlib.repr([*far]).strip('[]')}{where}. "
        "score_samples gives such samples low scores.",
        stacklevel=stacklevel + 1,
    )
