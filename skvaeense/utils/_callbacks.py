"""The only importer of scikit-learn's callbacks, and how a training tells them of its epochs."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sklearn import callback
from sklearn.callback import CallbackSupportMixin

from skvaeense.utils._typing import FloatArray

__all__ = ["CALLBACKS", "CallbackSupportMixin", "EpochReports", "fit_part", "with_callbacks"]

# The attribute in which an estimator has its callbacks.
CALLBACKS = "_skl_callbacks"

T = TypeVar("T")
Fit = TypeVar("Fit", bound=Callable[..., Any])


def with_callbacks(fit: Fit) -> Fit:
    """Return `fit` with scikit-learn's callbacks set up before, and torn down after it."""
    managed: Fit = callback.with_callbacks(fit)
    return managed


class EpochReports:
    """Tell the callbacks of an estimator of every epoch of one fit, until one asks to stop.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that is fitted.

    n_epochs : int
        Number of epochs of all runs together, if none ends early.
    """

    def __init__(self, estimator: CallbackSupportMixin, n_epochs: int) -> None:
        self.stopped = False
        self._estimator = estimator
        self._context = estimator._init_callback_context(max_subtasks=n_epochs)
        self._context.call_on_fit_task_begin(estimator=estimator)

    def walk(self, epochs: Iterable[T], attributes: Callable[[], dict[str, Any]]) -> Iterator[T]:
        """Yield what `epochs` yields, and report each.

        `attributes` is called for a callback that wants the estimator as it would be if training
        ended here; it returns the fitted attributes as a dict.
        """
        if self.stopped:
            return
        for loss in epochs:
            step = self._context.subcontext(task_name="epoch")
            step.call_on_fit_task_begin(estimator=self._estimator)
            self.stopped = step.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=attributes
            )
            yield loss
            if self.stopped:
                return

    def end(self) -> None:
        """Report the end of the fit."""
        self._context.call_on_fit_task_end(estimator=self._estimator)


def fit_part(estimator: CallbackSupportMixin, part: Any, X: FloatArray) -> None:
    """Fit an estimator that is part of another, under the callbacks of the whole.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The whole.

    part : estimator
        What is fitted.

    X : ndarray of shape (n_samples, n_features)
        Training samples.
    """
    context = estimator._init_callback_context(max_subtasks=1)
    context.call_on_fit_task_begin(estimator=estimator)
    step = context.subcontext(task_name=f"fit {type(part).__name__}")
    with step.propagate_callback_context(part):
        step.call_on_fit_task_begin(estimator=estimator)
        part.fit(X)
        step.call_on_fit_task_end(estimator=estimator)
    context.call_on_fit_task_end(estimator=estimator)
