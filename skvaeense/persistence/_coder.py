"""Conversion of values to JSON nodes and named arrays, and the classes that files can name."""

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from torch import nn

import skvaeense
from skvaeense.nets.models import Model
from skvaeense.training._trainer import OPTIMIZERS, is_optimizer
from skvaeense.utils._callbacks import CALLBACKS
from skvaeense.utils._records import Kept, check_fitted, check_types

Array: TypeAlias = np.ndarray[Any, Any]
# Two functions for the values of some classes. The first returns the parts of a value by name. The
# second returns a value, given its class, and its parts by name; in a file the parts can be
# anything, so it checks them before use.
Kind: TypeAlias = tuple[Callable[[Any], dict[str, Any]], Callable[..., Any]]


class DamagedError(ValueError):
    """An error about a part of a file, which its message names."""


def named(where: str) -> str:
    """Return the name of a part, given the names and indices that lead to it, each after a dot."""
    return where.removeprefix(".") or "the estimator"


def known_classes(trusted: Iterable[type]) -> dict[str, type]:
    """Return the classes that files can name, of the package and of the user, by name.

    Only these classes are found by name: nothing is imported because a file names it.
    """
    trusted = list(trusted)
    if not all(inspect.isclass(cls) for cls in trusted):
        raise TypeError(f"trusted must be a list of classes, got {trusted!r}.")
    # If names clash, the class of the package counts.
    return {f"{cls.__module__}.{cls.__qualname__}": cls for cls in trusted} | builtin_classes()


@functools.cache
def builtin_classes() -> dict[str, type]:
    """Return the classes that files can name without trust: ours, and those of simple values.

    Names leave out private modules, so that a class can move between files:
    ``skvaeense.nets.penalties.L1``.
    """
    for name in skvaeense.__all__:
        # An estimator is imported with all classes that it can hold.
        getattr(skvaeense, name)
    found: list[type] = [BaseEstimator, Model, Kept]
    for cls in found:
        found += cls.__subclasses__()
    ours = [cls for cls in found if cls.__module__.startswith("skvaeense.")]
    classes: dict[str, type] = {f"torch.optim.{name}": cls for name, cls in OPTIMIZERS.items()}
    for cls in (*ours, *VALUES, *ARRAYS):
        path = [*cls.__module__.split("."), cls.__name__]
        classes[".".join(part for part in path if not part.startswith("_"))] = cls
    return classes


def kind_of(cls: type) -> Kind:
    """Return how values of a class are taken apart and made."""
    return VALUES.get(cls) or next(kind for base, kind in OBJECTS if issubclass(cls, base))


@dataclass
class Coder:
    """Convert values to nodes and arrays, and back.

    Attributes
    ----------
    classes : dict of str to type
        The classes that files can name.

    arrays : dict of str to ndarray
        C-contiguous arrays by place, read from a file or collected by `encode`.

    device : str or None, default=None
        The value of the parameter `device` of all estimators; None keeps the saved values.
    """

    classes: dict[str, type]
    arrays: dict[str, Array]
    device: str | None = None

    def __post_init__(self) -> None:
        # A class of the package keeps its public name, even if it is also trusted.
        self.names = {cls: name for name, cls in self.classes.items()}

    def encode(self, value: Any, where: str = "") -> Any:
        """Return the node of a value: of JSON's own types, or a dict with a class and its parts."""
        cls: Any = dict if type(value) is OrderedDict else type(value)
        if cls in (type(None), bool, int, float, str):
            return value
        if cls is list:
            return [self.encode(item, f"{where}.{i}") for i, item in enumerate(value)]
        # JSON has only strings as keys, and a dict with a class would look like another value.
        if cls is dict and "class" not in value and all(type(key) is str for key in value):
            return {key: self.encode(item, f"{where}.{key}") for key, item in value.items()}
        if is_optimizer(value):
            return {"class": self.name_of(value, where)}
        if isinstance(value, tuple(ARRAYS)) and not _are_strings(value):
            return self.keep(value, where)
        node = {"class": self.name_of(cls, where)}
        parts = kind_of(cls)[0](value)
        return node | {name: self.encode(part, where) for name, part in parts.items()}

    def name_of(self, cls: type, where: str) -> str:
        """Return the name of a class, or raise an error if its objects cannot be saved."""
        if cls in self.names:
            return self.names[cls]
        raise TypeError(
            f"{named(where)} is a {cls.__module__}.{cls.__qualname__}, which cannot be saved. If "
            f"the class is yours, pass trusted=[{cls.__qualname__}] to save and to load; otherwise "
            "use another object."
        )

    def keep(self, value: Any, where: str) -> dict[str, str]:
        """Keep an array, a number of numpy or a tensor, and return its node.

        The memory order is kept, since sums in another order can differ in the last bit.
        """
        cls = next(cls for cls in ARRAYS if isinstance(value, cls))
        array = np.asarray(value.detach().cpu() if cls is torch.Tensor else value)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"{named(where)} is an array of {array.dtype}, which cannot be saved.")
        name = named(where)
        while name in self.arrays:
            name += "_"
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        array = np.asarray(array.T if order == "F" else array, order="C")
        self.arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
        return {"class": self.name_of(cls, where), "array": name, "order": order}

    def decode(self, node: Any, where: str = "") -> Any:
        """Return the value of a node; its lists and dicts are changed in place, not copied."""
        if not isinstance(node, list | dict):
            return node
        if isinstance(node, list) or "class" not in node:
            for name in range(len(node)) if isinstance(node, list) else node:
                node[name] = self.decode(node[name], f"{where}.{name}")
            return node
        try:
            cls = self.class_of(node.pop("class"))
            return self.make(cls, {name: self.decode(node[name], where) for name in node})
        except (DamagedError, RecursionError):
            raise
        except Exception as error:
            raise DamagedError(f"{named(where)} is damaged: {error}") from error

    def class_of(self, name: str) -> type:
        """Return the class of a name, or raise an error if its objects cannot be loaded."""
        if name not in self.classes:
            raise ValueError(
                f"it is a {name!r}, which this version of skvaeense does not know. If the class is "
                "yours, pass it to load as trusted=[...]"
            )
        return self.classes[name]

    def make(self, cls: type, parts: dict[str, Any]) -> Any:
        """Return the value of a class with given parts, or a class of optimizers without parts."""
        if cls in ARRAYS and "array" in parts:
            return ARRAYS[cls](self.kept(**parts))
        if is_optimizer(cls) and not parts:
            return cls
        if self.device is not None and "device" in parts.get("parameters", ()):
            parts["parameters"]["device"] = self.device
        return kind_of(cls)[1](cls, **parts)

    def kept(self, array: str, order: str) -> Array:
        """Return an array that `keep` has kept, which only one node can name.

        What is made of arrays is then limited by their size.
        """
        if array not in self.arrays:
            raise ValueError(f"the array {array!r} is missing, or named twice")
        values = self.arrays.pop(array)
        return values.T if order == "F" else values


# --- values that are no objects -----------------------------------------------------------------


def _take_dict(value: dict[Any, Any]) -> dict[str, Any]:
    """Return the values of a dict whose keys count them, as in the state of an optimizer."""
    if list(value) != list(range(len(value))):
        raise TypeError(f"A dict with the keys {list(value)} cannot be saved; use texts as keys.")
    return {"items": list(value.values())}


def _random_state(cls: type, state: tuple[Any, ...]) -> np.random.RandomState:
    """Return a numpy RandomState with its position, from which it continues."""
    random_state = np.random.RandomState(0)
    random_state.set_state(state)
    # numpy does not check the position, and would read memory outside the state.
    if not 0 <= state[2] <= len(state[1]) or state[3] not in (0, 1):
        raise ValueError("it is not a valid state of a RandomState")
    return random_state


def _take_search(search: NearestNeighbors) -> dict[str, Any]:
    if search.get_params() != type(search)(n_neighbors=search.n_neighbors).get_params():
        raise ValueError(f"{search!r} cannot be saved; set only n_neighbors.")
    return {"n_neighbors": search.n_neighbors, "points": search._fit_X}


def _are_strings(value: Any) -> bool:
    """Return whether an array is a list of strings, such as feature names."""
    is_list = isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.ndim == 1
    return is_list and all(type(item) is str for item in value)


VALUES: dict[type, Kind] = {
    tuple: (lambda value: {"items": list(value)}, lambda cls, items: tuple(items)),
    dict: (_take_dict, lambda cls, items: dict(enumerate(items))),
    np.random.RandomState: (lambda value: {"state": value.get_state()}, _random_state),
    NearestNeighbors: (
        _take_search,
        lambda cls, n_neighbors, points: cls(n_neighbors=n_neighbors).fit(points),
    ),
    np.ndarray: (
        lambda array: {"items": array.tolist()},
        lambda cls, items: np.array(items, dtype=object),
    ),
}
# What makes a value of an array.
ARRAYS: dict[type, Callable[[Array], Any]] = {
    np.ndarray: np.asarray,
    np.generic: lambda array: array[()],
    torch.Tensor: torch.from_numpy,
}


# --- objects ------------------------------------------------------------------------------------


def _take_estimator(estimator: BaseEstimator) -> dict[str, Any]:
    _check_parameters(estimator)
    parameters = estimator.get_params(deep=False)
    # Callbacks can be any object, such as a progress bar on a screen.
    left_out = {*parameters, CALLBACKS}
    attributes = {k: v for k, v in vars(estimator).items() if k not in left_out}
    return {"parameters": parameters, "attributes": attributes}


def _estimator(cls: Any, parameters: dict[str, Any], attributes: dict[str, Any]) -> BaseEstimator:
    """Return an estimator whose parameters and fitted attributes fit together."""
    estimator: BaseEstimator = cls(**parameters)
    _check_parameters(estimator)
    _set_attributes(estimator, attributes)
    check_fitted(estimator)
    return estimator


def _check_parameters(estimator: BaseEstimator) -> None:
    """Check the parameters of an estimator as `fit` does; its parts are checked separately."""
    if getattr(estimator, "_parameter_constraints", None):
        estimator._validate_params()


def _take_model(model: Model) -> dict[str, Any]:
    parts = {"config": model.config, "state": model.state_dict()}
    try:
        type(model).from_state(**parts)
    except Exception as error:
        raise TypeError(
            f"The network of {type(model).__name__} cannot be saved, because it cannot be rebuilt "
            f"from its parameters on torch's device 'meta', without memory ({error})."
        ) from error
    return parts


def _model(cls: Any, config: dict[str, Any], state: dict[str, Any]) -> Model:
    """Return a model, whose types are checked here; it checks the shapes of its tensors itself."""
    check_types(cls.__init__, config)
    # Single numbers have double precision, whatever the precision of the weights.
    if len({t.dtype for t in state.values() if t.is_floating_point() and t.ndim}) != 1:
        raise ValueError("its weights must all have the same precision")
    model: Model = cls.from_state(config, state)
    return model


def _refuse(value: Any) -> dict[str, Any]:
    raise TypeError(f"A {type(value).__name__} cannot be saved: a module of torch outside a model.")


def _take_object(value: Any) -> dict[str, Any]:
    attributes = value.arrays() if hasattr(value, "from_arrays") else vars(value)
    return {"attributes": attributes} | ({"items": dict(value)} if isinstance(value, dict) else {})


def _object(cls: Any, attributes: dict[str, Any], items: Any = ()) -> Any:
    """Return a checked record, or an object of some attributes and items, without `__init__`."""
    if hasattr(cls, "from_arrays"):
        return cls.from_arrays(attributes)
    value = cls.__new__(cls)
    _set_attributes(value, attributes)
    if isinstance(value, dict):
        value.update(items)
    return value


def _set_attributes(value: Any, attributes: Mapping[str, Any]) -> None:
    """Set the attributes of an object; none may hide a method of its class."""
    for name in attributes:
        is_name = name.isidentifier() and not name.startswith("__")
        if not is_name or callable(getattr(type(value), name, None)):
            raise ValueError(f"{type(value).__name__} has no attribute {name!r} that can be set")
    vars(value).update(attributes)


# By their bases, special cases first.
OBJECTS: tuple[tuple[Any, Kind], ...] = (
    (BaseEstimator, (_take_estimator, _estimator)),
    (Model, (_take_model, _model)),
    (nn.Module, (_refuse, _refuse)),
    (object, (_take_object, _object)),
)
