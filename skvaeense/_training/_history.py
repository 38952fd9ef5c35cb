"""What became of the losses during training, as arrays."""

import numpy as np


class History(dict):
    """Hold one 1-d float64 array for each quantity, with one entry for each epoch.

    The epochs of starts that were not kept come first, one start after the other. Those of the kept
    model come last, from its start through its last phase.
    """

    @classmethod
    def from_epochs(cls, epochs, names, columns):
        """Return the history of epochs.

        Parameters
        ----------
        epochs : list of Epoch
            Every epoch of the fit.

        names : sequence of str
            Names of quantities.

        columns : sequence of array-like of shape (n_epochs,)
            Their values.

        Returns
        -------
        History
            The quantities, "start" (which start an epoch belongs to, from 0), and "final" (1 in the
            last phase, else 0).
        """
        history = cls(zip(names, columns, strict=True))
        history["start"] = [epoch.start for epoch in epochs]
        history["final"] = [epoch.final for epoch in epochs]
        return cls((name, np.array(column, dtype=float)) for name, column in history.items())

    @property
    def kept(self):
        """Mask of the epochs of the kept model: those of the start that training ended with."""
        return self["start"] == self["start"][-1]

    def to_frame(self):
        """Return a pandas.DataFrame with one row for each epoch; ImportError without pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas; install it with `pip install skvaeense[pandas]`. Without "
                "it the history is a dict of arrays."
            ) from error
        return pd.DataFrame(dict(self))

    def __repr__(self):
        n_epochs = len(next(iter(self.values()), ()))
        return f"<{type(self).__name__} of {n_epochs} epochs: {', '.join(self)}>"
