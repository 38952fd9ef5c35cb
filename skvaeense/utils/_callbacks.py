"""The only importer of scikit-learn's callbacks, and reports of epochs and chunks to them."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sklearn import callback
from sklearn.callback import CallbackSupportMixin, ProgressBar

from skvaeense.utils._processes import Processes, find_processes
from skvaeense.utils._typing import FloatArray

# Names that other files import from scikit-learn through this file.
__all__ = ["CallbackSupportMixin"]

# The attribute in which an estimator keeps its callbacks.
CALLBACKS = "_skl_callbacks"
# The callbacks of `show_progress`.
_observers: ContextVar[tuple[Any, ...]] = ContextVar("observers", default=())

Fit = TypeVar("Fit", bound=Callable[..., Any])


def with_callbacks(fit: Fit) -> Fit:
    """Return `fit` with scikit-learn's callbacks set up before it, and torn down after it."""
    return callback.with_callbacks(fit)


class EpochReports:
    """Report every epoch of one fit to the callbacks of an estimator.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that is fitted.

    n_epochs : int
        Total number of epochs, if no training run ends early.

    processes : Processes
        The processes that train together: the first process reports, and all stop if it does.
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
    """Fit an estimator that is part of another one, under the callbacks of the whole.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The whole estimator.

    part : estimator
        The part, which is fitted.

    X : ndarray of shape (n_samples, n_features)
        Training samples.

    params : dict
        Further arguments of the part's `fit`.
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
    ...     codes = vaeense.transform(np.tile(X, (20, 1)))
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
