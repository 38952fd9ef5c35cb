"""Codes with few kept entries: how many are kept, and products of the kept entries alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


@dataclass(eq=False)
class KeptEntries:
    """Hold the positions of the kept entries of a matrix.

    Attributes
    ----------
    rows, columns : torch.Tensor of int64 of shape (n_kept,)
        Row and column of each kept entry, in the order of rows.

    shape : tuple of (int, int)
        Shape of the matrix.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    shape: tuple[int, int]

    @classmethod
    def of_mask(cls, mask: torch.Tensor) -> "KeptEntries":
        """Return the positions at which a mask is true."""
        rows, columns = mask.nonzero(as_tuple=True)
        return cls(rows, columns, (mask.shape[0], mask.shape[1]))

    @classmethod
    def largest(cls, outputs: torch.Tensor, n_kept: int, *, positive: bool) -> "KeptEntries":
        """Return the positions of the largest entries of each row, or the largest in magnitude."""
        columns = _largest(outputs, n_kept, positive)
        rows = torch.arange(len(outputs), device=outputs.device).repeat_interleave(columns.shape[1])
        return cls(rows, columns.flatten(), (outputs.shape[0], outputs.shape[1]))

    def add_to(self, matrix: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Add values to the entries of a matrix, in place, and return it."""
        return matrix.index_put_((self.rows, self.columns), values, accumulate=True)

    def times(self, values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Return the product of the matrix of these values, 0 elsewhere, and another matrix.

        Values and matrix have gradients.
        """
        starts = torch.searchsorted(self.rows, torch.arange(self.shape[0], device=self.rows.device))
        return F.embedding_bag(self.columns, matrix, starts, mode="sum", per_sample_weights=values)

    def transposed_times(self, values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Return the product as in `times`, but with the matrix of values transposed."""
        order = self.columns.argsort(stable=True)
        other = KeptEntries(self.columns[order], self.rows[order], self.shape[::-1])
        return other.times(values[order], matrix)

    def column_sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums of values over the rows, shape (n_columns,)."""
        return values.new_zeros(self.shape[1]).index_add_(0, self.columns, values)

    def carried(self, values: torch.Tensor, to: "KeptEntries") -> torch.Tensor:
        """Return values at the entries of `to`, with 0 for entries that are not kept here."""
        own, others = (e.rows * e.shape[1] + e.columns for e in (self, to))
        if not len(own):
            return values.new_zeros(len(others))
        places = torch.searchsorted(own, others).clamp_(max=len(own) - 1)
        return values[places] * (own[places] == others)


class KeptCodes(NamedTuple):
    """The entries that codes keep of the pre-activations.

    Attributes
    ----------
    values : torch.Tensor of shape (n_kept,)
        The pre-activations that are kept.

    entries : KeptEntries
        Positions of these pre-activations.

    preactivation : callable or None, default=None
        Function from indices of latents to their pre-activations, shape (n_samples, n_latents).
        None if the network has a method `answer`.
    """

    values: torch.Tensor
    entries: KeptEntries
    preactivation: Callable[[torch.Tensor], torch.Tensor] | None = None


def keep_largest(outputs: torch.Tensor, n_kept: int, *, positive: bool) -> torch.Tensor:
    """Return a matrix with the largest entries of each row, or in magnitude, and 0 elsewhere."""
    columns = _largest(outputs, n_kept, positive)
    return torch.zeros_like(outputs).scatter(1, columns, outputs.gather(1, columns))


def _largest(outputs: torch.Tensor, n_kept: int, positive: bool) -> torch.Tensor:
    sizes = outputs if positive else outputs.abs()
    return sizes.topk(n_kept, dim=1, sorted=False).indices


class KeptOutputs(torch.autograd.Function):
    """Some outputs of a linear layer, with gradients through these outputs alone.

    `apply` takes the inputs, of shape (n_samples, n_features), the weights, of shape (n_components,
    n_features), the bias or None, all outputs, computed without a gradient, and the `KeptEntries`
    of the outputs to return.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Any, weight: Any, bias: Any, outputs: Any, entries: KeptEntries
    ) -> torch.Tensor:
        """Return the outputs at the entries."""
        ctx.save_for_backward(inputs, weight)
        ctx.entries = entries
        return outputs[entries.rows, entries.columns]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of inputs, weights and bias."""
        inputs, weight = ctx.saved_tensors
        by_inputs = ctx.entries.times(grad, weight) if ctx.needs_input_grad[0] else None
        by_bias = ctx.entries.column_sums(grad) if ctx.needs_input_grad[2] else None
        return by_inputs, ctx.entries.transposed_times(grad, inputs), by_bias, None, None


# A mean number of entries for each sample, or several of them.
Lengths: TypeAlias = float | Sequence[float]
# Shares of k that have a threshold after calibration: two to an octave, for eight octaves.
SHARES = tuple(2.0 ** (-i / 2) for i in range(17))
# Least length of codes, as a share of the longest.
LEAST_SHARE = SHARES[-1]


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
        Factor on the numbers, at most 1, outside training. With several numbers, only k counts
        there.
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
        place = round(-2 * math.log2(self.share), 9)
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
        running = self.thresholds[0]
        weight = torch.where(running < 0, 1.0, self.memory)
        running.lerp_(least[0].to(running), weight.to(running))
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


def budgets(model: nn.Module) -> list[Budget]:
    """Return all budgets in a model."""
    return [module for module in model.modules() if isinstance(module, Budget)]


def set_share(model: nn.Module, share: float) -> None:
    """Set the share of k that the budgets of a model keep."""
    for budget in budgets(model):
        budget.share = share
