"""Numbers of entries that codes keep: one or several in training, any smaller number later."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from skvaeense.utils._kept_entries import KeptEntries
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, Interval

# A mean number of entries for each sample, or several of them.
Lengths: TypeAlias = float | Sequence[float]
# Shares of k that have a threshold after calibration: two to an octave.
PER_OCTAVE = 2
SHARES = tuple(2.0 ** (-i / PER_OCTAVE) for i in range(8 * PER_OCTAVE + 1))


class Budget(nn.Module):
    """Hold the number of entries that are kept of each sample.

    Parameters
    ----------
    k : float or sequence of float
        Number of entries. In a sequence, each number holds for an equal part of a batch in
        training: codes of all these lengths are learned, and a step takes no longer.

    positive : bool, default=False
        Whether entries are compared by their values, and only positive ones count; otherwise they
        are compared by their absolute values.

    Attributes
    ----------
    budgets : tuple of float
        The numbers, the largest first.

    k : float
        The largest number.

    share : float
        Factor on the numbers, above 1 while training anneals them. With several numbers, only k
        counts outside training.
    """

    def __init__(self, k: Lengths, positive: bool = False) -> None:
        super().__init__()
        self.positive = positive
        self.budgets = tuple(np.unique(k)[::-1].tolist())
        self.k = self.budgets[0]
        self.share = 1.0

    def size(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sizes by which entries are compared."""
        return values.relu() if self.positive else values.abs()

    def parts(self, samples: torch.Tensor) -> list[tuple[float, torch.Tensor]]:
        """Return the samples of a batch in equal parts, each with its number of entries."""
        budgets = [self.share * k for k in self.budgets[: max(len(samples), 1)]]
        return list(zip(budgets, samples.tensor_split(len(budgets)), strict=True))


class BatchThreshold(Budget):
    """Mask the k n largest entries of n samples; outside training, entries that reach a threshold.

    So samples share a budget in training, and afterwards each sample is masked separately.

    Parameters
    ----------
    k : float or sequence of float
        Mean number of entries that are kept of each sample; see `Budget`.

    positive : bool, default=False
        Whether only positive entries are kept.

    memory : float, default=0.01
        Weight of a batch in the running mean of the threshold.

    Attributes
    ----------
    thresholds : torch.Tensor of shape (len(SHARES),)
        The smallest entries that are kept for the shares of k in `SHARES`. Before calibration only
        the first one is set, to the running mean in training.
    """

    thresholds: torch.Tensor

    def __init__(self, k: Lengths, positive: bool = False, memory: float = 0.01) -> None:
        super().__init__(k, positive)
        self.memory = memory
        self.register_buffer("thresholds", torch.full((len(SHARES),), -1.0))

    @property
    def threshold(self) -> torch.Tensor:
        """The current threshold, interpolated linearly in the logarithm of the share.

        The interpolation is exact if sizes have an exponential tail.
        """
        # Rounded, so that each of `SHARES` has exactly its own threshold.
        place = round(-math.log2(self.share) * PER_OCTAVE, 9)
        i = min(math.floor(place), len(SHARES) - 2)
        if place == i:
            return self.thresholds[i]
        return self.thresholds[i].lerp(self.thresholds[i + 1], place - i)

    def mask(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mask of kept entries; entries of size 0 are never kept.

        Parameters
        ----------
        values : torch.Tensor of shape (n_samples, n_components)
            The entries.

        Returns
        -------
        torch.Tensor of bool of shape (n_samples, n_components)
            True where an entry is kept.
        """
        size = self.size(values.detach())
        if not self.training:
            return (size >= self.threshold) & (size > 0)
        parts = self.parts(size)
        least = [_least_kept(part, k) for k, part in parts]
        # The running threshold is computed for k, though training can keep more entries.
        seen = least[0] if self.share == 1 else _least_kept(parts[0][1], self.k)
        running = self.thresholds[0]
        weight = torch.where(running < 0, 1.0, self.memory)
        running.lerp_(seen.to(running), weight.to(running))
        kept = [part >= own for (_, part), own in zip(parts, least, strict=True)]
        return torch.cat(kept) & (size > 0)

    def kept(self, values: torch.Tensor) -> KeptEntries:
        """Return the positions of kept entries."""
        return KeptEntries.of_mask(self.mask(values))

    @torch.no_grad()
    def calibrate(self, values: torch.Tensor) -> None:
        """Set the threshold at which these samples keep `share` times k entries on average.

        Parameters
        ----------
        values : torch.Tensor of shape (n_samples, n_components)
            The entries.
        """
        size = self.size(values)
        least = _least_kept(size, self.share * self.k)
        largest_dropped = torch.where(size < least, size, 0).max()
        # Halfway, so that neither rounding nor another precision moves an entry over the threshold.
        self.thresholds[SHARES.index(self.share)] = (least + largest_dropped) / 2


def _least_kept(size: torch.Tensor, k: float) -> torch.Tensor:
    """Return the smallest of the k n largest entries of n samples."""
    n_kept = min(max(round(k * len(size)), 1), size.numel())
    entries = size.flatten()
    if entries.device.type == "cpu":
        # Faster than torch's topk on the CPU, unless most entries are 0, as for inactive latents.
        numbers = entries.detach().numpy()
        numbers = numbers[numbers != 0]
        place = len(numbers) - n_kept
        least = np.partition(numbers, place)[place] if place >= 0 else 0
        return torch.tensor(least, dtype=size.dtype)
    return entries.topk(n_kept, sorted=False).values.min()


def check_lengths(name: str, lengths: Any, allowed: Interval = POSITIVE) -> None:
    """Raise an error unless a parameter is a positive number, or a list of them."""
    numbers = lengths if isinstance(lengths, list | tuple) else [lengths]
    if not numbers or not all(map(allowed.is_satisfied_by, numbers)):
        noun = "int" if allowed is AT_LEAST_ONE else "number"
        raise ValueError(f"{name} must be a positive {noun}, or a list of them, got {lengths!r}.")


def budgets(model: nn.Module) -> list[Budget]:
    """Return all budgets in a model."""
    return [module for module in model.modules() if isinstance(module, Budget)]


def set_share(model: nn.Module, share: float) -> None:
    """Set the share of k that the budgets of a model keep."""
    for budget in budgets(model):
        budget.share = share
