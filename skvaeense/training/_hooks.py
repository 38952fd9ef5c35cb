"""Hooks: additions to each step of the trainer."""

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from skvaeense.losses import Terms

if TYPE_CHECKING:
    from skvaeense.training._trainer import Trainer


class Step(NamedTuple):
    """The inputs and results of one step of the trainer."""

    # The batch, and the terms of its loss.
    x: torch.Tensor
    terms: Terms
    # Share of the training that is over.
    fraction_done: float
    generator: torch.Generator


class Hook:
    """Take part in training; every method does nothing by default.

    The whole state is in `state_dict`, so that an interrupted training can be resumed.
    """

    def before_loss(self, trainer: "Trainer", fraction_done: float) -> None:
        """Set the attributes of the model that the loss reads."""

    def before_step(self, trainer: "Trainer") -> None:
        """Change the gradients before the optimizer uses them."""

    def after_step(self, trainer: "Trainer", step: Step) -> None:
        """Change weights, or record the terms, which are means over the whole batch."""

    def values(self) -> dict[str, float]:
        """Return the numbers that the history records at the end of an epoch."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state: all attributes."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a copy of a state."""
        vars(self).update(copy.deepcopy(state))


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
    def before_step(self, trainer: "Trainer") -> None:
        """Scale the gradients to a loss that is a fraction of the variance, and clip them."""
        grads = trainer.parameters.grads
        grads *= trainer.model.loss_unit
        grads *= (self.limit / grads.norm().clamp_min(1e-30)).clamp_max(1.0)


class Normalization(Hook):
    """Call the `normalize` of a network after each step."""

    def after_step(self, trainer: "Trainer", step: Step) -> None:
        """Bring the weights back to their norm."""
        trainer.model.network.normalize()


def network_hooks(network: Any, max_gradient_norm: float | None = None) -> list[Hook]:
    """Return the hooks that the module of a network needs.

    The given `max_gradient_norm` holds if the module does not define one.
    """
    limit = getattr(network, "max_gradient_norm", max_gradient_norm)
    hooks: list[Hook] = [] if limit is None else [GradientClipping(limit)]
    return [*hooks, Normalization()] if hasattr(network, "normalize") else hooks
