"""Codes of which few entries are kept: only these are decoded, and have gradients."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F


@dataclass(eq=False)
class TopEntries:
    """Hold which entries of a matrix were kept, the same number in each row.

    Attributes
    ----------
    columns : torch.Tensor of int64, shape (n_samples, n_kept)
        Where they are.

    n_components : int
        Number of columns of the matrix.
    """

    columns: torch.Tensor
    n_components: int

    @classmethod
    def largest(cls, outputs: torch.Tensor, n_kept: int, *, positive: bool) -> "TopEntries":
        """Return where the largest entries of each row are, or the largest in magnitude."""
        sizes = outputs if positive else outputs.abs()
        columns = sizes.topk(n_kept, dim=1, sorted=False).indices
        return cls(columns, outputs.shape[1])

    def of(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the entries of a matrix, shape (n_samples, n_kept)."""
        return matrix.gather(1, self.columns)

    def dense(self, values: torch.Tensor) -> torch.Tensor:
        """Return the matrix with these values, shape (n_samples, n_components), and 0 elsewhere."""
        # Not len: it would make the number of samples a constant of an exported model.
        shape = values.shape[0], self.n_components
        return values.new_zeros(shape).scatter(1, self.columns, values)

    def times(self, values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Return ``dense(values) @ matrix``; both have gradients."""
        return F.embedding_bag(self.columns, matrix, mode="sum", per_sample_weights=values)

    def transposed_times(self, values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Return ``dense(values).T @ matrix``."""
        order, rows, offsets = self._by_column
        weights = values.flatten()[order]
        return F.embedding_bag(rows, matrix, offsets, mode="sum", per_sample_weights=weights)

    def column_sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return ``dense(values).sum(dim=0)``."""
        sums = values.new_zeros(self.n_components)
        return sums.index_add_(0, self.columns.flatten(), values.flatten())

    @cached_property
    def _by_column(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The order by columns, the rows in that order, and where each column begins."""
        columns = self.columns.flatten()
        order = columns.argsort(stable=True)
        counts = torch.bincount(columns, minlength=self.n_components)
        return order, order // self.columns.shape[1], counts.cumsum(0) - counts


def encode_top(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    n_kept: int,
    positive: bool,
) -> tuple[torch.Tensor, TopEntries]:
    """Return the largest of a layer's outputs ``hidden @ weight.T + bias`` for each sample.

    Parameters
    ----------
    hidden : torch.Tensor of shape (n_samples, n_features)
        Inputs.

    weight : torch.Tensor of shape (n_components, n_features)
        The weights.

    bias : torch.Tensor of shape (n_components,)
        The bias.

    n_kept : int
        How many of each sample's are kept.

    positive : bool
        Whether the largest are meant, or the largest in magnitude.

    Returns
    -------
    values : torch.Tensor of shape (n_samples, n_kept)
        What was kept.

    entries : TopEntries
        Where it is.
    """
    with torch.no_grad():
        outputs = F.linear(hidden, weight, bias)
        entries = TopEntries.largest(outputs, n_kept, positive=positive)
    values: torch.Tensor = _Kept.apply(hidden, weight, bias, entries.of(outputs), entries)
    return values, entries


class _Kept(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        kept: torch.Tensor,
        entries: TopEntries,
    ) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.entries = entries
        return kept

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        by_hidden = ctx.entries.times(grad, weight) if ctx.needs_input_grad[0] else None
        by_weight = ctx.entries.transposed_times(grad, hidden)
        return by_hidden, by_weight, ctx.entries.column_sums(grad), None, None
