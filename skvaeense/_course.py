"""The course of one fit: its starts, the best of them, and the last phase of that one."""

import copy
import math
import warnings
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skvaeense._training._devices import is_out_of_memory
from skvaeense._training._run import Epoch, Run
from skvaeense._training._stopping import Plateau
from skvaeense._training._threads import advance_together, n_at_once
from skvaeense.utils._callbacks import EpochReports
from skvaeense.utils._keeping import Keeping
from skvaeense.utils._ranks import Ranks, find_ranks

# Of what an estimator is given before training, not by it.
FEATURES = ("n_features_in_", "feature_names_in_")


@dataclass
class Progress:
    """How far a fit has come: all that is needed to go on with it.

    Attributes
    ----------
    random_state : RandomState
        As it was when the fit began.

    runs : list of Run
        The starts in training now, or the chosen one.

    tried : list of list of Epoch
        The epochs of the starts that are over.

    best : Run or None
        The best of them.

    best_loss : float
        By which it is the best.

    plateau : Plateau or None
        Of the last phase; None before and after it.

    part : int
        How many parts of the last phase are over.

    is_over : bool
        Whether the fit is.
    """

    random_state: np.random.RandomState
    runs: list[Run] = field(default_factory=list)
    tried: list[list[Epoch]] = field(default_factory=list)
    best: Run | None = None
    best_loss: float = math.inf
    plateau: Plateau | None = None
    part: int = 0
    is_over: bool = False


class Begin(NamedTuple):
    """What a fit begins with."""

    progress: Progress
    random_state: np.random.RandomState
    keeping: Keeping
    ranks: Ranks


def begin_or_go_on(estimator, X, scaling, module=None):
    """Return what a new fit begins with, or one that was broken off.

    Parameters
    ----------
    estimator : estimator
        Before its fit.

    X : Source or ndarray of shape (n_samples, n_features)
        Training samples.

    scaling : Scaling
        Their centre and scale.

    module : torch.nn.Module or None, default=None
        The fitted one that training goes on with, if it does.

    Returns
    -------
    Begin
        Progress, random state, and what keeps and shares the training.

    Raises
    ------
    ValueError
        If processes that train together have different samples, or find different checkpoints.
    """
    ranks = find_ranks()
    ranks.check_same(
        [*X.shape, scaling.scale, float(scaling.mean.sum())],
        "The processes that train together must be given the same samples: each takes its part of "
        "them by itself.",
    )
    keeping = Keeping(estimator, [X.shape, scaling.mean, scaling.scale, module])
    kept = keeping.latest
    ranks.check_same(
        [kept is not None, kept.n_iter_ if kept else 0],
        "The processes that train together find different checkpoints; their folder must be one "
        "that all of them see.",
    )
    if kept is not None:
        progress = kept._progress_
        return Begin(progress, copy.deepcopy(progress.random_state), keeping, ranks)
    random_state = ranks.same_random_state(check_random_state(estimator.random_state))
    return Begin(Progress(copy.deepcopy(random_state)), random_state, keeping, ranks)


class Course:
    """Train the starts of one fit, choose the best on held-out rows, and train it to the end.

    Parameters
    ----------
    estimator : estimator
        It gives the loss by which starts are compared (`_judge`), and that by which the last phase
        sees a plateau (`_held_out_loss`); it prepares the last phase (`_set_final_phase`), and
        says which attributes it has of a run (`_attributes`).

    begin : Begin
        Where to begin, what keeps the progress, and the processes that train together.

    train : Batches
        The rows that train.

    held_out : torch.Tensor of shape (n_held_out, n_features)
        The rows that judge.

    scaling : Scaling
        Between their units and the user's.

    batch_size : int
        Samples in each step.

    parts : sequence of (int, (float, float))
        The parts of the last phase: their epochs, and their progress at begin and end. A plateau
        ends a part that another follows.

    n_starts : int, default=1
        Number of starts.

    start_epochs : int, default=0
        Epochs of each start; 0 if there is but one, which has the last phase only.
    """

    def __init__(
        self,
        estimator,
        begin,
        *,
        train,
        held_out,
        scaling,
        batch_size,
        parts,
        n_starts=1,
        start_epochs=0,
    ):
        self.estimator = estimator
        self.progress, _, self.keeping, self.ranks = begin
        self.train = train
        self.held_out = held_out
        self.scaling = scaling
        self.batch_size = batch_size
        self.start_epochs = start_epochs
        self.parts = parts
        n_epochs = n_starts * start_epochs + sum(n for n, _ in parts)
        self.reports = EpochReports(estimator, n_epochs, self.ranks)

    def complete(self, runs, plateau):
        """Train, from the progress to the end.

        Parameters
        ----------
        runs : iterator of Run
            The starts, at random weights, or the run that goes on from an earlier fit.

        plateau : Plateau
            Watches the last phase.

        Returns
        -------
        Run
            What the fit ends with, at its best state.

        Raises
        ------
        FloatingPointError
            If the loss becomes NaN or infinite.

        MemoryError
            If a step takes too much memory.
        """
        try:
            if not self.progress.is_over:
                self._go_through(runs, plateau)
            run = self.progress.runs[0]
            self.ranks.take_from_first(run.module.state_dict().values())
        except KeyboardInterrupt:
            run = self._interrupted()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(
                    f"A step of training with {self.batch_size} samples takes more memory than "
                    "there is. Lower batch_size, n_components or the width of the network."
                ) from error
            raise
        self.reports.end()
        return run

    def _go_through(self, runs, plateau):
        progress = self.progress
        if progress.plateau is None:
            self._choose(runs)
            (run,) = progress.runs
            if self.parts and not self.reports.stopped:
                self.estimator._set_final_phase(run)
                run.n_first = len(run.losses)
                progress.plateau = plateau
        if progress.plateau is not None:
            self._finish(*progress.runs)
        if not self.reports.stopped:
            progress.is_over = True
            self._keep()

    def _choose(self, runs):
        """Leave the best start as the only run."""
        progress = self.progress
        # Those that are over, or under way already, are made again, since the generator has to
        # draw what it drew.
        runs = islice(runs, len(progress.tried) + len(progress.runs), None)
        if not self.start_epochs:
            progress.runs = progress.runs or list(islice(runs, 1))
            return
        # What is sent between processes has one order.
        n_together = n_at_once(self.held_out.device) if self.ranks.number == 1 else 1
        while group := progress.runs or list(islice(runs, n_together)):
            for _ in self._walk(group, self.start_epochs):
                pass
            if not group[0].losses:
                break  # A callback has stopped the training.
            for run in group:
                run.rest()
                # Only its epochs are kept of a start, not its module.
                progress.tried.append(run.trail)
                loss = self.estimator._judge(run, self.held_out) if run.is_finite else math.inf
                loss = self.ranks.agree(loss)
                if loss < progress.best_loss:
                    progress.best, progress.best_loss = run, loss
            progress.runs = []
        best = progress.best
        if best is None:
            raise FloatingPointError(diverged("The loss of every start"))
        others = [trail for start, trail in enumerate(progress.tried) if start != best.start]
        best.rivals = tuple(epoch for trail in others for epoch in trail)
        progress.runs, progress.best, progress.tried = [best], None, []

    def _finish(self, run):
        """Train a run to its end: until a plateau, then with a falling learning rate."""
        progress, plateau = self.progress, self.progress.plateau
        for part, (n_epochs, span) in list(enumerate(self.parts, 1))[progress.part :]:
            for _ in self._walk([run], n_epochs, span):
                loss = self.ranks.agree(self.estimator._held_out_loss(run, self.held_out))
                if plateau.is_reached(loss, run.module) and part < len(self.parts):
                    break
            run.rest()
            progress.part = part
        if not (math.isfinite(plateau.best_loss) and run.is_finite):
            raise FloatingPointError(diverged("The loss"))
        plateau.restore(run.module)
        progress.plateau = None

    def _interrupted(self):
        """Return the best run so far, at its best; if there is none the interruption goes on."""
        progress = self.progress
        runs = [progress.best, *progress.runs] if progress.best else progress.runs
        run = next((run for run in runs if run.losses and run.is_finite), None)
        if run is None:
            raise
        run.rest()
        if progress.plateau is not None:
            progress.plateau.restore(run.module)
        warnings.warn(
            f"Training was interrupted after {len(run.losses)} epoch(s) of the model that is kept. "
            "The estimator has what was learned until then.",
            stacklevel=6,
        )
        return run

    def _walk(self, runs, n_epochs, span=(0.0, 1.0)):
        """Yield after each epoch of some runs at once, unless a callback has asked to stop."""
        self.progress.runs = runs
        walks = [
            run.epochs(
                self.train,
                n_epochs=n_epochs,
                batch_size=self.batch_size,
                span=span,
                ranks=self.ranks,
            )
            for run in runs
        ]

        def epochs():
            for moved in advance_together(walks):
                yield from (runs[i] for i in moved if runs[i].is_between_epochs)
                # Whoever walks has dealt with these epochs by now.
                if self.keeping.is_due:
                    self._keep()

        return self.reports.walk(epochs(), self._attributes)

    def _keep(self):
        if self.ranks.is_first:
            self.keeping.keep(self._draft)

    def _attributes(self, run):
        return self.estimator._attributes(run, self.held_out, self.scaling)

    def _draft(self):
        """Return the estimator as it would be if training ended here, with the progress."""
        draft = clone(self.estimator)
        vars(draft).update((k, v) for k, v in vars(self.estimator).items() if k in FEATURES)
        vars(draft).update(self._attributes(self.progress.best or self.progress.runs[0]))
        draft._progress_ = self.progress
        return draft


def diverged(subject):
    """Return the message for a loss that is not finite."""
    return (
        f"{subject} became NaN or infinite. Lower learning_rate_init, or look for samples far "
        "from all others: scaling is by one factor, and an outlier of many standard deviations "
        "makes gradients explode."
    )
