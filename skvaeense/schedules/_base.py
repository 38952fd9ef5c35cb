"""The interface between the trainer and a schedule."""

from abc import abstractmethod

from skvaeense.utils._validation import Specification


class Schedule(Specification):
    """Specify how the learning rate changes during training.

    To add one, derive from this class and write `factor`.

    See Also
    --------
    Cosine : The default.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.schedules import Schedule
    >>> class Linear(Schedule):
    ...     def factor(self, fraction_done):
    ...         return 1 - fraction_done
    >>> SparseAutoencoder(schedule=Linear()).get_params()["schedule"]
    Linear()
    """

    @abstractmethod
    def factor(self, fraction_done: float) -> float:
        """Return the factor on the peak learning rate.

        Parameters
        ----------
        fraction_done : float
            Share of the training that is done, in [0, 1).

        Returns
        -------
        float
            Factor, at least 0.
        """
