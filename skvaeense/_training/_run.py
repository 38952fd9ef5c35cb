"""One model in training, from its first epoch to its last."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from skvaeense._training._loop import (
    EpochLoss,
    LearningRate,
    Position,
    iterate_epochs,
    make_optimizer,
)
from skvaeense.utils._ranks import ALONE


class Epoch(NamedTuple):
    """One epoch: its losses, the start that it belongs to, and whether it is of the last phase."""

    loss: EpochLoss
    start: int
    final: bool


@dataclass
class Run:
    """A module with what trains it, and what has become of it so far.

    Attributes
    ----------
    module : torch.nn.Module
        The autoencoder.

    objective : Objective
        What the current phase minimises.

    learning_rate : LearningRate or None
        Of the current phase; None before the first.

    generator : torch.Generator
        The source of order and noise.

    losses : list of EpochLoss
        One for each epoch so far.

    optimizer : torch.optim.Optimizer or None
        Kept where training goes on with it, as between calls of `partial_fit`; else new for each
        series of epochs.

    n_steps : int
        Steps so far.

    start : int
        Which of the starts this is, from 0.

    n_first : int or None
        Epochs before the last phase; None before it begins.

    rivals : tuple of Epoch
        The epochs of the starts that were not chosen.

    position : Position or None
        Where the training is in the series of epochs under way; None between two of them.

    keeps_optimizer : bool
        Whether the optimizer outlasts that series.
    """

    module: torch.nn.Module
    objective: Any
    learning_rate: LearningRate | None
    generator: torch.Generator
    losses: list[EpochLoss] = field(default_factory=list)
    optimizer: torch.optim.Optimizer | None = None
    n_steps: int = 0
    start: int = 0
    n_first: int | None = None
    rivals: tuple[Epoch, ...] = ()
    position: Position | None = None
    keeps_optimizer: bool = False

    def epochs(self, X, *, n_epochs, batch_size, span=(0.0, 1.0), ranks=ALONE):
        """Train for some epochs, or go on with them; end early if the loss is not finite.

        Yields the losses after each epoch, and None at times inside one.
        """
        batch_size = min(batch_size, len(X))
        if self.position is not None and self.losses and not self.is_finite:
            return
        if self.position is None:
            self.position = Position()
            self.keeps_optimizer = self.optimizer is not None
            if not self.keeps_optimizer:
                self.optimizer = make_optimizer(self.module)
        for loss in iterate_epochs(
            self.module,
            self.objective,
            X,
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            generator=self.generator,
            optimizer=self.optimizer,
            span=span,
            position=self.position,
            ranks=ranks,
        ):
            if loss is not None:
                self.losses.append(loss)
                self.n_steps += len(X) // batch_size
            yield loss
            if loss is not None and not self.is_finite:
                # It rests where it is: whoever goes on with it ends here, too.
                return
        self.rest()

    def rest(self):
        """End a series of epochs, be it over or not: the next begins anew."""
        if not self.keeps_optimizer:
            self.optimizer = None
        self.position = None

    @property
    def is_between_epochs(self):
        """Whether no epoch is half over."""
        return self.position is None or self.position.step == 0

    @property
    def trail(self):
        """The epochs of this run, in order."""
        n_first = len(self.losses) if self.n_first is None else self.n_first
        return [Epoch(loss, self.start, i >= n_first) for i, loss in enumerate(self.losses)]

    @property
    def is_finite(self):
        """Whether the last epoch's losses are numbers."""
        return all(math.isfinite(value) for value in self.losses[-1])
