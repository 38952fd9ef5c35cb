"""One fit by gradients: its inits, the best of them, and the checkpoints that it resumes from."""

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from sklearn.utils import check_random_state

from skvaeense.samples._sources import Source, digest
from skvaeense.training._data import FitData
from skvaeense.training._trainer import Plan, Trainer, diverged
from skvaeense.utils._callbacks import CALLBACKS
from skvaeense.utils._torch import memory_errors
from skvaeense.utils._warnings import warn_user

# Attribute of an estimator in a checkpoint that holds the training state.
STATE = "_training_state_"


class CheckpointCallback(ABC):
    """A callback that keeps the state of fits.

    It needs none of scikit-learn's hooks: the fit calls it directly. One callback can serve several
    fits at once, as in a search, so the state of each fit is in its `FitSession`.

    Attributes
    ----------
    interval : float
        Least time in seconds between two states that are kept.
    """

    interval: float

    @abstractmethod
    def name(self, estimator: Any, facts: list[Any]) -> str:
        """Return a name for a fit, from the estimator and the facts that decide its outcome."""

    @abstractmethod
    def latest(self, name: str) -> Any:
        """Return the estimator that was kept last under this name, or None."""

    @abstractmethod
    def keep(self, name: str, estimator: Any) -> None:
        """Keep an estimator under this name."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing; scikit-learn calls this before a fit.

        Parameters
        ----------
        estimator : estimator
            The estimator that is fitted.

        context : sklearn.callback.CallbackContext
            The context of the task.
        """
        return

    # The other hooks of scikit-learn's protocol do nothing either.
    teardown = on_fit_task_begin = on_fit_task_end = setup


class FitSession:
    """Train the inits of one fit: report each epoch, keep checkpoints, and resume from them.

    Parameters
    ----------
    estimator : estimator
        The estimator before its fit. `_validation_loss` compares epochs, and `_attributes` returns
        the fitted attributes as if training ended now.

    rows : PreparedRows
        Training samples, their scaling and their weights.

    model : Model or None, default=None
        The earlier model, if its training goes on.

    progress : FitProgress
        The progress of the fit, which training reports to.

    processes : Processes
        The processes that train together. A ValueError is raised if their samples differ.

    Attributes
    ----------
    random_state : RandomState
        The source of all randomness of the fit.

    best : Trainer or None
        The trainer of the init with the least held-out loss so far.
    """

    def __init__(self, estimator, rows, model=None, *, progress, processes):
        self.estimator, self.progress, self.processes = estimator, progress, processes
        self.stopped, self.logs = False, []
        self.best: Any = None
        self.trainer: Any = None
        self.best_loss, self.best_init = math.inf, 0
        callbacks = vars(estimator).get(CALLBACKS, ())
        keepers = [c for c in callbacks if isinstance(c, CheckpointCallback)]
        samples, scaling = rows.samples, rows.scaling
        read = digest(samples) if keepers and isinstance(samples, Source) else samples
        processes.check_equal(
            [*samples.shape, float((scaling.mean + scaling.scale).sum())],
            "All processes that train together must be given the same samples. Each process "
            "takes its own part of them.",
        )
        # What the outcome depends on, besides the parameters.
        facts = [read, scaling.mean, scaling.scale, model, rows.weights]
        self.names = {keeper: keeper.name(estimator, facts) for keeper in keepers}
        self.last_kept = time.monotonic()
        self.state = self._latest_state()
        if self.state is None:
            # Training advances the user's own RandomState, as in scikit-learn.
            own = check_random_state(estimator.random_state)
            self.random_state = processes.from_first(own)
        else:
            self.random_state = copy.deepcopy(self.state["random_state"])
        self.begun_random_state = copy.deepcopy(self.random_state)

    def _latest_state(self) -> dict[str, Any] | None:
        kept = (callback.latest(name) for callback, name in self.names.items())
        estimator = next((estimator for estimator in kept if estimator is not None), None)
        self.processes.check_equal(
            [estimator is not None, estimator.n_iter_ if estimator is not None else 0],
            "Processes that train together found different checkpoints. Set a checkpoint folder "
            "that all of these processes can read.",
        )
        return None if estimator is None else vars(estimator)[STATE]

    def train(
        self, data: FitData, make: Callable[[int], Trainer], n_inits: int, plan: Plan
    ) -> Trainer:
        """Train each init, and return the trainer of the best one, in its best state.

        Parameters
        ----------
        data : FitData
            The samples.

        make : callable
            Maps the index of an init to its trainer, before training.

        n_inits : int
            Number of inits.

        plan : Plan
            How long each of them is trained.

        Returns
        -------
        Trainer
            The trainer. Its `other_log` has the records of the other inits.
        """
        self.data = data
        self.progress.begin("codes", n_inits * plan.n_epochs * data.n_records)
        with memory_errors(data.batch_size):
            try:
                begun = self._resume(make)
                while len(self.logs) < n_inits and not self.stopped:
                    self._train_init(begun or make(len(self.logs)), plan)
                    begun = None
                # An interrupted process cannot wait for the others.
                if self.best is not None:
                    self.processes.broadcast(self.best.model.state_dict().values())
            except KeyboardInterrupt:
                self._keep_interrupted()
        if self.best is None:
            raise FloatingPointError(diverged("The loss" + " of every init" * (n_inits > 1)))
        others = (log for i, log in enumerate(self.logs) if i != self.best_init)
        self.best.other_log = [epoch for log in others for epoch in log]
        if not self.stopped and self.state is None:
            self._keep(self.best, None)
        return self.best

    def _train_init(self, trainer: Trainer, plan: Plan) -> None:
        self.trainer = trainer
        trainer.fit(self.data.train, plan, validate=self._loss, on_record=self._recorded)
        trainer.restore_best()
        if not trainer.is_lost and (self.best is None or trainer.best_loss < self.best_loss):
            self.best, self.best_init = trainer, len(self.logs)
            self.best_loss = trainer.best_loss
        self.logs.append(trainer.log)

    def _loss(self, model: Any) -> float:
        """Return the held-out loss of a model."""
        loss = self.estimator._validation_loss(model, self.data.valid)
        return float(self.processes.from_first(loss))

    def _recorded(self) -> bool:
        """Report an epoch, keep a checkpoint if it is time, and return whether to stop."""
        trainer = self.trainer
        stops = self.progress.step(lambda: self.estimator._attributes(trainer, self.data))
        self.stopped = bool(self.processes.from_first(stops))
        if any(time.monotonic() - self.last_kept >= c.interval for c in self.names):
            self._keep(trainer, trainer)
        return self.stopped

    def _resume(self, make: Callable[[int], Trainer]) -> Trainer | None:
        """Restore what a checkpoint holds, and return the trainer of the init that was begun."""
        state = self.state
        if state is None:
            return None
        self.logs, self.best_init, self.best_loss = (
            copy.deepcopy(state[name]) for name in ("logs", "best_init", "best_loss")
        )
        begun = None
        if state["best"] is not None:
            self.best = make(self.best_init)
            self.best.load_state_dict(state["best"])
        if state["begun"] is not None:
            begun = make(len(self.logs))
            begun.load_state_dict(state["begun"])
            self.state = None
        return begun

    def _keep(self, shown: Trainer, begun: Trainer | None) -> None:
        """Write a checkpoint: the estimator as if training ended now, and the state of the fit."""
        if not self.names or not self.processes.is_first:
            return
        estimator = self.estimator._draft(self.estimator._attributes(shown, self.data))
        state = {
            "random_state": self.begun_random_state,
            "logs": self.logs,
            "best_init": self.best_init,
            "best_loss": self.best_loss,
            "best": self.best and self.best.state_dict(),
            "begun": begun and begun.state_dict(),
        }
        setattr(estimator, STATE, state)
        for callback, name in self.names.items():
            callback.keep(name, estimator)
        self.last_kept = time.monotonic()

    def _keep_interrupted(self) -> None:
        """Keep the best trainer so far, and warn; if nothing was learned yet, raise."""
        if self.best is None:
            # Inits can be compared only once they are finished.
            trainer = self.trainer
            if trainer is None or not (trainer.log and trainer.is_finite):
                raise
            trainer.restore_best()
            self.best = trainer
        # The checkpoint is not marked as over, so that the fit can be resumed.
        self.stopped = True
        warn_user(
            f"Training was interrupted after {len(self.best.log)} epoch(s) of the best model. The "
            "estimator keeps this model."
        )
