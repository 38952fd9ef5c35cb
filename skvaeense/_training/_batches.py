"""Batches: how samples come to training, from memory or from elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from skvaeense._training._defaults import HELD_OUT, SPECTRUM_ROWS, HeldOut, split_rows
from skvaeense._training._scaling import Scaling
from skvaeense._training._sources import Source
from skvaeense.utils._ranks import ALONE, Ranks
from skvaeense.utils._typing import IntArray

# Blocks that are read, and mixed, at once. While these train, the next are read.
MIXED_BLOCKS = 8


class Batches(ABC):
    """Centred and scaled samples that training passes over, epoch by epoch.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_features).

    head : torch.Tensor of shape (n_rows, n_features)
        Some thousand of them, from which sizes are taken; all, if they are fewer.
    """

    shape: tuple[int, int]
    head: torch.Tensor

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def epoch(
        self, batch_size: int, generator: torch.Generator, ranks: Ranks = ALONE
    ) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order; what is left of the last is dropped.

        Of several processes that train together, each gets its part of every batch. A batch is
        valid until the next one is asked for.
        """


class TensorBatches(Batches):
    """Samples in memory.

    Parameters
    ----------
    X : torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples, on the device of training.
    """

    def __init__(self, X: torch.Tensor) -> None:
        self.X = X
        self.shape = X.shape[0], X.shape[1]
        self.head = X[:SPECTRUM_ROWS]

    def epoch(
        self, batch_size: int, generator: torch.Generator, ranks: Ranks = ALONE
    ) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order."""
        X, n_rows = self.X, part_of(batch_size, ranks)
        batch = X.new_empty((n_rows, X.shape[1]))
        order = torch.randperm(len(X), generator=generator, device=X.device)
        for start in range(0, len(X) - batch_size + 1, batch_size):
            first = start + ranks.rank * n_rows
            torch.index_select(X, 0, order[first : first + n_rows], out=batch)
            yield batch


class SourceBatches(Batches):
    """Samples that are read while training goes on.

    Blocks are read in random order, a few at a time, and their rows mixed. So a batch has rows of
    several places, and memory holds a few blocks.

    Parameters
    ----------
    source : Source
        The samples, in the user's units.

    left_out : ndarray of int
        Sorted positions of rows that do not train.

    scaling : Scaling
        Centre and scale.

    head : torch.Tensor of shape (n_rows, n_features)
        Some centred and scaled samples.
    """

    def __init__(
        self, source: Source, left_out: IntArray, scaling: Scaling, head: torch.Tensor
    ) -> None:
        self.source = source
        self.left_out = left_out
        self.scaling = scaling
        self.shape = len(source) - len(left_out), source.shape[1]
        self.head = head

    def epoch(
        self, batch_size: int, generator: torch.Generator, ranks: Ranks = ALONE
    ) -> Iterator[torch.Tensor]:
        """Yield batches of samples in random order.

        Each of several processes reads its own blocks. One whose blocks end before the epoch does
        takes samples of its last ones again.
        """
        device = self.head.device
        seed = int(torch.randint(2**31 - 1, (), generator=generator, device=device))
        pools = self._mixed(np.random.RandomState(seed), ranks)
        n_rows, n_batches = part_of(batch_size, ranks), len(self) // batch_size
        rest = last = self.head[:0]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(next, pools, None)
            while n_batches:
                pool = coming.result()
                if pool is None:
                    pool = last if len(last) >= n_rows else self._some(n_rows)
                else:
                    coming = reader.submit(next, pools, None)
                    last = pool = torch.cat([rest, pool.to(device)])
                n_full = min(len(pool) // n_rows, n_batches)
                yield from pool[: n_full * n_rows].split(n_rows) if n_full else ()
                n_batches -= n_full
                rest = pool[n_full * n_rows :].clone()

    def _some(self, n_rows: int) -> torch.Tensor:
        """Return samples that are at hand, over again if they are too few."""
        return self.head.repeat(-(-n_rows // len(self.head)), 1)

    def _mixed(self, random_state: np.random.RandomState, ranks: Ranks) -> Iterator[torch.Tensor]:
        """Yield the rows of a few blocks at a time, mixed and scaled."""
        pool: list[torch.Tensor] = []
        for start, rows in self.source.blocks(random_state, ranks):
            pool.append(self._scaled(start, rows))
            if len(pool) == MIXED_BLOCKS:
                yield _mix(pool, random_state)
                pool = []
        if pool:
            yield _mix(pool, random_state)

    def _scaled(self, start: int, rows: np.ndarray) -> torch.Tensor:
        first, last = np.searchsorted(self.left_out, [start, start + len(rows)])
        if first < last:
            rows = np.delete(rows, self.left_out[first:last] - start, axis=0)
        return self.scaling.apply(rows, dtype=self.head.dtype, device="cpu")


def part_of(batch_size: int, ranks: Ranks) -> int:
    """Return the samples of a batch that each process takes."""
    if batch_size < ranks.number:
        raise ValueError(
            f"batch_size={batch_size} gives none to some of {ranks.number} processes; raise it to "
            f"at least {ranks.number}, or start fewer."
        )
    return batch_size // ranks.number


def _mix(pool: list[torch.Tensor], random_state: np.random.RandomState) -> torch.Tensor:
    # In numpy, as scaling is: this goes on beside training.
    rows = np.concatenate([part.numpy() for part in pool])
    return torch.from_numpy(rows[random_state.permutation(len(rows))])


def split_samples(
    X: np.ndarray | Source,
    scaling: Scaling,
    random_state: np.random.RandomState,
    *,
    dtype: torch.dtype,
    device: torch.device,
    rule: HeldOut = HELD_OUT,
) -> tuple[Batches, torch.Tensor]:
    """Return the rows that train, and those by which starts and epochs are judged.

    Parameters
    ----------
    X : ndarray or Source of shape (n_samples, n_features)
        Samples in the user's units.

    scaling : Scaling
        Centre and scale.

    random_state : RandomState
        What draws the rows.

    dtype : torch.dtype
        Precision of training.

    device : torch.device
        Where training is.

    rule : HeldOut, default=HELD_OUT
        How many rows judge.

    Returns
    -------
    train : Batches
        Most of the samples.

    held_out : torch.Tensor of shape (n_held_out, n_features)
        The others, centred and scaled.
    """
    if isinstance(X, Source):
        n_out = max(rule.of(len(X)), 1)
        positions = X.draw(n_out + min(SPECTRUM_ROWS, len(X) - n_out), random_state)
        rows = scaling.apply(X.take(positions), dtype=dtype, device=device)
        out = np.sort(random_state.permutation(len(positions))[:n_out])
        head = np.delete(np.arange(len(positions)), out)
        train = SourceBatches(X, positions[out], scaling, rows[torch.from_numpy(head)])
        return train, rows[torch.from_numpy(out)]
    split = split_rows(len(X), random_state, rule)
    Z = scaling.apply(X, dtype=dtype, device=device, order=split.order)
    return TensorBatches(Z[split.train]), Z[split.held_out]
