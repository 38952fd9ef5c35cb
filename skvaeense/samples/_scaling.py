"""Centring, and scaling by one number."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np
import torch

from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import Source
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray
from skvaeense.utils._validation import checked_scale

# Maps rows, and the position of the first one, to the mask of those that count.
Counts: TypeAlias = Callable[[FloatArray, int], BoolArray]


def mean_and_rms(
    X: Any, weights: DoubleArray | None, columns: Any, counts: Counts | None = None
) -> tuple[DoubleArray, float]:
    """Return the mean of some columns, and their root mean square about it, in one pass.

    X is an array or a source. The root mean square is taken over all entries, and is 0 if all
    columns are constant up to rounding. Rows can have weights, and `counts` can leave some out.
    Means and sums of squares of blocks of rows are merged, which loses no digits: Chan, Golub and
    LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    # Squares and sums of huge or tiny values are finite in units of their size.
    start, n_rows, squares, unit = 0, 0, 0.0, 0.0
    mean = np.zeros(X.shape[1])[columns]
    blocks = X.blocks() if isinstance(X, Source) else _chunks(as_array(X))
    for _, rows in blocks:
        own: Any = None if weights is None else weights[start : start + len(rows)]
        if counts is not None:
            own = counts(rows, start) * (1.0 if own is None else own)
        start += len(rows)
        if own is not None and not own.any():
            continue
        block = rows[:, columns]
        if unit == 0:
            unit = float(max(abs(block.min()), abs(block.max())))
        values = block.astype(np.float64) / (unit or 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            n_own = len(values) if own is None else own.sum()
            n_before, n_rows = n_rows, n_rows + n_own
            own_mean = np.average(values, axis=0, weights=own)
            shift = own_mean - mean
            mean = mean + shift * (n_own / n_rows)
            left = np.square(values - own_mean)
            squares += float(left.sum() if own is None else own @ left.sum(axis=1))
            squares += float(shift @ shift) * n_before * n_own / n_rows
    rms = float(np.sqrt(squares / (n_rows * mean.size)))
    rounding = 16 * np.finfo(np.float64).eps * np.abs(mean).max()
    return mean * unit, 0.0 if rms <= rounding else rms * unit


@dataclass(frozen=True)
class Scaling:
    """The map between the user's units and the units of training.

    One factor for all features keeps their relative sizes, and makes training independent of the
    units of the data.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the samples.

    scale : float
        Root mean square of the centred samples.

    target : Scaling or None
        Scaling of the target, whose columns follow the columns of the samples.
    """

    mean: np.ndarray
    scale: float
    target: Self | None = None

    @classmethod
    def from_data(
        cls,
        X: Any,
        weights: DoubleArray | None = None,
        n_targets: int = 0,
        counts: Counts | None = None,
    ) -> Self:
        """Return the scaling that centres X and makes the mean variance of its features 1.

        X without any variance is only centred. The last `n_targets` columns are a target, which is
        scaled separately.
        """
        n_features = X.shape[1] - n_targets
        target = cls._of(X, weights, slice(n_features, None), counts) if n_targets else None
        return replace(cls._of(X, weights, slice(n_features), counts), target=target)

    @classmethod
    def _of(
        cls, X: Any, weights: DoubleArray | None, columns: slice, counts: Counts | None
    ) -> Self:
        mean, rms = mean_and_rms(X, weights, columns, counts)
        return cls(mean, checked_scale(rms) if rms else 1.0)

    @property
    def n_targets(self) -> int:
        """The number of columns of the target."""
        return 0 if self.target is None else len(self.target.mean)

    @property
    def decoded(self) -> "Scaling":
        """The scaling of decoded values: the scaling of the target, if there is one."""
        return self if self.target is None else self.target

    def _centre_and_factor(self) -> tuple[Any, Any]:
        """Return the centre and the factor of rows."""
        if self.target is None:
            return self.mean, 1 / self.scale
        factors = [np.full(len(s.mean), 1 / s.scale) for s in (self, self.target)]
        return np.concatenate([self.mean, self.target.mean]), np.concatenate(factors)

    def apply(self, X: Any, *, dtype: torch.dtype, device: Any, order: Any = None) -> torch.Tensor:
        """Return X, or its rows in another order, as a centred and scaled tensor.

        The arithmetic is done in float64 and rounded once, so that X and 1000 X + 7 train alike.
        Numpy does it: torch would take threads from training, if samples are read meanwhile.
        """
        centre, factor = self._centre_and_factor()
        if isinstance(X, torch.Tensor):
            x = in_double(X)
            x = x - torch.as_tensor(centre, device=x.device)
            x = x * torch.as_tensor(factor, dtype=x.dtype, device=x.device)
            return x.to(dtype=dtype, device=device)
        scaled = torch.empty(X.shape, dtype=dtype)
        # Values beyond the precision become infinite, and the loss detects them.
        with np.errstate(over="ignore"):
            for rows, values in _chunks(X, order):
                values -= centre
                values *= factor
                scaled.numpy()[rows] = values
        return scaled.to(device)

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        """Return centred and scaled samples in the user's units, in double precision."""
        x = in_double(x * self.scale)
        return x + torch.as_tensor(self.mean, device=x.device)


def in_double(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor in double precision; on the CPU, if its device does not support it."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _chunks(X: Any, order: IntArray | None = None) -> Iterator[tuple[slice, FloatArray]]:
    """Yield slices, and the rows of X for each of them in double precision."""
    for rows in row_blocks(len(X), X.shape[1]):
        yield rows, X[rows if order is None else order[rows]].astype(np.float64)
