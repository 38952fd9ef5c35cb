"""The samples of one fit: held-out samples, and batches of training samples."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch

from skvaeense.training._devices import DTYPES, resolve_device
from skvaeense.training._exploration import Exploration
from skvaeense.training._scaling import Scaling
from skvaeense.training._sizes import (
    MAX_BATCH,
    SPECTRUM_ROWS,
    HeldOut,
    Spectrum,
    resolve_batch_size,
)
from skvaeense.training._sources import IN_MEMORY, Source
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import N_BLOCKS, drawn, n_draws
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray


@dataclass(eq=False)
class TensorBatches:
    """Centred and scaled samples in memory, which training passes over, epoch by epoch.

    Attributes
    ----------
    X : torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples, on the device of training.

    processes : Processes, default=SINGLE_PROCESS
        The processes that train together.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0. Every epoch repeats a sample as often as its weight
        says, rounded up or down at random; None means once.

    shape : tuple of int
        (n_samples, n_features), with the number of samples in an epoch.

    head : torch.Tensor of shape (n_rows, n_features)
        A few thousand samples, or all if there are fewer, from which sizes are derived. Samples of
        more weight occur more often.
    """

    X: torch.Tensor
    processes: Processes = SINGLE_PROCESS
    weights: DoubleArray | None = None

    def __post_init__(self) -> None:
        n_rows = len(self.X) if self.weights is None else n_draws(self.weights)
        self.shape = n_rows, self.X.shape[1]
        self.head = self.first(SPECTRUM_ROWS)

    def __len__(self) -> int:
        return self.shape[0]

    def first(self, n_rows: int) -> torch.Tensor:
        """Return the first samples. Samples of more weight occur more often."""
        some = slice(n_rows)
        if self.weights is not None:
            return self.X[some][torch.from_numpy(drawn(self.weights[some]))]
        return self.X[some]

    def some(self, n_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first samples, each once, and their weights."""
        x = self.X[:n_rows]
        ones = x.new_ones(len(x))
        weights = None if self.weights is None else torch.from_numpy(self.weights[:n_rows])
        return x, ones if weights is None else weights.to(ones)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order; an incomplete last batch is dropped.

        If several processes train together, each gets its part of every batch. A batch is valid
        until the next one is drawn.
        """
        X, n_rows = self.X, self.processes.share(batch_size)
        batch = X.new_empty((n_rows, X.shape[1]))
        order = torch.randperm(len(self), generator=generator, device=X.device)
        if self.weights is not None:
            offset = torch.rand((), generator=generator, device=X.device)
            order = torch.from_numpy(drawn(self.weights, float(offset))).to(X.device)[order]
        for start in range(0, len(self) - batch_size + 1, batch_size):
            first = start + self.processes.rank * n_rows
            torch.index_select(X, 0, order[first : first + n_rows], out=batch)
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

    processes : Processes, default=SINGLE_PROCESS
        The processes that train together.
    """

    source: Source
    left_out: IntArray
    scaling: Scaling
    head: torch.Tensor
    processes: Processes = SINGLE_PROCESS
    weights: DoubleArray | None = None

    def __post_init__(self) -> None:
        self.shape = len(self.source) - len(self.left_out), self.source.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def first(self, n_rows: int) -> torch.Tensor:
        """Return the samples in memory, whatever their number."""
        return self.head

    def some(self, n_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the samples in memory, and weights of 1."""
        return self.head[:n_rows], self.head.new_ones(len(self.head[:n_rows]))

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order.

        Each of several processes reads its own blocks. If these end before the epoch does, the
        process repeats samples of its last blocks.
        """
        device = self.head.device
        seed = int(torch.randint(2**31 - 1, (), generator=generator, device=device))
        pools = self._mixed(seed)
        n_rows, n_batches = self.processes.share(batch_size), len(self) // batch_size
        remainder = last = self.head[:0]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(next, pools, None)
            while n_batches:
                pool = coming.result()
                if pool is None and len(last) >= n_rows:
                    pool = last
                elif pool is None:
                    pool = self.head.repeat(-(-n_rows // len(self.head)), 1)
                else:
                    coming = reader.submit(next, pools, None)
                    last = pool = torch.cat([remainder, pool.to(device)])
                n_full = min(len(pool) // n_rows, n_batches)
                yield from pool[: n_full * n_rows].split(n_rows) if n_full else ()
                n_batches -= n_full
                remainder = pool[n_full * n_rows :].clone()

    def _counts(self, seed: int) -> IntArray | None:
        """Return how often each row occurs in an epoch, or None if there are no weights."""
        if self.weights is None:
            return None
        ends = self.weights.copy()
        ends[self.left_out] = 0
        np.cumsum(ends, out=ends)
        ends *= len(self) / (ends[-1] or 1.0)
        ends += np.random.RandomState(seed).uniform()
        return np.diff(np.floor(ends).astype(int), prepend=0)

    def _mixed(self, seed: int) -> Iterator[torch.Tensor]:
        """Yield the rows of a few blocks at a time, mixed and scaled."""
        random_state = np.random.RandomState(seed)
        blocks = self._scaled(random_state, self._counts(seed))
        while pool := list(islice(blocks, N_BLOCKS)):
            # In numpy, like scaling: torch would take threads from training, which runs meanwhile.
            rows = np.concatenate(pool)
            yield torch.from_numpy(rows[random_state.permutation(len(rows))])

    def _scaled(
        self, random_state: np.random.RandomState, counts: IntArray | None
    ) -> Iterator[FloatArray]:
        """Yield the training rows of each block, scaled, as often as they count."""
        for start, rows in self.source.blocks(random_state, self.processes):
            first, last = np.searchsorted(self.left_out, [start, start + len(rows)])
            if counts is not None:
                rows = np.repeat(rows, counts[start : start + len(rows)], axis=0)
            elif first < last:
                rows = np.delete(rows, self.left_out[first:last] - start, axis=0)
            yield self.scaling.apply(rows, dtype=self.head.dtype, device="cpu").numpy()


# Samples that training passes over.
Batches: TypeAlias = TensorBatches | SourceBatches


class Part(NamedTuple):
    """Centred and scaled samples, each once, with their locations and weights if these differ."""

    x: torch.Tensor
    labels: IntArray | None
    weights: DoubleArray | None

    def at(self, rows: Any) -> Self:
        """Return the samples at some positions."""
        labels, weights = (own if own is None else own[rows] for own in (self.labels, self.weights))
        return type(self)(self.x[rows], labels, weights)

    def drawn(self) -> tuple[torch.Tensor, IntArray | None]:
        """Return samples, repeated as often as their weights say, and their locations."""
        return (self if self.weights is None else self.at(drawn(self.weights)))[:2]


@dataclass
class FitData:
    """The samples of one fit.

    Attributes
    ----------
    train : Batches
        Most of the samples, centred and scaled.

    scaling : Scaling
        The map between the user's units and the units of training.

    batch_size : int
        Samples in each step.

    parts : sequence of Part
        A few thousand samples: held-out samples first, then training samples.

    processes : Processes
        The processes that train together.

    is_batch : bool
        Whether these are the samples of one batch, which are all in `train` and in `valid`.

    explored : Exploration or None
        The exploration of the samples in the units of training, if there was one.

    valid : torch.Tensor of shape (n_valid, n_features)
        Samples that compare inits and epochs. Samples of more weight occur more often.

    valid_labels : ndarray of int of shape (n_valid,) or None
        Index of the location of each sample in `valid`; None if all have the same one.
    """

    train: Batches
    scaling: Scaling
    batch_size: int
    parts: Sequence[Part]
    processes: Processes = SINGLE_PROCESS
    is_batch: bool = False
    explored: Exploration | None = None

    def __post_init__(self) -> None:
        self.valid, self.valid_labels = self.parts[0].drawn()

    @classmethod
    def of_batch(
        cls, estimator: Any, X: np.ndarray, scaling: Scaling, weights: DoubleArray | None
    ) -> Self:
        """Scale the samples of a batch, which are both training and validation samples."""
        part = _scaled(estimator, X, scaling, weights, np.arange(len(X)))
        train = TensorBatches(part.x, weights=weights)
        size = resolve_batch_size(estimator.batch_size, len(train))
        return cls(train, scaling, size, [part], is_batch=True)

    def some(self) -> tuple[FloatArray, IntArray, DoubleArray | None]:
        """Return a few thousand samples, held-out samples first.

        Returns
        -------
        x : ndarray of shape (n_rows, n_features)
            Centred and scaled samples.

        labels : ndarray of int of shape (n_rows,)
            Index of the location of each sample; 0 if all have the same one.

        weights : ndarray of shape (n_rows,) or None
            How often each sample counts, if there are weights.
        """
        x = np.concatenate([part.x.cpu().numpy() for part in self.parts])
        labels = [np.zeros(len(x), int) if own is None else own for x, own, _ in self.parts]
        weights = [np.ones(len(x)) if own is None else own for x, _, own in self.parts]
        has_weights = any(part.weights is not None for part in self.parts)
        return x, np.concatenate(labels), np.concatenate(weights) if has_weights else None

    def shown(self, least: int) -> tuple[torch.Tensor, IntArray | None]:
        """Return held-out samples, and training samples if those are few, and their locations."""
        if len(self.valid) >= least or len(self.parts) == 1:
            return self.valid, self.valid_labels
        drawn = [part.drawn() for part in self.parts]
        labels = [own for _, own in drawn if own is not None]
        return torch.cat([x for x, _ in drawn]), np.concatenate(labels) if labels else None

    @property
    def n_features(self) -> int:
        """The number of features of a sample, without the columns of a target."""
        return self.train.shape[1] - self.scaling.n_targets

    @cached_property
    def spectrum(self) -> Spectrum:
        """The spectrum of the training samples, without their target."""
        return Spectrum.of(self.train.head[:, : self.n_features])


def prepare_data(
    estimator: Any,
    X: np.ndarray | Source,
    scaling: Scaling,
    weights: DoubleArray | None,
    explored: Exploration | None,
    random_state: np.random.RandomState,
    processes: Processes = SINGLE_PROCESS,
) -> FitData:
    """Scale samples, and hold some out.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted, with its batch size, precision, device and number of held-out
        rows.

    X : ndarray or Source of shape (n_samples, n_features)
        Samples in the user's units.

    scaling : Scaling
        Centre and scale.

    weights : ndarray of shape (n_samples,) or None
        How often each sample counts; above 0 if samples are in memory.

    explored : Exploration or None
        The exploration of the samples, in the user's units.

    random_state : RandomState
        The source of randomness that draws the rows.

    processes : Processes, default=SINGLE_PROCESS
        The processes that train together.

    Returns
    -------
    FitData
        The samples of a fit.
    """
    held_out: HeldOut = estimator._held_out
    train: Batches
    if isinstance(X, Source):
        n_out = max(held_out.of(len(X)), 1)
        # At least a batch, which is in memory anyway.
        n_bytes = X.shape[1] * np.finfo(np.float64).bits // 8
        n_head = min(SPECTRUM_ROWS, max(MAX_BATCH, IN_MEMORY // n_bytes))
        positions = X.draw(n_out + min(n_head, len(X) - n_out), random_state)
        out = random_state.permutation(len(positions))[:n_out]
        own = None if weights is None else weights[positions]
        rows = _scaled(estimator, X.take(positions), scaling, own, np.arange(len(positions)))
        left_out = np.zeros(len(positions), dtype=bool)
        left_out[out] = True
        parts = [_chosen(rows, some) for some in (left_out, ~left_out)]
        head, _ = parts[1].drawn()
        train = SourceBatches(X, positions[left_out], scaling, head, processes, weights)
    else:
        n_out = held_out.of(len(X))
        # If there are very few rows, all are both training and held-out rows.
        order = random_state.permutation(len(X)) if n_out else np.arange(len(X))
        rows = _scaled(estimator, X, scaling, weights, order)
        parts = [rows.at(slice(n_out or None)), rows.at(slice(n_out, None))]
        train = TensorBatches(parts[1].x, processes, parts[1].weights)
        parts[1] = parts[1].at(slice(SPECTRUM_ROWS))
    size = resolve_batch_size(estimator.batch_size, len(train))
    if explored is not None:
        explored = explored.within(scaling.mean, scaling.scale)
    return FitData(train, scaling, size, parts, processes, explored=explored)


def _scaled(
    estimator: Any, X: np.ndarray, scaling: Scaling, weights: DoubleArray | None, order: IntArray
) -> Part:
    """Return samples in an order, centred and scaled, in the precision of an estimator."""
    dtype, device = DTYPES[estimator.dtype], resolve_device(estimator.device)
    labels: Any = scaling.locate(X)
    # Samples are put in order while they are scaled, which saves a copy.
    x = scaling.apply(X, dtype=dtype, device=device, order=order, labels=labels)
    labels, weights = (own if own is None else own[order] for own in (labels, weights))
    return Part(x, labels, weights)


def _chosen(part: Part, is_chosen: BoolArray) -> Part:
    """Return the chosen samples that have any weight; all the chosen samples, if none has."""
    counts = is_chosen if part.weights is None else is_chosen & (part.weights > 0)
    return part.at(counts) if counts.any() else part._replace(weights=None).at(is_chosen)
