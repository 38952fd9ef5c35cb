"""Codes with few kept entries: only kept entries are decoded, and have gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F


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
        return F.embedding_bag(
            self.columns, matrix, self._offsets, mode="sum", per_sample_weights=values
        )

    def transposed_times(self, values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Return the product as in `times`, but with the matrix of values transposed."""
        order = self.columns.argsort(stable=True)
        starts = _starts(self.columns, self.shape[1])
        return F.embedding_bag(
            self.rows[order], matrix, starts, mode="sum", per_sample_weights=values[order]
        )

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

    @cached_property
    def _offsets(self) -> torch.Tensor:
        """The first position of each row."""
        return _starts(self.rows, self.shape[0])


class KeptCodes(NamedTuple):
    """The entries that codes keep of the pre-activations.

    Attributes
    ----------
    values : torch.Tensor of shape (n_kept,)
        The pre-activations that are kept.

    entries : KeptEntries
        Positions of these pre-activations.

    preactivation : callable
        Function from indices of latents to their pre-activations, shape (n_samples, n_latents).
    """

    values: torch.Tensor
    entries: KeptEntries
    preactivation: Callable[[torch.Tensor], torch.Tensor]


def keep_largest(outputs: torch.Tensor, n_kept: int, *, positive: bool) -> torch.Tensor:
    """Return a matrix with the largest entries of each row, or in magnitude, and 0 elsewhere."""
    columns = _largest(outputs, n_kept, positive)
    return torch.zeros_like(outputs).scatter(1, columns, outputs.gather(1, columns))


def _largest(outputs: torch.Tensor, n_kept: int, positive: bool) -> torch.Tensor:
    sizes = outputs if positive else outputs.abs()
    return sizes.topk(n_kept, dim=1, sorted=False).indices


def _starts(indices: torch.Tensor, n: int) -> torch.Tensor:
    """Return the first position of each of n indices among the sorted indices."""
    counts = torch.bincount(indices, minlength=n)
    return counts.cumsum(0) - counts


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
