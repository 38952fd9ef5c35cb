"""One fit as its callbacks see it, and the checkpoints that it goes on from."""

import copy
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.training._batches import Batches
from skvaeense.training._plateau import Plateau
from skvaeense.training._selection import Selection
from skvaeense.training._sources import Source
from skvaeense.training._trainer import Trainer
from skvaeense.utils._callbacks import CALLBACKS, EpochReports
from skvaeense.utils._processes import Processes

# The attribute of an estimator in a checkpoint that holds the state of its training.
STATE = "_training_state_"


class CheckpointCallback(ABC):
    """A callback that keeps the state of fits.

    Of scikit-learn's hooks it needs none: the fit asks it by itself. One callback may serve several
    fits at once, as in a search, so what belongs to a fit is in its `FitSession`.

    Attributes
    ----------
    interval : float
        Least time in seconds between two states that are kept.
    """

    interval: float

    @abstractmethod
    def name(self, estimator: Any, facts: list[Any]) -> str:
        """Return a name for a fit, by the estimator and what else decides on its outcome."""

    @abstractmethod
    def latest(self, name: str) -> Any:
        """Return the estimator that was kept last by this name, or None."""

    @abstractmethod
    def keep(self, name: str, estimator: Any) -> None:
        """Keep an estimator by this name."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing before a fit, where scikit-learn calls this.

        Parameters
        ----------
        estimator : estimator
            What is fitted.

        context : sklearn.callback.CallbackContext
            The task.
        """
        return

    # The other hooks of scikit-learn's protocol do as little.
    teardown = on_fit_task_begin = on_fit_task_end = setup


# What has a state, besides the trainer, that a fit can go on from.
Part = TypeVar("Part", Plateau, Selection)


class FitSession:
    """Run the trainers of one fit: report each epoch, keep checkpoints, and go on from them.

    Parameters
    ----------
    estimator : estimator
        Before its fit.

    facts : list
        Samples, numbers, arrays and models that its outcome depends on, besides its parameters.

    processes : Processes
        The processes that train together.

    draft : callable
        From fitted attributes to the estimator as it would be with them.

    Attributes
    ----------
    random_state : RandomState
        The source of all randomness of the fit.

    stopped : bool
        Whether a callback has asked to stop.

    trainer : Trainer or None
        The one that is training, or has been last.
    """

    def __init__(
        self,
        estimator: Any,
        facts: list[Any],
        *,
        processes: Processes,
        draft: Callable[[dict[str, Any]], Any],
    ) -> None:
        self.estimator = estimator
        self.processes = processes
        self.draft = draft
        self.stopped = False
        self.trainer: Trainer | None = None
        self.parts: dict[str, Plateau | Selection] = {}
        callbacks = vars(estimator).get(CALLBACKS, ())
        keepers = [c for c in callbacks if isinstance(c, CheckpointCallback)]
        if keepers:
            facts = [fact.digest() if isinstance(fact, Source) else fact for fact in facts]
        self.names = {keeper: keeper.name(estimator, facts) for keeper in keepers}
        self.last_kept = time.monotonic()
        self.state = self._latest_state()
        begun: np.random.RandomState
        if self.state is not None:
            begun = self.state["random_state"]
        else:
            begun = check_random_state(estimator.random_state)
            begun = processes.broadcast_random_state(begun)
        self.begun_random_state = copy.deepcopy(begun)
        # The first fit moves the user's own RandomState on, as scikit-learn's do.
        self.random_state = begun if self.state is None else copy.deepcopy(begun)

    def _latest_state(self) -> dict[str, Any] | None:
        kept = (callback.latest(name) for callback, name in self.names.items())
        estimator = next((estimator for estimator in kept if estimator is not None), None)
        self.processes.check_equal(
            [estimator is not None, estimator.n_iter_ if estimator is not None else 0],
            "The processes that train together find different checkpoints; their folder must be "
            "one that all of them see.",
        )
        return None if estimator is None else vars(estimator)[STATE]

    def begin(self, n_epochs: int) -> None:
        """Tell the callbacks that training begins, and how many epochs it has at most."""
        self.reports = EpochReports(self.estimator, n_epochs, self.processes)

    def track(self, name: str, part: Part) -> Part:
        """Make a part of the state that goes on, and return it with its earlier state, if any."""
        self.parts[name] = part
        if self.state is not None and name in self.state["parts"]:
            part.load_state_dict(self.state["parts"][name])
        return part

    def train(
        self,
        trainer: Trainer,
        train: Batches,
        *,
        stage: str,
        n_epochs: int,
        batch_size: int,
        attributes: Callable[[Trainer], dict[str, Any]],
        span: tuple[float, float] = (0.0, 1.0),
        until: Callable[[Trainer], bool] | None = None,
    ) -> None:
        """Train through a stage of the fit, unless it is over or a callback has stopped the fit.

        Parameters
        ----------
        trainer : Trainer
            What trains.

        train : Batches
            The samples.

        stage : str
            Name of the stage.

        n_epochs, batch_size : int
            As for `Trainer.fit`.

        attributes : callable
            From the trainer to the fitted attributes of the estimator if training ended there.

        span : tuple of two floats, default=(0.0, 1.0)
            As for `Trainer.fit`.

        until : callable or None, default=None
            Called with the trainer after each epoch; a true answer ends the stage.
        """
        self.trainer = trainer
        if self.stopped:
            return
        if self.state is not None:
            if self.state["stage"] != stage:
                return
            trainer.load_state_dict(self.state["trainer"])
            ended, self.state = self.state["is_over"], None
            if ended:
                n_epochs = 0

        def keep_if_due(trainer: Trainer, is_over: bool = False) -> None:
            if any(time.monotonic() - self.last_kept >= c.interval for c in self.names):
                self._keep(trainer, stage, is_over, attributes)

        def after_epoch(trainer: Trainer) -> bool:
            self.stopped = self.reports.report(lambda: attributes(trainer))
            is_over = until is not None and until(trainer)
            keep_if_due(trainer, is_over)
            return is_over or self.stopped

        trainer.fit(
            train,
            n_epochs=n_epochs,
            batch_size=batch_size,
            span=span,
            after_epoch=after_epoch,
            after_steps=keep_if_due,
        )

    def best_trainer(self) -> Trainer | None:
        """Return the best trainer so far, at its best; None if nothing was learned yet."""
        trainer, parts = self.trainer, list(self.parts.values())
        finished = [part.best for part in parts if isinstance(part, Selection) and part.best]
        plateaus = [part for part in parts if isinstance(part, Plateau) and part.best_state]
        if finished:
            # What an init is worth is known once it is over.
            trainer = finished[-1]
        elif plateaus and trainer is not None:
            plateaus[-1].restore(trainer.model)
        learned = trainer is not None and trainer.log and trainer.is_finite
        return trainer if learned else None

    def interrupted(self, *, stacklevel: int) -> Trainer:
        """Return the best trainer after an interruption; without one it goes on as it came."""
        trainer = self.best_trainer()
        if trainer is None:
            raise
        # What was kept is still to go on.
        self.stopped = True
        warnings.warn(
            f"Training was interrupted after {len(trainer.log)} epoch(s) of the model that is "
            "kept. The estimator has what was learned until then.",
            stacklevel=stacklevel,
        )
        return trainer

    def end(self, trainer: Trainer, attributes: Callable[[Trainer], dict[str, Any]]) -> None:
        """Note that the fit is over, or take up the trainer of one that was over before."""
        if self.state is not None:
            trainer.load_state_dict(self.state["trainer"])
        elif not self.stopped:
            self._keep(trainer, "end", True, attributes)
        self.reports.end()

    def _keep(
        self,
        trainer: Trainer,
        stage: str,
        is_over: bool,
        attributes: Callable[[Trainer], dict[str, Any]],
    ) -> None:
        if not self.names or not self.processes.is_first:
            return
        estimator = self.draft(attributes(trainer))
        state = {
            "random_state": self.begun_random_state,
            "stage": stage,
            "is_over": is_over,
            "trainer": trainer.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        setattr(estimator, STATE, state)
        for callback, name in self.names.items():
            callback.keep(name, estimator)
        self.last_kept = time.monotonic()
