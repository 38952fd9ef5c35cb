"""Codes that are not negative, with what their entries cost."""

from abc import ABC, abstractmethod

import torch

from skvaeense._kernels._tiles import tiles
from skvaeense._kernels._workspace import Workspace


class EntryPrice(ABC):
    """Say what an entry of a code costs, whatever the others are."""

    @abstractmethod
    def cost(self, code: torch.Tensor) -> torch.Tensor:
        """Return the sum of each sample's costs for codes that are not negative."""

    @abstractmethod
    def slope(self, code: torch.Tensor) -> torch.Tensor | float:
        """Return the derivative of an entry's cost, where it is positive."""


def priced_relu(
    preactivation: torch.Tensor, price: EntryPrice, *, workspace: Workspace
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``relu(preactivation)`` and what it costs.

    Parameters
    ----------
    preactivation : torch.Tensor of shape (n_samples, n_components)
        What the encoder gives.

    price : EntryPrice
        What entries cost.

    workspace : Workspace
        Memory for the codes and for the gradient.

    Returns
    -------
    code : torch.Tensor of shape (n_samples, n_components)
        Codes.

    cost : torch.Tensor of shape (n_samples,)
        Their costs.
    """
    code: torch.Tensor
    cost: torch.Tensor
    code, cost = _PricedReLU.apply(preactivation, price, workspace)
    return code, cost


class _PricedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, preactivation, price, workspace):
        code = workspace.like(preactivation, "code")
        cost = preactivation.new_empty(len(preactivation))
        for rows in tiles(preactivation):
            cost[rows] = price.cost(torch.clamp_min(preactivation[rows], 0, out=code[rows]))
        ctx.save_for_backward(code)
        ctx.price, ctx.workspace = price, workspace
        return code, cost

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, code_grad, cost_grad):
        (code,) = ctx.saved_tensors
        grad = ctx.workspace.like(code, "preactivation_grad")
        for rows in tiles(code):
            c = code[rows]
            by_cost = ctx.price.slope(c) * cost_grad[rows, None]
            torch.add(code_grad[rows], by_cost, out=grad[rows]).mul_(c > 0)
        return grad, None, None
