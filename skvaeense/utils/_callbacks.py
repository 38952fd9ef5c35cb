"""The only importer of scikit-learn's callbacks, and the progress of fits."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from skvaeense.utils._typing import FloatArray

try:
    from sklearn import callback
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
except ImportError:
    callback = None

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Take callbacks where scikit-learn, before 1.9, has none; a fit reads `Checkpoint`."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Set callbacks, and return the estimator."""
            self._skl_callbacks = callbacks
            return self


Fit = TypeVar("Fit", bound=Callable[..., Any])


def with_callbacks(fit: Fit) -> Fit:
    """Return a fit that sets callbacks up before it, and tears them down after it."""
    decorated: Fit = fit if callback is None else callback.with_callbacks(fit)
    return decorated


# The attribute in which an estimator keeps its callbacks.
CALLBACKS = "_skl_callbacks"
# The innermost fit in progress.
_fit: ContextVar["FitProgress | None"] = ContextVar("fit", default=None)


class FitProgress:
    """The phases of a fit, reported to callbacks and, with `verbose`, on the screen.

    Each phase is a task of scikit-learn's callbacks, and each epoch a subtask. On the screen all
    phases have equal parts of the bar.

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
        self.is_shown = bool(self._verbose) or self._outer is not None
        self._index, self._fraction, self._n_done, self._stops = 0, 0.0, 0, False
        self._n_steps: int | None = None
        self._context: Any = None
        self._phase: Any = None
        self._began = self._phase_began = time.monotonic()
        self._shown = -math.inf
        if is_first and hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(max_subtasks=len(phases))
            self._call(self._context.call_on_fit_task_begin)

    def begin(self, phase: str, n_steps: int | None = None) -> None:
        """Begin a phase with at most `n_steps` steps, None if unknown; the last phase is over."""
        self._end_phase()
        self._index = self._phases.index(phase)
        self._n_steps = n_steps
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
        self._n_done += 1
        self._fraction = self._n_done / (self._n_steps or self._n_done)
        if self._phase is not None:
            task = self._phase.subcontext("epoch")
            self._call(task.call_on_fit_task_begin)
            end = partial(task.call_on_fit_task_end, reconstruction_attributes=attributes)
            self._stops |= self._call(end)
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
        elif self._n_steps is None:
            seconds = time.monotonic() - self._phase_began
            self._fraction = seconds / (seconds + half)
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
        with step.propagate_callback_context(part):
            step.call_on_fit_task_begin(estimator=self._estimator)
            part.fit(X, **params)
            step.call_on_fit_task_end(estimator=self._estimator)

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
    # A fit that shows nothing need not hear of each piece of its work.
    token = _fit.set(progress if progress.is_shown else None)
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
