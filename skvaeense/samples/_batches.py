"""Batches of samples that training passes over: from memory, or read meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch

from skvaeense.samples._scaling import Counts, Scaling
from skvaeense.samples._sources import Source
from skvaeense.samples._weights import drawn, n_draws
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import N_BLOCKS
from skvaeense.utils._typing import DoubleArray, FloatArray, IntArray

# Maximum number of rows that sizes, such as the number of components, are derived from.
SPECTRUM_ROWS = 4096


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
        n_rows, self.head = len(self.X), self.X[:SPECTRUM_ROWS]
        if self.weights is not None:
            n_rows = n_draws(self.weights)
            self.head = self.head[torch.from_numpy(drawn(self.weights[:SPECTRUM_ROWS]))]
        self.shape = n_rows, self.X.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

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

    counts : callable or None, default=None
        Maps rows, and the position of the first one, to the mask of rows that are not left out.

    n_left_out : int, default=0
        Number of rows that `counts` leaves out.
    """

    source: Source
    left_out: IntArray
    scaling: Scaling
    head: torch.Tensor
    processes: Processes = SINGLE_PROCESS
    weights: DoubleArray | None = None
    counts: Counts | None = None
    n_left_out: int = 0

    def __post_init__(self) -> None:
        n_rows = len(self.source) - len(self.left_out) - self.n_left_out
        self.shape = n_rows, self.source.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

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
            own = np.ones(len(rows), dtype=int)
            if counts is not None:
                own = counts[start : start + len(rows)]
            if self.counts is not None:
                own = own * self.counts(rows, start)
            first, last = np.searchsorted(self.left_out, [start, start + len(rows)])
            own[self.left_out[first:last] - start] = 0
            if (own != 1).any():
                rows = np.repeat(rows, own, axis=0)
            yield self.scaling.apply(rows, dtype=self.head.dtype, device="cpu").numpy()


# Samples that training passes over.
Batches: TypeAlias = TensorBatches | SourceBatches
