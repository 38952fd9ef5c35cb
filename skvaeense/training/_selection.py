"""The best of several inits."""

import math
from collections.abc import Callable
from typing import Any

from skvaeense.training._trainer import Trainer, diverged


class Selection:
    """Keep the best of several trainings from different inits, and the logs of the others.

    Parameters
    ----------
    make_trainer : callable
        Maps the index of an init to its trainer, before training.

    Attributes
    ----------
    logs : list of list of dict
        The log of each finished init, in order.

    losses : list of float
        The losses of these inits.

    best : Trainer or None
        The trainer with the least loss so far.

    best_init : int
        The index of its init.
    """

    def __init__(self, make_trainer: Callable[[int], Trainer]) -> None:
        self.make_trainer = make_trainer
        self.logs: list[list[dict[str, float]]] = []
        self.losses: list[float] = []
        self.best: Trainer | None = None
        self.best_init = 0

    def offer(self, trainer: Trainer, loss: float) -> None:
        """Record a finished init."""
        if loss < self.best_loss:
            self.best, self.best_init = trainer, len(self.logs)
        self.losses.append(loss)
        self.logs.append(trainer.log)

    def skip(self, init: int) -> None:
        """Record an init that is not trained, unless it was finished before."""
        if init == len(self.logs):
            self.losses.append(math.inf)
            self.logs.append([])

    @property
    def best_loss(self) -> float:
        """The loss of the best init; infinite if there is none."""
        return math.inf if self.best is None else self.losses[self.best_init]

    def choose(self) -> Trainer:
        """Return the best trainer, with the logs of the other inits."""
        if self.best is None:
            raise FloatingPointError(diverged("The loss of every init"))
        self.best.other_log = self.other_log
        return self.best

    @property
    def other_log(self) -> list[dict[str, float]]:
        """The epochs of all inits but the best."""
        others = [log for i, log in enumerate(self.logs) if i != self.best_init]
        return [epoch for log in others for epoch in log]

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        best = None if self.best is None else self.best.state_dict()
        return {
            "logs": self.logs,
            "losses": self.losses,
            "best": best,
            "best_init": self.best_init,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self.logs, self.best_init = list(state["logs"]), state["best_init"]
        self.losses = list(state["losses"])
        if state["best"] is not None:
            self.best = self.make_trainer(self.best_init)
            self.best.load_state_dict(state["best"])
