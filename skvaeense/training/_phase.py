"""Trainings: their stages, when they stop, and which of several inits is the best."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from skvaeense.training._sizes import SETTLING
from skvaeense.training._trainer import Trainer, diverged


@dataclass(eq=False)
class Plateau:
    """Watch a validation loss, keep the best state, and tell when the loss no longer falls.

    Attributes
    ----------
    tol : float
        Least decrease of the loss that counts.

    patience : float
        Number of checks without such a decrease before training stops.

    best_loss, best_state : float and dict or None
        The least loss so far, and the state of the model at it.

    reference : float
        The last loss that was lower by `tol` than the one before.

    n_waited : int
        Number of checks since then.
    """

    tol: float
    patience: float
    best_loss: float = math.inf
    reference: float = math.inf
    best_state: dict[str, Any] | None = None
    n_waited: int = 0

    def is_reached(self, loss: float, model: nn.Module) -> bool:
        """Record a loss, and return whether to stop."""
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
        """Restore the best state of a model."""
        if self.best_state is not None:
            model.load_state_dict(self.best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        names = "best_loss", "reference", "best_state", "n_waited"
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        vars(self).update(state)


class Stage(NamedTuple):
    """A stage of a training: its epochs, and the fractions done at its start and at its end."""

    name: str
    n_epochs: int
    span: tuple[float, float]
    # Whether losses are compared, and whether a plateau ends the stage.
    is_watched: bool = True
    may_end: bool = False


@dataclass
class Phase:
    """A training: until the validation loss no longer falls, then with a falling learning rate.

    Attributes
    ----------
    trainer : Trainer or GateTrainer
        The trainer of the model.

    n_epochs : int
        Maximum number of epochs.

    plateau : Plateau
        The plateau that watches the validation loss and keeps the best model.

    name : str
        A name that no other phase of the fit has.

    unwatched : float
        Share of the epochs, from the first on, whose losses are not compared.

    is_watched : bool
        Whether losses are compared. If not, the last model is kept.
    """

    trainer: Any
    n_epochs: int
    plateau: Plateau
    name: str = "final"
    unwatched: float = 0.0
    is_watched: bool = True

    def stages(self) -> Iterator[Stage]:
        """Yield the stages of the training."""
        if not self.is_watched:
            yield Stage(f"{self.name} whole", self.n_epochs, (0.0, 1.0), is_watched=False)
            return
        n_last = math.ceil((1 - SETTLING) * self.n_epochs)
        n_first = self.n_epochs - n_last
        n_unwatched = min(math.ceil(self.unwatched * self.n_epochs), n_first)
        start, turn = n_unwatched / max(self.n_epochs, 1), n_first / max(self.n_epochs, 1)
        yield Stage(f"{self.name} unwatched", n_unwatched, (0.0, start), is_watched=False)
        yield Stage(f"{self.name} search", n_first - n_unwatched, (start, turn), may_end=True)
        yield Stage(f"{self.name} settle", n_last, (turn, 1.0))

    def note(self, loss: float, stage: Stage) -> bool:
        """Record the loss after an epoch, and return whether to end the stage."""
        return self.plateau.is_reached(loss, self.trainer.model) and stage.may_end

    @property
    def is_lost(self) -> bool:
        """Whether there is no model to keep, since a loss is not finite."""
        # A phase without any loss has not begun, or did not compare losses.
        has_loss = math.isfinite(self.plateau.best_loss) or self.plateau.n_waited == 0
        return not (self.trainer.is_finite and has_loss)

    def result(self) -> Trainer:
        """Return the trainer of the best model; raise an error if there is no model to keep."""
        if self.is_lost:
            raise FloatingPointError(diverged("The loss"))
        return self.trainer


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
        The index of the init of this trainer.
    """

    def __init__(self, make_trainer: Callable[[int], Trainer]) -> None:
        self.make_trainer = make_trainer
        self.logs: list[list[dict[str, float]]] = []
        self.losses: list[float] = []
        self.best: Trainer | None = None
        self.best_init = 0

    def offer(self, trainer: Trainer, loss: float) -> None:
        """Record a finished init."""
        least = math.inf if self.best is None else self.losses[self.best_init]
        if loss < least:
            self.best, self.best_init = trainer, len(self.logs)
        self.losses.append(loss)
        self.logs.append(trainer.log)

    def choose(self) -> Trainer:
        """Return the best trainer, with the logs of the other inits."""
        if self.best is None:
            raise FloatingPointError(diverged("The loss of every init"))
        others = [log for i, log in enumerate(self.logs) if i != self.best_init]
        self.best.other_log = [epoch for log in others for epoch in log]
        return self.best

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
