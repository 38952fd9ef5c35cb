"""What became of the losses during training, as arrays."""

from typing import TYPE_CHECKING

import numpy as np

from skvaeense.utils._typing import BoolArray, DoubleArray

if TYPE_CHECKING:
    import pandas as pd


class History(dict[str, DoubleArray]):
    """Hold one 1-d float64 array for each quantity, with one entry for each epoch.

    The epochs of starts that were not kept come first, one start after the other. Those of the kept
    model come last, from its start through its last phase.
    """

    @classmethod
    def from_epochs(cls, epochs, terms):
        """Return the history of epochs.

        Parameters
        ----------
        epochs : list of Epoch
            Every epoch of the fit.

        terms : NamedTuple of ndarray of shape (n_epochs,)
            Quantities by their names.

        Returns
        -------
        History
            The quantities, "start" (which start an epoch belongs to, from 0), and "final" (1 in the
            last phase, else 0).
        """
        history = cls(terms._asdict())
        history["start"] = np.array([epoch.start for epoch in epochs], dtype=float)
        history["final"] = np.array([epoch.final for epoch in epochs], dtype=float)
        return history

    @property
    def kept(self) -> BoolArray:
        """Mask of the epochs of the kept model: those of the start that training ended with."""
        return self["start"] == self["start"][-1:]

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas.DataFrame with one row for each epoch; ImportError without pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas; install it with `pip install skvaeense[pandas]`. Without "
                "it the history is a dict of arrays."
            ) from error
        return pd.DataFrame(dict(self))

    def __repr__(self) -> str:
        n_epochs = len(next(iter(self.values()), ()))
        return f"<{type(self).__name__} of {n_epochs} epochs: {', '.join(self)}>"
