"""One fit: its phases, its callbacks, and the checkpoints that it resumes from."""

import copy
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from sklearn.utils import check_random_state

from skvaeense.samples._devices import memory_errors
from skvaeense.samples._scaling import Scaling
from skvaeense.samples._sources import Source, digest
from skvaeense.training._data import FitData
from skvaeense.training._phase import Phase, Plateau, Selection, Stage
from skvaeense.training._trainer import Trainer
from skvaeense.utils._callbacks import CALLBACKS, FitProgress
from skvaeense.utils._processes import Processes

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


# Parts of a fit, besides the trainer, whose state is in checkpoints.
Part = TypeVar("Part", Plateau, Selection)


class FitSession:
    """Run the phases of one fit: report each epoch, keep checkpoints, and resume from them.

    Parameters
    ----------
    estimator : estimator
        The estimator before its fit. `_validation_loss` compares epochs, and `_attributes` returns
        the fitted attributes as if training ended now.

    samples : {ndarray, Source} of shape (n_samples, n_features)
        Training samples.

    scaling : Scaling
        Their scaling.

    weights : ndarray of shape (n_samples,) or None
        Their weights.

    model : Model or None, default=None
        The earlier model, if its training goes on.

    progress : FitProgress
        The progress of the fit, which training reports to.

    processes : Processes
        The processes that train together. A ValueError is raised if their samples differ.

    Attributes
    ----------
    data : FitData
        The samples, once training runs.

    random_state : RandomState
        The source of all randomness of the fit.

    stopped : bool
        Whether a callback has asked to stop.

    trainer : Trainer or None
        The current trainer, and in the end the trainer of the kept model.
    """

    def __init__(
        self,
        estimator: Any,
        samples: Any,
        scaling: Scaling,
        weights: Any,
        model: Any = None,
        *,
        progress: FitProgress,
        processes: Processes,
    ) -> None:
        self.estimator = estimator
        self.progress = progress
        self.processes = processes
        self.stopped = False
        self.trainer: Any = None
        self.parts: dict[str, Plateau | Selection] = {}
        callbacks = vars(estimator).get(CALLBACKS, ())
        keepers = [c for c in callbacks if isinstance(c, CheckpointCallback)]
        read = digest(samples) if keepers and isinstance(samples, Source) else samples
        processes.check_equal(
            [*samples.shape, scaling.scale, float(scaling.mean.sum())],
            "All processes that train together must be given the same samples. Each process "
            "takes its own part of them.",
        )
        # What the outcome depends on, besides the parameters.
        facts = [read, scaling.mean, scaling.scale, model, weights]
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

    def begin(self, n_epochs: int, n_records: int = 1) -> None:
        """Report that training begins, and how many epochs of some records it has at most."""
        self.progress.begin("codes", n_epochs * n_records)

    def track(self, name: str, part: Part) -> Part:
        """Include a part in checkpoints, and return it with its earlier state restored, if any."""
        self.parts[name] = part
        if self.state is not None and name in self.state["parts"]:
            part.load_state_dict(self.state["parts"][name])
        return part

    @contextmanager
    def running(self, data: FitData, *, stacklevel: int) -> Iterator[None]:
        """Let an estimator train in this context; if it is interrupted, keep the best trainer.

        The warning then points to the line that is `stacklevel` calls up.
        """
        self.data = data
        with memory_errors(data.batch_size):
            try:
                yield
                # An interrupted process cannot wait for the others.
                self.processes.broadcast(self.trainer.model.state_dict().values())
            except KeyboardInterrupt:
                # One call more, for the context.
                self.trainer = self._interrupted(stacklevel + 2)

    def train(self, phase: Phase) -> Phase:
        """Train through a phase, unless it is over or a callback has stopped the fit."""
        trainer = self.trainer = phase.trainer
        self.track(f"{phase.name} plateau", phase.plateau)
        for stage in phase.stages():
            epochs = trainer.epochs(
                self.data.train,
                n_epochs=self._n_epochs_left(stage, trainer),
                batch_size=self.data.batch_size,
                span=stage.span,
            )
            with closing(epochs):
                for is_whole in epochs:
                    stops = self.progress.step(
                        lambda: self.estimator._attributes(trainer, self.data)
                    )
                    self.stopped = self.processes.from_first(stops)
                    is_over = is_whole and self._is_over(phase, stage)
                    if any(time.monotonic() - self.last_kept >= c.interval for c in self.names):
                        self._keep(trainer, stage.name, is_over)
                    if is_over or self.stopped:
                        break
        phase.plateau.restore(trainer.model)
        return phase

    def _n_epochs_left(self, stage: Stage, trainer: Trainer) -> int:
        """Return the number of epochs of a stage; 0 if it is over or the fit has stopped.

        If the checkpoint is in this stage, the trainer is restored from it.
        """
        if self.stopped:
            return 0
        if self.state is None:
            return stage.n_epochs
        if self.state["stage"] != stage.name:
            return 0
        trainer.load_state_dict(self.state["trainer"])
        is_over, self.state = self.state["is_over"], None
        return 0 if is_over else stage.n_epochs

    def _is_over(self, phase: Phase, stage: Stage) -> bool:
        """Compare losses after an epoch, and return whether the stage is over."""
        return stage.is_watched and phase.note(self._loss(phase.trainer), stage)

    def _loss(self, trainer: Trainer) -> float:
        """Return the loss that compares epochs."""
        loss = self.estimator._validation_loss(trainer.model, self.data.valid)
        return self.processes.from_first(loss)

    def _interrupted(self, stacklevel: int) -> Trainer:
        """Return the best trainer so far, in its best state, and warn of an interruption.

        If nothing was learned yet, raise the interruption.
        """
        trainer, parts = self.trainer, list(self.parts.values())
        finished = [part.best for part in parts if isinstance(part, Selection) and part.best]
        plateaus = [part for part in parts if isinstance(part, Plateau) and part.best_state]
        if finished:
            # Inits can be compared only once they are finished.
            trainer = finished[-1]
        elif plateaus and trainer is not None:
            plateaus[-1].restore(trainer.model)
        if trainer is None or not (trainer.log and trainer.is_finite):
            raise
        # The checkpoint is not marked as over, so that the fit can be resumed.
        self.stopped = True
        warnings.warn(
            f"Training was interrupted after {len(trainer.log)} epoch(s) of the best model. The "
            "estimator keeps this model.",
            stacklevel=stacklevel + 1,
        )
        return trainer

    def end(self) -> Trainer:
        """Mark the fit as over, and return the kept trainer, perhaps from a checkpoint."""
        kept: Trainer = self.trainer
        if self.state is not None:
            kept.load_state_dict(self.state["trainer"])
        elif not self.stopped:
            self._keep(kept, "end", True)
        return kept

    def _keep(self, trainer: Trainer, stage: str, is_over: bool) -> None:
        if not self.names or not self.processes.is_first:
            return
        estimator = self.estimator._draft(self.estimator._attributes(trainer, self.data))
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
