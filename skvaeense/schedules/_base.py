"""What the trainer asks of a schedule."""

from abc import abstractmethod

from skvaeense.utils._validation import Specification


class Schedule(Specification):
    """Say how the learning rate changes during training.

    Derive from it and write `factor` to add one.

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
        """Return what the peak learning rate is multiplied by.

        Parameters
        ----------
        fraction_done : float
            Share of the training that is done, in [0, 1).

        Returns
        -------
        float
            Factor, at least 0.
        """
