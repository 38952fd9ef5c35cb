"""Conversion of values to JSON nodes and named arrays, and the classes that files can name."""

import functools
import inspect
import math
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, get_type_hints

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from torch import nn

import skvaeense
from skvaeense.explanations._explain import CodeStream
from skvaeense.explanations._gate_fits import GateStream
from skvaeense.mixture._fit import MixtureStream
from skvaeense.mixture._rows import Reach, Units
from skvaeense.nets.models import Model
from skvaeense.persistence._checks import (
    LAWS,
    check_fitted,
    check_model,
    check_parameters,
    check_types,
    named,
    place,
)
from skvaeense.training._trainer import OPTIMIZERS, History, is_optimizer
from skvaeense.utils._callbacks import CALLBACKS

# Kinds of classes of the package that files can name. Files can also name all classes in the folder
# of dimension methods, which keep their results in objects of these classes.
STREAMS = CodeStream | GateStream | MixtureStream | Reach | Units
KNOWN = BaseEstimator | Model | History | LAWS | STREAMS
ROOM = "skvaeense.dimension."
# Kinds of objects that are not saved by their attributes: the last two are functions.
UNSAVED = nn.Module, tuple, torch.optim.Optimizer, functools.partial, type(len), type(lambda: 0)

Array: TypeAlias = np.ndarray[Any, Any]


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
    """Return the classes that the package defines, and those of other packages, by name.

    The estimators are imported here, with all classes that they can hold. Names leave out private
    modules, so that a class can move between files: ``skvaeense.nets.penalties.L1``.
    """
    for name in skvaeense.__all__:
        getattr(skvaeense, name)
    classes: dict[str, type] = {"sklearn.neighbors.NearestNeighbors": NearestNeighbors}
    classes |= {f"torch.optim.{name}": kind for name, kind in OPTIMIZERS.items()}
    for path, module in sorted(sys.modules.items()):
        for name, cls in vars(module).items() if path.startswith("skvaeense.") else ():
            is_own = inspect.isclass(cls) and cls.__module__ == path
            if not is_own or name.startswith("_") or inspect.isabstract(cls):
                continue
            if path.startswith(ROOM) or issubclass(cls, KNOWN):
                public = [part for part in path.split(".") if not part.startswith("_")]
                classes[".".join([*public, name])] = cls
    return classes


class Kind(NamedTuple):
    """How objects of some classes are described by dicts.

    Attributes
    ----------
    base : type or union of types
        Base classes of the objects.

    parts : tuple of str
        Names of the dicts.

    take_apart : callable
        Returns the dicts of an object at an attribute path.

    make : callable
        Returns an object, given its class, the dicts, and its attribute path. In a file the dicts
        can hold anything: check before use.
    """

    base: Any
    parts: tuple[str, ...]
    take_apart: Callable[[Any, str], tuple[Any, ...]]
    make: Callable[..., Any]


def join(where: str, name: object) -> str:
    """Return the attribute path of a part, which is also the name of its array."""
    return f"{where}.{name}" if where else str(name)


@dataclass
class Coder:
    """Convert values to nodes and arrays, and back.

    Attributes
    ----------
    classes : dict of str to type
        The classes that files can name.

    arrays : dict of str to ndarray
        C-contiguous arrays by attribute path, read from a file or collected by `encode`.

    device : str or None, default=None
        The value of the parameter `device` of all estimators; None keeps the saved values.
    """

    classes: dict[str, type]
    arrays: dict[str, Array]
    device: str | None = None

    def encode(self, value: Any, where: str) -> Any:
        """Return the node of a value: of JSON's own types, or a dict with a type and some parts."""
        # One branch for each type of nodes.
        kind = type(value)
        if kind in (type(None), bool, int, str) or (kind is float and math.isfinite(value)):
            return value
        if kind is list:
            return [self.encode(item, join(where, i)) for i, item in enumerate(value)]
        if kind is float:
            return {"type": "float", "value": repr(value)}
        if kind is tuple:
            return {"type": "tuple", "items": self.encode(list(value), where)}
        if kind in (dict, OrderedDict):
            items = {key: self.encode(item, join(where, key)) for key, item in value.items()}
            # JSON has only strings as keys, and a dict with a type would look like a node.
            if "type" not in items and all(type(key) is str for key in items):
                return items
            keys = self.encode(list(items), where)
            return {"type": "dict", "keys": keys, "values": list(items.values())}
        if kind is np.random.RandomState:
            return {"type": "random_state", "state": self.encode(value.get_state(), where)}
        if kind is np.ndarray and are_strings(value):
            return {"type": "strings", "items": value.tolist()}
        if kind is np.ndarray or isinstance(value, np.generic):
            is_scalar = isinstance(value, np.generic)
            return {"type": "array", **self.keep(np.asarray(value), where), "is_scalar": is_scalar}
        if kind in (torch.Tensor, nn.Parameter):
            return {"type": "tensor", **self.keep(value.detach().cpu().numpy(), where)}
        if is_optimizer(value):
            return {"type": "optimizer", "class": self.name_of(value, where)}
        return self.encode_object(value, where)

    def encode_object(self, value: Any, where: str) -> Any:
        """Return the node of an object."""
        name = kind_of(type(value))
        if name is None:
            raise TypeError(
                f"{place(where)} is a {type(value).__name__}, which cannot be saved. If it is a "
                "parameter, set another value before saving."
            )
        node = {"type": name, "class": self.name_of(type(value), where)}
        kind = OBJECTS[name]
        parts = zip(kind.parts, kind.take_apart(value, where), strict=True)
        return node | {part: self.encode(items, where) for part, items in parts}

    def name_of(self, cls: type, where: str) -> str:
        """Return the name of a class, or raise an error if its objects cannot be saved."""
        # A class of the package keeps its public name, even if it is also trusted.
        for name, known in reversed(self.classes.items()):
            if known is cls:
                return name
        raise TypeError(
            f"{place(where)} is a {cls.__module__}.{cls.__qualname__}, which is neither a class "
            "that skvaeense can save nor a trusted class. If the class is yours, pass "
            f"trusted=[{cls.__qualname__}] to save and to load; otherwise use an object that can "
            "be saved."
        )

    def keep(self, array: Array, where: str) -> dict[str, str]:
        """Keep an array, and return the fields of its node.

        The memory order is kept, since sums in another order can differ in the last bit.
        """
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"{place(where)} is an array of {array.dtype}, which cannot be saved.")
        name = where
        while name in self.arrays:
            name += "_"
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        array = np.asarray(array.T if order == "F" else array, order="C")
        self.arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
        return {"array": name, "order": order}

    def decode(self, node: Any, where: str, *, longest: int = 200) -> Any:
        """Return the value of a node; its lists and dicts are changed in place, not copied.

        Each part has an attribute path of its own, of which the `longest` end is kept.
        """
        if type(node) not in (list, dict):
            return node
        if isinstance(node, list) or "type" not in node:
            for name, item in enumerate(node) if isinstance(node, list) else node.items():
                node[name] = self.decode(item, join(where, name)[-longest:])
            return node
        part = partial(self.part, node, where)
        match node["type"]:
            case "float":
                return as_number(part("value", str), where)
            case "tuple":
                return tuple(part("items", list))
            case "dict":
                return as_dict(part("keys", list), part("values", list), where)
            case "random_state":
                return as_random_state(part("state", tuple), where)
            case "strings":
                return as_strings(part("items", list), where)
            case "array":
                array = self.kept(node, where)
                return array[()] if node.get("is_scalar") else array
            case "tensor":
                return torch.from_numpy(self.kept(node, where))
            case "optimizer":
                cls = self.class_of(part("class", str), where)
                if is_optimizer(cls):
                    return cls
                raise ValueError(f"{place(where)} is {cls!r}, which is not a class of optimizers")
            case str(name) if name in OBJECTS:
                return self.decode_object(node, where)
        raise ValueError(f"{place(where)} has the unknown type {node['type']!r}")

    def decode_object(self, node: Any, where: str) -> Any:
        """Return the object of a node, if its class is of the right kind."""
        cls, name = self.class_of(self.part(node, where, "class", str), where), node["type"]
        if kind_of(cls) != name:
            raise ValueError(f"{place(where)} is a {cls.__name__}, which is not of type {name!r}")
        parts = [self.part(node, where, part, dict) for part in OBJECTS[name].parts]
        if name == "estimator" and self.device is not None and "device" in parts[0]:
            parts[0]["device"] = self.device
        return OBJECTS[name].make(cls, *parts, where)

    def class_of(self, name: str, where: str) -> type:
        """Return the class of a name, or raise an error if its objects cannot be loaded."""
        if name not in self.classes:
            raise ValueError(
                f"{place(where)} is a {name!r}, which this version of skvaeense does not know. If "
                "the class is yours, pass it to load as trusted=[...]"
            )
        return self.classes[name]

    def kept(self, node: dict[str, Any], where: str) -> Array:
        """Return an array that `keep` has kept, which only one node can name.

        What is made of arrays is then limited by their size.
        """
        name = node.get("array")
        if name not in self.arrays:
            raise ValueError(f"the array {name!r} of {place(where)} is missing, or named twice")
        array = self.arrays.pop(name)
        return array.T if node.get("order") == "F" else array

    def part(self, node: dict[str, Any], where: str, name: str, kind: type) -> Any:
        """Return the value of a field of a node, or raise an error if it has another type."""
        value = self.decode(node.get(name), where)
        if not isinstance(value, kind):
            raise ValueError(
                f"{place(where)} lacks its {name!r}, or its {name!r} has the wrong type"
            )
        return value


# --- values that are no objects; in a file their parts can be anything ---------------------------


def as_number(text: str, where: str) -> float:
    """Return a float that is not finite, which JSON cannot express."""
    if text not in ("nan", "inf", "-inf"):
        raise ValueError(f"{place(where)} is {text!r}, which is not a number")
    return float(text)


def as_dict(keys: list[Any], values: list[Any], where: str, *, most_equal: int = 32) -> Any:
    """Return a dict, unless too many keys have the same hash: each is compared with all of them."""
    if max(Counter(map(hash, keys)).values(), default=0) > most_equal:
        raise ValueError(f"{place(where)} has too many keys with the same hash")
    return dict(zip(keys, values, strict=True))


def as_random_state(state: tuple[Any, ...], where: str) -> np.random.RandomState:
    """Return a numpy RandomState with its position, from which it continues."""
    random_state = np.random.RandomState(0)
    random_state.set_state(state)
    # numpy does not check the position, and would read memory outside the state.
    if not 0 <= state[2] <= len(state[1]) or state[3] not in (0, 1):
        raise ValueError(f"{place(where)} is not a valid state of a RandomState")
    return random_state


def are_strings(array: Array) -> bool:
    """Return whether an array is a list of strings, such as feature names."""
    return array.dtype == object and array.ndim == 1 and all(type(item) is str for item in array)


def as_strings(items: list[Any], where: str) -> Array:
    """Return an array of strings."""
    array = np.array(items, dtype=object)
    if not are_strings(array):
        raise ValueError(f"{place(where)} holds values other than strings")
    return array


# --- objects ------------------------------------------------------------------------------------


def _take_search_apart(search: NearestNeighbors, where: str) -> tuple[Any, Any]:
    _check_search(search, where)
    return search.get_params(deep=False), {"points": search._fit_X}


def _search(cls: Any, parameters: Any, learned: Any, where: str) -> NearestNeighbors:
    """Return a search for neighbours, built again from its points."""
    search = cls(**parameters)
    _check_search(search, where)
    return search.fit(learned["points"])


def _check_search(search: NearestNeighbors, where: str) -> None:
    """Raise an error unless all parameters but the number of neighbours are defaults."""
    usual = type(search)(n_neighbors=search.n_neighbors).get_params(deep=False)
    for name, value in search.get_params(deep=False).items():
        if value != usual[name]:
            raise ValueError(
                f"{place(where)} is a neighbour search with {name}={value!r}, which is not the "
                "default"
            )


def _take_estimator_apart(estimator: BaseEstimator, where: str) -> tuple[Any, Any]:
    check_parameters(estimator)
    parameters = estimator.get_params(deep=False)
    # Callbacks can be any object, such as a progress bar on a screen.
    left_out = {*parameters, CALLBACKS}
    attributes = {k: v for k, v in vars(estimator).items() if k not in left_out}
    return parameters, attributes


def _estimator(cls: Any, parameters: Any, attributes: Any, where: str) -> BaseEstimator:
    unknown = sorted(parameters.keys() - set(cls._get_param_names()))
    if unknown:
        raise ValueError(f"{cls.__name__} has no parameter {unknown[0]!r}")
    estimator: BaseEstimator = cls(**parameters)
    check_parameters(estimator)
    set_attributes(estimator, attributes)
    check_fitted(estimator, where)
    return estimator


def _take_model_apart(model: Model, where: str) -> tuple[Any, Any]:
    parts = model.config, model.state_dict()
    try:
        type(model).from_state(*parts)
    except Exception as error:
        raise TypeError(
            f"The network of {type(model).__name__} cannot be saved, because it cannot be rebuilt "
            f"from its parameters on torch's device 'meta', without memory ({error})."
        ) from error
    return parts


def _model(cls: Any, config: Any, state: Any, where: str) -> Model:
    check_model(cls, config, state, where)
    model: Model = cls.from_state(config, state)
    return model


def _law(cls: Any, arrays: Any, where: str) -> Any:
    with named("law", where):
        return cls.from_arrays(arrays)


def _stream(cls: Any, attributes: Any, where: str) -> Any:
    """Return an object with exactly the fields of its class, if they fit together."""
    with named("state", where):
        check_types(get_type_hints(cls), attributes, where)
        stream = cls(**attributes)
        stream.check()
    return stream


def _take_object_apart(value: Any, where: str) -> tuple[Any, Any]:
    items = dict(value) if isinstance(value, dict) else {}
    return vars(value), items


def _object(cls: Any, attributes: Any, items: Any, where: str) -> Any:
    """Return an object of some attributes, and of the items of a dict, without `__init__`."""
    value = cls.__new__(cls)
    set_attributes(value, attributes)
    if items:
        dict.update(value, items)
    return value


def set_attributes(value: Any, attributes: Mapping[str, Any]) -> None:
    """Set the attributes of an object; none may hide a method or property of its class."""
    for name in attributes:
        member = inspect.getattr_static(type(value), name, None)
        hides = callable(member) or hasattr(type(member), "__get__")
        if hides or not name.isidentifier() or name.startswith("__"):
            raise ValueError(f"{type(value).__name__} has no attribute {name!r} that can be set")
    vars(value).update(attributes)


# Special cases first.
OBJECTS = {
    "neighbors": Kind(NearestNeighbors, ("parameters", "learned"), _take_search_apart, _search),
    "estimator": Kind(
        BaseEstimator, ("parameters", "attributes"), _take_estimator_apart, _estimator
    ),
    "model": Kind(Model, ("config", "state"), _take_model_apart, _model),
    "law": Kind(LAWS, ("arrays",), lambda law, where: (law.arrays(),), _law),
    "stream": Kind(STREAMS, ("attributes",), lambda stream, where: (vars(stream),), _stream),
    "object": Kind(object, ("attributes", "items"), _take_object_apart, _object),
}


def kind_of(cls: type) -> str | None:
    """Return the kind of the objects of a class, or None if they cannot be saved."""
    if issubclass(cls, UNSAVED) and not issubclass(cls, Model):
        return None
    return next(name for name, kind in OBJECTS.items() if issubclass(cls, kind.base))
