"""What a training asks of a callback that keeps it, so that it goes on where it was broken off."""

import time
from abc import ABC, abstractmethod
from typing import Any

from skvaeense.utils._callbacks import CALLBACKS


class Keeper(ABC):
    """A callback that keeps trainings.

    Of scikit-learn's moments of a fit it needs none: the training asks it by itself. One keeper may
    serve several fits at once, as in a search, so what belongs to a fit is kept in `Keeping`.

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

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing after a fit, where scikit-learn calls this.

        Parameters
        ----------
        estimator : estimator
            What is fitted.

        context : sklearn.callback.CallbackContext
            The task.
        """
        return

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing before a task of a fit, where scikit-learn calls this.

        Parameters
        ----------
        estimator : estimator
            What is fitted.

        context : sklearn.callback.CallbackContext
            The task.
        """
        return

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing after a task of a fit, where scikit-learn calls this.

        Parameters
        ----------
        estimator : estimator
            What is fitted.

        context : sklearn.callback.CallbackContext
            The task.
        """
        return


class Keeping:
    """Keep one fit with all keepers among the callbacks of its estimator.

    Parameters
    ----------
    estimator : estimator
        Before its fit.

    facts : list
        Numbers, arrays and modules that its outcome depends on, besides its parameters.
    """

    def __init__(self, estimator: Any, facts: list[Any]) -> None:
        callbacks = vars(estimator).get(CALLBACKS, ())
        keepers = [callback for callback in callbacks if isinstance(callback, Keeper)]
        self._names = {keeper: keeper.name(estimator, facts) for keeper in keepers}
        self._last = time.monotonic()

    @property
    def latest(self) -> Any:
        """The estimator that was kept last in a fit that was broken off, or None."""
        kept = (keeper.latest(name) for keeper, name in self._names.items())
        return next((estimator for estimator in kept if estimator is not None), None)

    @property
    def is_due(self) -> bool:
        """Whether a keeper wants to keep the present state."""
        passed = time.monotonic() - self._last
        return any(passed >= keeper.interval for keeper in self._names)

    def keep(self, draft: Any) -> None:
        """Keep the estimator that `draft` makes."""
        if self._names:
            estimator = draft()
            for keeper, name in self._names.items():
                keeper.keep(name, estimator)
            self._last = time.monotonic()
