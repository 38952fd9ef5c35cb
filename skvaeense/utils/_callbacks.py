"""The only importer of scikit-learn's callbacks, and how a training tells them of its epochs."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sklearn import callback
from sklearn.callback import CallbackSupportMixin, ProgressBar

from skvaeense.utils._processes import Processes, find_processes
from skvaeense.utils._typing import FloatArray

# What is handed on from scikit-learn.
__all__ = ["CallbackSupportMixin"]

# The attribute in which an estimator has its callbacks.
CALLBACKS = "_skl_callbacks"
# The callbacks that `show_progress` has asked for.
_observers: ContextVar[tuple[Any, ...]] = ContextVar("observers", default=())

Fit = TypeVar("Fit", bound=Callable[..., Any])


def with_callbacks(fit: Fit) -> Fit:
    """Return `fit` with scikit-learn's callbacks set up before, and torn down after it."""
    managed: Fit = callback.with_callbacks(fit)
    return managed


class EpochReports:
    """Tell the callbacks of an estimator of every epoch of one fit.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that is fitted.

    n_epochs : int
        Number of epochs of all trainings together, if none ends early.

    processes : Processes
        The processes that train together: the first one reports, and all stop if it does.
    """

    def __init__(
        self, estimator: CallbackSupportMixin, n_epochs: int, processes: Processes
    ) -> None:
        self._estimator = estimator
        self._processes = processes
        if processes.is_first:
            self._context = estimator._init_callback_context(max_subtasks=n_epochs)
            self._context.call_on_fit_task_begin(estimator=estimator)

    def report(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Report an epoch, and return whether a callback asks to stop.

        `attributes` is called for a callback that wants the estimator as it would be if training
        ended here; it returns the fitted attributes as a dict.
        """
        stops = False
        if self._processes.is_first:
            step = self._context.subcontext(task_name="epoch")
            step.call_on_fit_task_begin(estimator=self._estimator)
            stops = step.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=attributes
            )
        return bool(self._processes.broadcast_scalar(stops))

    def end(self) -> None:
        """Report the end of the fit."""
        if self._processes.is_first:
            self._context.call_on_fit_task_end(estimator=self._estimator)


def fit_part(
    estimator: CallbackSupportMixin, part: Any, X: FloatArray, params: dict[str, Any]
) -> None:
    """Fit an estimator that is part of another, under the callbacks of the whole.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The whole.

    part : estimator
        What is fitted.

    X : ndarray of shape (n_samples, n_features)
        Training samples.

    params : dict
        Further arguments of its `fit`.
    """
    if not find_processes().is_first:
        part.fit(X, **params)
        return
    whole = estimator._init_callback_context(max_subtasks=1)
    with _task(estimator, whole):
        step = whole.subcontext(task_name=f"fit {type(part).__name__}")
        with step.propagate_callback_context(part), _task(estimator, step):
            part.fit(X, **params)


@contextmanager
def _task(estimator: CallbackSupportMixin, context: Any) -> Iterator[None]:
    """Tell the callbacks of a task of its begin and its end."""
    context.call_on_fit_task_begin(estimator=estimator)
    yield
    context.call_on_fit_task_end(estimator=estimator)


@contextmanager
def show_progress(*callbacks: Any) -> Iterator[None]:
    """Show how far the methods of fitted estimators have come.

    scikit-learn's callbacks speak of `fit`. Inside this context they are told also of `transform`,
    `inverse_transform`, `predict`, `score_samples` and the other methods that this library
    computes some thousand samples at a time: such a call is a task, and each chunk of samples a
    subtask of it. What a callback returns is ignored here, so none can stop a call half done.
    Training is reported to the callbacks of the estimator itself: see `set_callbacks`.

    Parameters
    ----------
    *callbacks : callbacks of scikit-learn
        Whom to tell; none means ``sklearn.callback.ProgressBar()``, which needs rich.

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
    ...     codes = vaeense.transform(np.tile(X, (20, 1)))
    >>> log
    ['chunks of samples', 'chunk', 'chunk']

    With ``with show_progress():`` there is a progress bar.
    """
    # This checks them as `set_callbacks` of an estimator does.
    CallbackSupportMixin().set_callbacks(*callbacks)
    token = _observers.set(callbacks or (ProgressBar(),))
    try:
        yield
    finally:
        _observers.reset(token)


@contextmanager
def row_chunks(estimator: Any, n_samples: int, n_rows: int) -> Iterator[Iterable[slice]]:
    """Hand out the rows of a method, some at a time, and tell `show_progress` of each.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        Whose method this is.

    n_samples : int
        Rows of all.

    n_rows : int
        Rows at a time.

    Yields
    ------
    iterable of slice
        The rows that are to be computed next.
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
    """Do nothing, after which scikit-learn tears callbacks down."""
