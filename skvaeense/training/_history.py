"""The losses during training, as arrays."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from skvaeense.utils._files import optional_import
from skvaeense.utils._records import Kept
from skvaeense.utils._typing import BoolArray, DoubleArray

if TYPE_CHECKING:
    import pandas as pd


class History(Kept, dict[str, DoubleArray]):
    """Hold one 1-d float64 array for each quantity, with one entry for each epoch.

    Long epochs have several entries. The epochs of inits that were not kept come first, one init
    after the other. The epochs of the kept model come last.
    """

    @classmethod
    def from_log(cls, log):
        """Return the history of epochs.

        Parameters
        ----------
        log : list of dict of float
            The quantities of each epoch, including "init", the index of its init.

        Returns
        -------
        History
            One array for each quantity.
        """
        names = log[0] if log else ("loss", "init", "epoch", "step")
        return cls({name: np.array([epoch[name] for epoch in log], dtype=float) for name in names})

    def extended(self, added: "History") -> "History":
        """Return the history with further entries.

        The cost does not depend on the number of epochs: arrays share memory with the history
        before, which has room for as many epochs again, marked by NaN.

        Parameters
        ----------
        added : History
            The quantities of the further entries, all finite.

        Returns
        -------
        History
            The longer history. This one does not change.
        """
        longer = type(self)()
        for name, own in self.items():
            n, room = len(own), cast(Any, own.base)
            stop = n + len(added[name])
            is_own = isinstance(room, np.ndarray) and room.dtype == own.dtype and room.ndim == 1
            if not (is_own and room.flags.writeable and len(room) >= stop and np.isnan(room[n])):
                room = np.full(2 * stop, np.nan)
                room[:n] = own
            room[n:stop] = added[name]
            longer[name] = room[:stop]
        return longer

    @property
    def kept(self) -> BoolArray:
        """Mask of the epochs of the kept model, whose init comes last."""
        return self["init"] == self["init"][-1:]

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas.DataFrame with a row for each epoch; raise ImportError without pandas."""
        frame: pd.DataFrame = optional_import("pandas", "to_frame", "pandas").DataFrame(dict(self))
        return frame

    def __repr__(self) -> str:
        n_epochs = len(next(iter(self.values()), ()))
        return f"<{type(self).__name__} of {n_epochs} epochs: {', '.join(self)}>"
