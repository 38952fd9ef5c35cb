"""The classes that files may name: those of the package, a few of torch's, and the user's own."""

import functools
import importlib
import inspect
import pkgutil

import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn

import skvaeense
from skvaeense._persistence._graph import place

# Rooms whose objects are no part of an estimator.
WITHOUT_STATE = {"_kernels", "_persistence", "datasets", "export", "inspection", "metrics"}
FOREIGN = {
    "sklearn.neighbors.NearestNeighbors": NearestNeighbors,
    "torch.nn.Conv2d": nn.Conv2d,
    "torch.nn.Identity": nn.Identity,
    "torch.nn.Linear": nn.Linear,
    "torch.nn.ModuleList": nn.ModuleList,
    "torch.nn.ReLU": nn.ReLU,
    "torch.nn.Sequential": nn.Sequential,
    "torch.nn.SiLU": nn.SiLU,
    "torch.optim.Adam": torch.optim.Adam,
}


class Registry:
    """Find the class of a name, and the name of a class.

    Names come from the code, and never the other way: nothing is imported because a file says so.

    Parameters
    ----------
    trusted : iterable of classes
        The user's own.
    """

    def __init__(self, trusted):
        trusted = list(trusted)
        if not all(inspect.isclass(cls) for cls in trusted):
            raise TypeError(f"trusted must be a list of classes, got {trusted!r}.")
        self.trusted = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in trusted}
        # In a clash of names it is the package's class.
        self._classes = self.trusted | builtin_classes()
        self._names = {cls: name for name, cls in self._classes.items()}

    def name_of(self, cls, where):
        """Return the name of a class, or refuse to save its objects."""
        if cls not in self._names:
            raise TypeError(
                f"{place(where)} is a {cls.__module__}.{cls.__qualname__}, which is neither a "
                "class that skvaeense knows how to save nor trusted. If it is yours, give "
                f"trusted=[{cls.__qualname__}] to save and to load; else set it to what can be "
                "saved."
            )
        return self._names[cls]

    def class_of(self, name, where):
        """Return the class of a name, or refuse to load its objects."""
        if name not in self._classes:
            raise ValueError(
                f"{place(where)} is a {name!r}, which this version of skvaeense does not know. If "
                "it is a class of yours, give it to load as trusted=[...]"
            )
        return self._classes[name]

    def knows_all(self, classes):
        """Return whether all these classes are built in."""
        return set(classes) <= set(builtin_classes().values())


@functools.cache
def builtin_classes():
    """Return the classes by name: those that the package defines itself, and a few others.

    The private parts of their places are left out of the names, so that a class may move between
    files: ``skvaeense.penalties.L1``.
    """
    classes = dict(FOREIGN)
    for module in pkgutil.walk_packages(skvaeense.__path__, "skvaeense."):
        if module.name.split(".")[1] in WITHOUT_STATE:
            continue
        for cls in vars(importlib.import_module(module.name)).values():
            if not inspect.isclass(cls) or cls.__module__ != module.name or _is_private(cls):
                continue
            public = [part for part in module.name.split(".") if not part.startswith("_")]
            classes[".".join([*public, cls.__name__])] = cls
    return classes


def _is_private(cls):
    return cls.__name__.startswith("_") or inspect.isabstract(cls)
