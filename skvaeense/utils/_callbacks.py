"""The only importer of scikit-learn's callbacks, and the progress of fits and chunks of samples."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from sklearn import callback
from sklearn.callback import CallbackSupportMixin, ProgressBar

from skvaeense.utils._typing import FloatArray

# Names that other files import from scikit-learn through this file.
__all__ = ["CallbackSupportMixin"]

# The attribute in which an estimator keeps its callbacks.
CALLBACKS = "_skl_callbacks"
# The innermost fit in progress.
_fit: ContextVar["FitProgress | None"] = ContextVar("fit", default=None)
# The callbacks of `show_progress`.
_observers: ContextVar[tuple[Any, ...]] = ContextVar("observers", default=())

Fit = TypeVar("Fit", bound=Callable[..., Any])
# The decorator that sets callbacks up before a fit, and tears them down after it, with a type.
with_callbacks: Callable[[Fit], Fit] = callback.with_callbacks


class FitProgress:
    """The phases of a fit, reported to callbacks and, with `verbose`, on the screen.

    Each phase is a task of scikit-learn's callbacks, and each of its steps a subtask. A phase of
    unknown length has a hundred subtasks. On the screen all phases have equal parts of the bar.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that is fitted, with a parameter `verbose`.

    phases : sequence of str
        Names of the phases, in order.

    is_first : bool
        Whether this process reports; of several processes only the first one does.
    """

    def __init__(self, estimator: Any, phases: Sequence[str], *, is_first: bool) -> None:
        self._estimator, self._phases = estimator, phases
        self._verbose, self._outer = estimator.verbose if is_first else 0, _fit.get()
        self._index, self._fraction, self._n_done, self._stops = 0, 0.0, 0, False
        self._n_steps, self._is_known = 100, False
        self._context: Any = None
        self._phase: Any = None
        self._began = self._phase_began = time.monotonic()
        self._shown = -math.inf
        if is_first:
            self._context = estimator._init_callback_context(max_subtasks=len(phases))
            self._call(self._context.call_on_fit_task_begin)

    def begin(self, phase: str, n_steps: int | None = None) -> None:
        """Begin a phase with at most `n_steps` steps, None if unknown; the last phase is over."""
        self._end_phase()
        self._index = self._phases.index(phase)
        self._n_steps, self._is_known = n_steps or 100, bool(n_steps)
        self._fraction, self._n_done, self._phase_began = 0.0, 0, time.monotonic()
        if self._context is not None:
            self._phase = self._context.subcontext(phase, max_subtasks=self._n_steps)
            self._call(self._phase.call_on_fit_task_begin)
        self._show(phase, is_due=True)

    def step(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Report an epoch, and return whether a callback has asked to stop.

        `attributes` is called for a callback that wants the estimator as it would be if training
        ended here; it returns the fitted attributes as a dict.
        """
        self._subtask("epoch", attributes)
        self._fraction = self._n_done / self._n_steps
        self._show(self._phases[self._index], is_due=self._verbose > 1)
        return self._stops

    def advance(
        self, words: str | None = None, fraction: float | None = None, *, half: float = 5.0
    ) -> None:
        """Report a piece of work inside a phase; of unknown length, it is never quite done.

        It counts as half done after `half` seconds. An inner fit gives its phase, and the fraction
        of it that is done.
        """
        if fraction is not None:
            self._fraction = max(self._fraction, fraction)
        elif not self._is_known:
            seconds = time.monotonic() - self._phase_began
            self._fraction = seconds / (seconds + half)
        while not self._is_known and self._n_done < int(self._fraction * self._n_steps):
            self._subtask("part")
        self._show(words or self._phases[self._index])

    def end(self) -> None:
        """Report the end of the fit."""
        self._end_phase()
        self._index, self._fraction = len(self._phases), 0.0
        if self._context is not None:
            self._call(self._context.call_on_fit_task_end)
        self._show("done", is_due=True)

    def fit_part(self, part: Any, X: FloatArray, params: dict[str, Any]) -> None:
        """Fit an estimator that is part of this one, as the only step of the present phase."""
        if self._phase is None:
            part.fit(X, **params)
            return
        step = self._phase.subcontext(f"fit {type(part).__name__}")
        with step.propagate_callback_context(part), _task(self._estimator, step):
            part.fit(X, **params)

    def _subtask(self, name: str, attributes: Callable[[], dict[str, Any]] | None = None) -> None:
        self._n_done += 1
        if self._phase is None:
            return
        task = self._phase.subcontext(name)
        self._call(task.call_on_fit_task_begin)
        end = partial(task.call_on_fit_task_end, reconstruction_attributes=attributes)
        self._stops |= self._call(end)

    def _call(self, hooks: Callable[..., Any]) -> Any:
        """Call hooks of the callbacks; what a callback fits is not a part of this fit."""
        token = _fit.set(None)
        try:
            return hooks(estimator=self._estimator)
        finally:
            _fit.reset(token)

    def _end_phase(self) -> None:
        if self._phase is not None:
            self._call(self._phase.call_on_fit_task_end)
            self._phase = None

    def _show(self, words: str, *, is_due: bool = False, width: int = 24) -> None:
        """Show the progress, at most ten times a second on a terminal, or in a line a second."""
        done, now = (self._index + self._fraction) / len(self._phases), time.monotonic()
        if self._outer is not None:
            self._outer.advance(words, done)
        has_bar = self._verbose == 1 and sys.stdout.isatty()
        is_due |= now - self._shown > (0.1 if has_bar else 1.0)
        if not (self._verbose and is_due):
            return
        self._shown = now
        text = f"{type(self._estimator).__name__}: {words}, {int(100 * done)} %"
        text = f"{text}, {now - self._began:.1f} s"
        if has_bar:
            full = int(done * width)
            bar = "#" * full + "-" * (width - full)
            text, end = f"\r[{bar}] {text}\x1b[K", "\n" if words == "done" else ""
        else:
            end = "\n"
        sys.stdout.write(text + end)
        sys.stdout.flush()


@contextmanager
def fit_progress(
    estimator: Any, phases: Sequence[str], *, is_first: bool = True
) -> Iterator[FitProgress]:
    """Report the progress of a fit in this context; see `FitProgress`."""
    progress = FitProgress(estimator, phases, is_first=is_first)
    token = _fit.set(progress)
    try:
        yield progress
        progress.end()
    finally:
        _fit.reset(token)


def advance() -> None:
    """Report to the fit in progress, if there is one, that some work is done."""
    progress = _fit.get()
    if progress is not None:
        progress.advance()


@contextmanager
def _task(estimator: CallbackSupportMixin, context: Any) -> Iterator[None]:
    """Report the beginning and the end of a task to its callbacks."""
    context.call_on_fit_task_begin(estimator=estimator)
    yield
    context.call_on_fit_task_end(estimator=estimator)


@contextmanager
def show_progress(*callbacks: Any) -> Iterator[None]:
    """Show the progress of methods of fitted estimators.

    scikit-learn's callbacks report on `fit`. Inside this context they also report on `transform`,
    `inverse_transform`, `predict`, `score_samples` and the other methods that this library
    computes in chunks of a few thousand samples. A call of a method is a task, and each chunk of
    samples is a subtask of it. Return values of callbacks are ignored here, so that no callback can
    stop a call halfway. Training is reported to the estimator's own callbacks: see `set_callbacks`.

    Parameters
    ----------
    *callbacks : callbacks of scikit-learn
        Callbacks to use; none means ``sklearn.callback.ProgressBar()``, which needs rich.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    TypeError
        If a callback does not have scikit-learn's methods.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.inspection import show_progress
    >>> class Log(list):
    ...     def setup(self, estimator, context): ...
    ...     def teardown(self, estimator, context): ...
    ...     def on_fit_task_begin(self, estimator, context):
    ...         self.append(context.task_name)
    ...     def on_fit_task_end(self, estimator, context): ...
    >>> X = make_linear_subspaces(600, dims=(1, 2), n_features=8, random_state=0)[0]
    >>> vaeense = VAEenseTransformer(random_state=0).partial_fit(X)
    >>> log = Log()
    >>> with show_progress(log):
    ...     codes = vaeense.transform(np.tile(X, (300, 1)))
    >>> log
    ['chunks of samples', 'chunk', 'chunk']

    With ``with show_progress():`` there is a progress bar.
    """
    # Checks the callbacks as `set_callbacks` of an estimator does.
    CallbackSupportMixin().set_callbacks(*callbacks)
    token = _observers.set(callbacks or (ProgressBar(),))
    try:
        yield
    finally:
        _observers.reset(token)


@contextmanager
def row_chunks(estimator: Any, n_samples: int, n_rows: int) -> Iterator[Iterable[slice]]:
    """Hand out the rows of a method in chunks, and report each chunk to `show_progress`.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that has the method.

    n_samples : int
        Number of all rows.

    n_rows : int
        Number of rows in a chunk.

    Yields
    ------
    iterable of slice
        The chunks of rows, in the order of computation.
    """
    chunks = [slice(start, start + n_rows) for start in range(0, n_samples, n_rows)]
    observers = _observers.get()
    if not observers:
        yield chunks
        return
    # The estimator's own callbacks are for its fit.
    observed = copy.copy(estimator).set_callbacks(*observers)
    vars(observed).pop("_parent_callback_ctx", None)
    # Loops inside a chunk are not reported: a bar for each would come and go.
    token = _observers.set(())
    try:
        context = observed._init_callback_context("chunks of samples", max_subtasks=len(chunks))
        with _task(observed, context):
            yield _reported(observed, context, chunks)
    finally:
        _observers.reset(token)
        _tear_down(observed)


def _reported(estimator: Any, context: Any, chunks: list[slice]) -> Iterator[slice]:
    for chunk in chunks:
        with _task(estimator, context.subcontext(task_name="chunk")):
            yield chunk


@with_callbacks
def _tear_down(estimator: Any) -> None:
    """Do nothing: scikit-learn tears callbacks down afterwards."""
