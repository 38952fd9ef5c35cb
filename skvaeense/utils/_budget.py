"""Numbers of entries that codes keep: one or several in training, any smaller one afterwards."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, Interval

# A mean number of entries for each sample, or several of them.
Lengths: TypeAlias = float | Sequence[float]


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
