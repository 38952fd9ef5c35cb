"""Centring, scaling by one number, and batches of scaled samples that training passes over."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, Self, TypeAlias

import numpy as np
import torch

from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import Source
from skvaeense.samples._weights import drawn, n_draws
from skvaeense.utils._rows import N_BLOCKS, SEARCH_ROWS, row_blocks
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray
from skvaeense.utils._validation import checked_scale

# Maps rows, and the position of the first one, to the mask of those that count.
Counts: TypeAlias = Callable[[FloatArray, int], BoolArray]


def mean_and_rms(
    X: Any,
    weights: DoubleArray | None,
    columns: Any,
    counts: Counts | None = None,
    starts: Sequence[int] | IntArray = (0,),
) -> tuple[DoubleArray, DoubleArray]:
    """Return the mean of some columns, and their root mean squares about it, in one pass.

    X is an array or a source. A root mean square is taken over all entries of the columns from one
    of the `starts` to the next, and is 0 if these columns are constant up to rounding. Rows can
    have weights, and `counts` can leave some out. Means and sums of squares of blocks of rows are
    merged, which loses no digits: Chan, Golub and LeVeque, "Algorithms for computing the sample
    variance", 1983.
    """
    # Squares and sums of huge or tiny values are finite in units of their size.
    start, n_rows, unit = 0, 0, 0.0
    mean = np.zeros(X.shape[1])[columns]
    squares = np.zeros_like(mean)
    for _, rows in X.blocks() if isinstance(X, Source) else _chunks(as_array(X)):
        own: Any = None if weights is None else weights[start : start + len(rows)]
        if counts is not None:
            own = counts(rows, start) * (1.0 if own is None else own)
        start += len(rows)
        if own is not None and not own.any():
            continue
        block = rows[:, columns]
        unit = unit or float(max(abs(block.min()), abs(block.max())))
        values = block.astype(np.float64) / (unit or 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            n_own = len(values) if own is None else own.sum()
            n_before, n_rows = n_rows, n_rows + n_own
            own_mean = np.average(values, axis=0, weights=own)
            shift = own_mean - mean
            mean = mean + shift * (n_own / n_rows)
            left = np.square(values - own_mean)
            squares += left.sum(axis=0) if own is None else own @ left
            squares += np.square(shift) * n_before * n_own / n_rows
    widths = np.diff(starts, append=mean.size)
    rms = np.sqrt(np.add.reduceat(squares, starts) / (n_rows * widths))
    rounding = 16 * np.finfo(np.float64).eps * np.maximum.reduceat(np.abs(mean), starts)
    return mean * unit, np.where(rms <= rounding, 0.0, rms * unit)


@dataclass(frozen=True)
class Scaling:
    """The map between the user's units and the units of training.

    One factor for all features keeps their relative sizes, and makes training independent of the
    units of the data. Features of several modules of a network have one factor for each module, so
    that no module drowns another.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the samples.

    scale : float or ndarray of shape (n_features,)
        Root mean square of the centred samples; of each feature's module, if there are several.

    target : Scaling or None
        Scaling of the target, whose columns follow the columns of the samples.
    """

    mean: np.ndarray
    scale: Any
    target: "Scaling | None" = None

    @classmethod
    def from_data(
        cls,
        X: Any,
        weights: DoubleArray | None = None,
        n_targets: int = 0,
        counts: Counts | None = None,
        widths: Sequence[int] | None = None,
    ) -> "Scaling":
        """Return the scaling that centres X and makes the mean variance of its features 1.

        X without any variance is only centred. The last `n_targets` columns are a target, which is
        scaled separately. With `widths`, the numbers of columns of modules, each module is.
        """
        n_features = X.shape[1] - n_targets
        starts = np.cumsum([0, *(widths or [X.shape[1]])[:-1]])

        def of(columns: slice) -> Scaling:
            first, end, _ = columns.indices(X.shape[1])
            own = np.union1d(0, starts[(starts > first) & (starts < end)] - first)
            mean, rms = mean_and_rms(X, weights, columns, counts, own)
            scales = list(map(checked_scale, np.where(rms == 0, 1.0, rms).tolist()))
            if len(scales) == 1:
                return cls(mean, scales[0])
            return cls(mean, np.repeat(scales, np.diff(own, append=end - first)))

        target = of(slice(n_features, None)) if n_targets else None
        return replace(of(slice(n_features)), target=target)

    @property
    def starts(self) -> IntArray:
        """The first columns of parts that have one scale each."""
        return np.flatnonzero(np.diff(np.broadcast_to(self.scale, self.mean.shape), prepend=0))

    def spread(self, X: Any, weights: DoubleArray | None, columns: slice) -> float:
        """Return the root mean square of columns of X about their mean, in units of the scale."""
        _, rms = mean_and_rms(X, weights, columns, starts=self.starts)
        sizes = rms / np.broadcast_to(self.scale, self.mean.shape)[self.starts]
        widths, largest = np.diff(self.starts, append=len(self.mean)), sizes.max()
        # Squares of undivided sizes could overflow.
        shares = sizes / (largest or 1.0)
        return float(largest * np.sqrt(np.average(np.square(shares), weights=widths)))

    @property
    def n_targets(self) -> int:
        """The number of columns of the target."""
        return 0 if self.target is None else len(self.target.mean)

    @property
    def decoded(self) -> "Scaling":
        """The scaling of decoded values: the scaling of the target, if there is one."""
        return self if self.target is None else self.target

    def apply(self, X: Any, *, dtype: torch.dtype, device: Any, order: Any = None) -> torch.Tensor:
        """Return X, or its rows in another order, as a centred and scaled tensor.

        The arithmetic is done in float64 and rounded once, so that X and 1000 X + 7 train alike.
        Numpy does it: torch would take threads from training, if samples are read meanwhile.
        """
        scalings: list[Scaling] = [self] if self.target is None else [self, self.target]
        centre = np.concatenate([s.mean for s in scalings])
        factor = np.concatenate([np.full(len(s.mean), 1 / s.scale) for s in scalings])
        if isinstance(X, torch.Tensor):
            x = in_double(X)
            c, f = (torch.as_tensor(values, device=x.device) for values in (centre, factor))
            return ((x - c) * f).to(dtype=dtype, device=device)
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
        x = in_double(x * torch.as_tensor(self.scale, dtype=torch.float64).to(x))
        return x + torch.as_tensor(self.mean, device=x.device)


def in_double(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor in double precision; on the CPU, if its device does not support it."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _chunks(X: Any, order: IntArray | None = None) -> Iterator[tuple[slice, FloatArray]]:
    """Yield slices, and the rows of X for each of them in double precision."""
    for rows in row_blocks(len(X), X.shape[1]):
        yield rows, X[rows if order is None else order[rows]].astype(np.float64)


@dataclass(eq=False)
class TensorBatches:
    """Centred and scaled samples in memory, which training passes over, epoch by epoch.

    Attributes
    ----------
    X : torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples, on the device of training.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0. Every epoch repeats a sample as often as its weight
        says, rounded up or down at random; None means once.
    """

    X: torch.Tensor
    weights: DoubleArray | None = None

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features), with the number of samples in an epoch."""
        return len(self.X) if self.weights is None else n_draws(self.weights), self.X.shape[1]

    @cached_property
    def head(self) -> torch.Tensor:
        """Up to a few thousand samples, from which sizes are derived."""
        return self.at(slice(SEARCH_ROWS)).drawn()

    def __len__(self) -> int:
        return self.shape[0]

    def at(self, rows: Any) -> Self:
        """Return the samples at some positions."""
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, X=self.X[rows], weights=weights)

    def drawn(self) -> torch.Tensor:
        """Return samples, repeated as often as their weights say."""
        return self.X if self.weights is None else self.X[drawn(self.weights)]

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order; an incomplete last batch is dropped.

        A batch is valid until the next one is drawn.
        """
        X = self.X
        batch = X.new_empty((batch_size, X.shape[1]))
        order = torch.randperm(len(self), generator=generator, device=X.device)
        if self.weights is not None:
            offset = torch.rand((), generator=generator, device=X.device)
            order = torch.from_numpy(drawn(self.weights, offset=float(offset))).to(X.device)[order]
        for start in range(0, len(self) - batch_size + 1, batch_size):
            torch.index_select(X, 0, order[start : start + batch_size], out=batch)
            yield batch


@dataclass(eq=False)
class SourceBatches:
    """Samples that are read during training.

    Blocks of rows are read in random order, a few at a time, and mixed. So a batch has rows from
    several blocks, and memory holds only a few blocks. Training and reading run in parallel.

    Attributes
    ----------
    source : Source
        The samples, in the user's units.

    left_out : ndarray of int
        Sorted positions of the held-out rows.

    weights : ndarray of shape (n_samples,) or None
        How often each row of the source counts; None means once. Held-out rows do not count.

    scaling : Scaling
        Centre and scale.

    head : torch.Tensor of shape (n_rows, n_features)
        Some centred and scaled samples.

    counts : callable or None, default=None
        Maps rows, and the position of the first one, to the mask of rows that are not left out.

    n_left_out : int, default=0
        Number of rows that `counts` leaves out.
    """

    source: Source
    left_out: IntArray
    scaling: Scaling
    head: torch.Tensor
    weights: DoubleArray | None = None
    counts: Counts | None = None
    n_left_out: int = 0

    def __post_init__(self) -> None:
        n_rows = len(self.source) - len(self.left_out) - self.n_left_out
        self.shape = n_rows, self.source.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order."""
        device = self.head.device
        seed = int(torch.randint(2**31 - 1, (), generator=generator, device=device))
        pools, n_batches = self._mixed(seed), len(self) // batch_size
        remainder = last = self.head[:0]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(next, pools, None)
            while n_batches:
                pool = coming.result()
                if pool is not None:
                    coming = reader.submit(next, pools, None)
                    pool = last = torch.cat([remainder, pool.to(device)])
                elif len(last) >= batch_size:
                    pool = last
                else:
                    pool = self.head.repeat(-(-batch_size // len(self.head)), 1)
                n_full = min(len(pool) // batch_size, n_batches)
                yield from pool[: n_full * batch_size].split(batch_size) if n_full else ()
                n_batches -= n_full
                remainder = pool[n_full * batch_size :].clone()

    def _repeats(self, seed: int) -> Any:
        """Return how often each row occurs in an epoch, without regard to `counts`."""
        if self.weights is None:
            repeats = np.ones(len(self.source), dtype=np.int8)
            repeats[self.left_out] = 0
            return repeats
        ends = self.weights.copy()
        ends[self.left_out] = 0
        np.cumsum(ends, out=ends)
        ends *= len(self) / (ends[-1] or 1.0)
        ends += np.random.RandomState(seed).uniform()
        return np.diff(np.floor(ends).astype(int), prepend=0)

    def _mixed(self, seed: int) -> Iterator[torch.Tensor]:
        """Yield the rows of a few blocks at a time, mixed and scaled."""
        random_state = np.random.RandomState(seed)
        blocks = self._scaled(random_state, self._repeats(seed))
        while pool := list(islice(blocks, N_BLOCKS)):
            # In numpy, like scaling: torch would take threads from training, which runs meanwhile.
            rows = np.concatenate(pool)
            yield torch.from_numpy(rows[random_state.permutation(len(rows))])

    def _scaled(self, random_state: np.random.RandomState, repeats: Any) -> Iterator[FloatArray]:
        """Yield the training rows of each block, scaled, as often as they count."""
        for start, rows in self.source.blocks(random_state):
            own = repeats[start : start + len(rows)]
            if self.counts is not None:
                own = own * self.counts(rows, start)
            if (own != 1).any():
                rows = np.repeat(rows, own, axis=0)
            yield self.scaling.apply(rows, dtype=self.head.dtype, device="cpu").numpy()


# Samples that training passes over.
Batches: TypeAlias = TensorBatches | SourceBatches
