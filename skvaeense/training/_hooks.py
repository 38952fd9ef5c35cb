"""Hooks that the modules of networks need."""

from typing import Any

import torch

from skvaeense.training._trainer import Hook, Step, Trainer


class GradientClipping(Hook):
    """Limit the norm of the gradients.

    Parameters
    ----------
    limit : float
        The largest norm, for a loss that is a fraction of the variance.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit

    @torch.no_grad()
    def before_step(self, trainer: Trainer) -> None:
        """Scale the gradients to a loss that is a fraction of the variance, and clip them."""
        grads = trainer.parameters.grads
        grads *= trainer.model.loss_unit
        grads *= (self.limit / grads.norm().clamp_min(1e-30)).clamp_max(1.0)


class Normalization(Hook):
    """Call the `normalize` of a network after each step."""

    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Bring the weights back to their norm."""
        trainer.model.network.normalize()


def network_hooks(network: Any, max_gradient_norm: float | None = None) -> list[Hook]:
    """Return the hooks that the module of a network needs.

    The given `max_gradient_norm` holds if the module does not define one.
    """
    limit = getattr(network, "max_gradient_norm", max_gradient_norm)
    hooks: list[Hook] = [] if limit is None else [GradientClipping(limit)]
    return [*hooks, Normalization()] if hasattr(network, "normalize") else hooks
