"""When to stop."""

import math
from typing import Any

from torch import nn


class Plateau:
    """Watch a validation loss, keep the best state, and say when it no longer falls.

    Parameters
    ----------
    tol : float
        Least fall of the loss that counts as one.

    patience : float
        Number of looks without such a fall before it is time to stop.
    """

    def __init__(self, tol: float, patience: float) -> None:
        self.tol = tol
        self.patience = patience
        self.best_loss = math.inf
        self.reference = math.inf
        self.best_state: dict[str, Any] | None = None
        self.n_waited = 0

    def is_reached(self, loss: float, model: nn.Module) -> bool:
        """Take note of a loss, and say whether to stop."""
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_state = {k: v.detach().clone() for k, v in model.state_dict().items()}
        if loss < self.reference - self.tol:
            self.reference = loss
            self.n_waited = 0
        else:
            self.n_waited += 1
        return self.n_waited >= self.patience

    def restore(self, model: nn.Module) -> None:
        """Put the best state back."""
        if self.best_state is not None:
            model.load_state_dict(self.best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        names = "best_loss", "reference", "best_state", "n_waited"
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state over."""
        vars(self).update(state)
