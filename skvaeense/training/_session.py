"""One fit: its trainings, which of them is the best, and the checkpoints that it resumes from."""

import copy
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from sklearn.utils import check_random_state

from skvaeense.samples._sources import Source, digest
from skvaeense.training._data import FitData
from skvaeense.training._sizes import SETTLING
from skvaeense.training._trainer import Resumable, Trainer, diverged
from skvaeense.utils._callbacks import CALLBACKS
from skvaeense.utils._torch import memory_errors

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


class Stage(NamedTuple):
    """A stage of a training: its epochs, and the fractions done at its start and at its end."""

    name: str
    n_epochs: int
    span: tuple[float, float]
    # Whether losses are compared, and whether a plateau ends the stage.
    is_watched: bool = True
    may_end: bool = False


@dataclass(eq=False)
class Phase(Resumable):
    """A training: until the validation loss no longer falls, then with a falling learning rate.

    Attributes
    ----------
    trainer : Trainer
        The trainer of the model.

    n_epochs : int
        Maximum number of epochs.

    tol : float, default=0.0
        Least decrease of the loss that counts.

    patience : float, default=inf
        Number of losses without such a decrease before training stops.

    name : str, default="final"
        A name that no other phase of the fit has.

    unwatched : float, default=0.0
        Share of the epochs, from the first on, whose losses are not compared.

    is_watched : bool, default=True
        Whether losses are compared. If not, the last model is kept.

    best_loss, best_state : float and dict or None
        The least loss so far, and the state of the model at it.

    reference : float
        The last loss that was lower by `tol` than the one before.

    n_waited : int
        Number of losses since then.
    """

    saved = ("best_loss", "best_state", "reference", "n_waited")

    trainer: Any
    n_epochs: int
    tol: float = 0.0
    patience: float = math.inf
    name: str = "final"
    unwatched: float = 0.0
    is_watched: bool = True

    def __post_init__(self) -> None:
        self.best_loss = self.reference = math.inf
        self.best_state: dict[str, Any] | None = None
        self.n_waited = 0

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

    def note(self, loss: float) -> bool:
        """Record the loss after an epoch, and return whether it no longer falls."""
        if loss < self.best_loss:
            state = self.trainer.model.state_dict()
            self.best_loss = loss
            self.best_state = {name: value.detach().clone() for name, value in state.items()}
        is_lower = loss < self.reference - self.tol
        self.reference = loss if is_lower else self.reference
        self.n_waited = 0 if is_lower else self.n_waited + 1
        return self.n_waited >= self.patience

    def restore(self) -> None:
        """Restore the best state of the model."""
        if self.best_state is not None:
            self.trainer.model.load_state_dict(self.best_state)

    @property
    def is_lost(self) -> bool:
        """Whether there is no model to keep, since a loss is not finite."""
        # A phase without any loss has not begun, or did not compare losses.
        has_loss = math.isfinite(self.best_loss) or self.n_waited == 0
        return not (self.trainer.is_finite and has_loss)

    def result(self) -> Trainer:
        """Return the trainer of the best model; raise an error if there is no model to keep."""
        if self.is_lost:
            raise FloatingPointError(diverged("The loss"))
        return self.trainer


class Selection(Resumable):
    """Keep the best of several trainings from different inits, and the logs of the others.

    Parameters
    ----------
    make_trainer : callable
        Maps the index of an init to its trainer, before training.

    Attributes
    ----------
    logs : list of list of dict
        The log of each finished init, in order.

    best : Trainer or None
        The trainer with the least loss so far.

    best_init, best_loss : int and float
        The index of the init of this trainer, and its loss.
    """

    saved = ("logs", "best_init", "best_loss")

    def __init__(self, make_trainer: Callable[[int], Trainer]) -> None:
        self.make_trainer = make_trainer
        self.logs: list[list[dict[str, float]]] = []
        self.best: Trainer | None = None
        self.best_init, self.best_loss = 0, math.inf

    def offer(self, trainer: Trainer, loss: float) -> None:
        """Record a finished init."""
        if loss < self.best_loss:
            self.best, self.best_init, self.best_loss = trainer, len(self.logs), loss
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
        return super().state_dict() | {"best": self.best and self.best.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        super().load_state_dict({name: state[name] for name in self.saved})
        if state["best"] is not None:
            self.best = self.make_trainer(self.best_init)
            self.best.load_state_dict(state["best"])


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

    def __init__(self, estimator, samples, scaling, weights, model=None, *, progress, processes):
        self.estimator, self.progress, self.processes = estimator, progress, processes
        self.stopped = False
        self.trainer: Any = None
        self.parts: dict[str, Any] = {}
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

    def track(self, name: str, part: Any) -> Any:
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
        self.track(phase.name, phase)
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
                    self.stopped = bool(self.processes.from_first(stops))
                    is_over = False
                    if is_whole and stage.is_watched:
                        loss = self.estimator._validation_loss(trainer.model, self.data.valid)
                        no_longer_falls = phase.note(self.processes.from_first(loss))
                        is_over = no_longer_falls and stage.may_end
                    if any(time.monotonic() - self.last_kept >= c.interval for c in self.names):
                        self._keep(trainer, stage.name, is_over)
                    if is_over or self.stopped:
                        break
        phase.restore()
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

    def _interrupted(self, stacklevel: int) -> Trainer:
        """Return the best trainer so far, in its best state, and warn of an interruption.

        If nothing was learned yet, raise the interruption.
        """
        trainer, parts = self.trainer, list(self.parts.values())
        finished = [part.best for part in parts if isinstance(part, Selection) and part.best]
        phases = [part for part in parts if isinstance(part, Phase) and part.best_state]
        if finished:
            # Inits can be compared only once they are finished.
            trainer = finished[-1]
        elif phases:
            phases[-1].restore()
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
