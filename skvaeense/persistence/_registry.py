"""The classes that files may name: those of the package that hold state, and the user's own."""

import functools
import inspect
import sys
from collections.abc import Iterable

from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors

from skvaeense.mixture._density import MixtureDensity
from skvaeense.models import Model
from skvaeense.priors._code_mixture import CodeMixture
from skvaeense.priors._samples import TrainingRows
from skvaeense.training._history import History
from skvaeense.training._locations import Locations

# What files may name of the package, and besides any class of the room of dimension methods, which
# keep in such objects what they have learned.
KINDS = BaseEstimator | Model | History | Locations | TrainingRows | CodeMixture | MixtureDensity
ROOM = "skvaeense.dimension."


def place(where: str) -> str:
    """Return how messages call an attribute path."""
    return where or "the estimator"


class Registry:
    """Find the class of a name, and the name of a class.

    Names come from the code, and never the other way: nothing is imported because a file says so.

    Parameters
    ----------
    trusted : iterable of classes
        The user's own.
    """

    def __init__(self, trusted: Iterable[type]) -> None:
        trusted = list(trusted)
        if not all(inspect.isclass(cls) for cls in trusted):
            raise TypeError(f"trusted must be a list of classes, got {trusted!r}.")
        own = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in trusted}
        # In a clash of names it is the package's class.
        self.classes = own | builtin_classes()
        self.names = {cls: name for name, cls in self.classes.items()}

    def name_of(self, cls: type, where: str) -> str:
        """Return the name of a class, or refuse to save its objects."""
        if cls not in self.names:
            raise TypeError(
                f"{place(where)} is a {cls.__module__}.{cls.__qualname__}, which is neither a "
                "class that skvaeense knows how to save nor trusted. If it is yours, give "
                f"trusted=[{cls.__qualname__}] to save and to load; else set it to what can be "
                "saved."
            )
        return self.names[cls]

    def class_of(self, name: str, where: str) -> type:
        """Return the class of a name, or refuse to load its objects."""
        if name not in self.classes:
            raise ValueError(
                f"{place(where)} is a {name!r}, which this version of skvaeense does not know. If "
                "it is a class of yours, give it to load as trusted=[...]"
            )
        return self.classes[name]


@functools.cache
def builtin_classes() -> dict[str, type]:
    """Return by name the classes that the package defines itself, and the search for neighbours.

    Nothing is imported: what an estimator can hold has been. The private parts of their places are
    left out of the names, so that a class may move between files: ``skvaeense.penalties.L1``.
    """
    classes: dict[str, type] = {"sklearn.neighbors.NearestNeighbors": NearestNeighbors}
    for path, module in sorted(sys.modules.items()):
        for name, cls in vars(module).items() if path.startswith("skvaeense.") else ():
            is_own = inspect.isclass(cls) and cls.__module__ == path
            if not is_own or name.startswith("_") or inspect.isabstract(cls):
                continue
            if path.startswith(ROOM) or issubclass(cls, KINDS):
                public = [part for part in path.split(".") if not part.startswith("_")]
                classes[".".join([*public, name])] = cls
    return classes
