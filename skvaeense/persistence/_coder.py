"""Conversion of values to JSON nodes and named arrays, and the classes that files can name."""

import functools
import inspect
import math
import sys
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from torch import nn

import skvaeense
from skvaeense.explanations._locations import Locations
from skvaeense.mixture._density import MixtureDensity
from skvaeense.models import Model
from skvaeense.persistence._checks import check_fitted, check_model, check_parameters, place
from skvaeense.priors._samples import TrainingRows
from skvaeense.training._history import History
from skvaeense.training._optimizers import OPTIMIZERS, is_optimizer
from skvaeense.utils._callbacks import CALLBACKS

# Kinds of classes of the package that files can name. Files can also name all classes in the folder
# of dimension methods, which keep their results in objects of these classes.
KINDS = BaseEstimator | Model | History | Locations | TrainingRows | MixtureDensity
ROOM = "skvaeense.dimension."
# Kinds of objects that are not saved by their attributes: the last two are functions.
UNSAVED = nn.Module, tuple, torch.optim.Optimizer, functools.partial, type(len), type(lambda: 0)


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
    modules, so that a class can move between files: ``skvaeense.penalties.L1``.
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
            if path.startswith(ROOM) or issubclass(cls, KINDS):
                public = [part for part in path.split(".") if not part.startswith("_")]
                classes[".".join([*public, name])] = cls
    return classes


Array: TypeAlias = np.ndarray[Any, Any]
# Longest attribute path that is kept while a file is read: each part has a path of its own.
LONGEST_PATH = 200
# Largest number of keys of a dict in a file that may have the same hash.
MOST_EQUAL = 32
# A dict from JSON. If it comes from a file, its content is unknown.
Node: TypeAlias = dict[str, Any]
# The dicts from which an object is made.
Parts: TypeAlias = Sequence[dict[str, Any]]
Kind = TypeVar("Kind")

# Types that JSON has itself. A float that is not finite has a codec.
PLAIN = (type(None), bool, int, str)


def join(where: str, name: object) -> str:
    """Return the attribute path of a part, which is also the name of its array."""
    return f"{where}.{name}" if where else str(name)


class Codec(ABC):
    """Describe values of some types as nodes, and read them back."""

    # Name of the nodes of this codec, and the types of their values.
    name: str
    kinds: tuple[type, ...]

    def matches(self, value: Any) -> bool:
        """Return whether this codec is for a value."""
        return type(value) in self.kinds

    @abstractmethod
    def encode(self, value: Any, where: str, coder: "Coder") -> Node:
        """Return the fields of the node, and give arrays to the coder."""

    @abstractmethod
    def decode(self, node: Node, where: str, coder: "Coder") -> Any:
        """Return the value of a node. Its content can be anything: check before use."""


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
        """Return the node of a value."""
        if type(value) in PLAIN or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) is list:
            return self.items(value, where)
        # JSON only allows strings as keys, and a dict with a type would look like a node.
        is_plain = type(value) in (dict, OrderedDict) and "type" not in value
        if is_plain and all(type(key) is str for key in value):
            return {name: self.encode(item, join(where, name)) for name, item in value.items()}
        codec = next((codec for codec in CODECS if codec.matches(value)), None)
        if codec is None:
            raise TypeError(
                f"{place(where)} is a {type(value).__name__}, which cannot be saved. If it is a "
                "parameter, set another value before saving."
            )
        return {"type": codec.name} | codec.encode(value, where, self)

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

    def class_of(self, name: str, where: str) -> type:
        """Return the class of a name, or raise an error if its objects cannot be loaded."""
        if name not in self.classes:
            raise ValueError(
                f"{place(where)} is a {name!r}, which this version of skvaeense does not know. If "
                "the class is yours, pass it to load as trusted=[...]"
            )
        return self.classes[name]

    def items(self, values: Iterable[Any], where: str) -> list[Any]:
        """Return the nodes of the items of a sequence."""
        return [self.encode(value, join(where, i)) for i, value in enumerate(values)]

    def keep(self, array: Array, where: str) -> Node:
        """Keep an array, and return the fields by which `kept` finds it.

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

    def kept(self, node: Node, where: str) -> Array:
        """Return an array that `keep` has kept, which only one node can name.

        What is made of arrays is then limited by their size.
        """
        name = node.get("array")
        if name not in self.arrays:
            raise ValueError(f"the array {name!r} of {place(where)} is missing, or named twice")
        array = self.arrays.pop(name)
        return array.T if node.get("order") == "F" else array

    def decode(self, node: Any, where: str) -> Any:
        """Return the value of a node; its lists and dicts are changed in place, not copied."""
        if type(node) not in (list, dict):
            return node
        if isinstance(node, list) or "type" not in node:
            for name, item in enumerate(node) if isinstance(node, list) else node.items():
                node[name] = self.decode(item, join(where, name)[-LONGEST_PATH:])
            return node
        codec = next((codec for codec in CODECS if codec.name == node["type"]), None)
        if codec is None:
            raise ValueError(f"{place(where)} has the unknown type {node['type']!r}")
        return codec.decode(node, where, self)

    def part(self, node: Node, name: str, kind: type[Kind], where: str) -> Kind:
        """Return the value of a field of a node, or raise an error if it has another type."""
        value = self.decode(node.get(name), where)
        if not isinstance(value, kind):
            raise ValueError(
                f"{place(where)} lacks its {name!r}, or its {name!r} has the wrong type"
            )
        return value


class _Float(Codec):
    """A float that is not finite, which JSON cannot express."""

    name, kinds = "float", (float,)

    def encode(self, value: float, where: str, coder: Coder) -> Node:
        return {"value": repr(value)}

    def decode(self, node: Node, where: str, coder: Coder) -> float:
        if node.get("value") not in ("nan", "inf", "-inf"):
            raise ValueError(f"{place(where)} is {node.get('value')!r}, which is not a number")
        return float(node["value"])


class _Strings(Codec):
    """An array of strings, such as feature names."""

    name, kinds = "strings", (np.ndarray,)

    def matches(self, value: Any) -> bool:
        is_list = type(value) is np.ndarray and value.dtype == object and value.ndim == 1
        return is_list and all(type(item) is str for item in value)

    def encode(self, value: Array, where: str, coder: Coder) -> Node:
        return {"items": value.tolist()}

    def decode(self, node: Node, where: str, coder: Coder) -> Array:
        array = np.array(coder.part(node, "items", list, where), dtype=object)
        if not self.matches(array):
            raise ValueError(f"{place(where)} holds values other than strings")
        return array


class _Array(Codec):
    """An array of numbers or booleans, or a numpy scalar, such as an entry of a grid."""

    name, kinds = "array", (np.ndarray, np.generic)

    def matches(self, value: Any) -> bool:
        return type(value) is np.ndarray or isinstance(value, np.generic)

    def encode(self, value: Any, where: str, coder: Coder) -> Node:
        is_scalar = isinstance(value, np.generic)
        return coder.keep(np.asarray(value), where) | {"is_scalar": is_scalar}

    def decode(self, node: Node, where: str, coder: Coder) -> Any:
        array = coder.kept(node, where)
        return array[()] if node.get("is_scalar") else array


class _Tensor(Codec):
    """A torch tensor from any device, which is loaded on the CPU."""

    name, kinds = "tensor", (torch.Tensor, nn.Parameter)

    def encode(self, value: torch.Tensor, where: str, coder: Coder) -> Node:
        return coder.keep(value.detach().cpu().numpy(), where)

    def decode(self, node: Node, where: str, coder: Coder) -> torch.Tensor:
        return torch.from_numpy(coder.kept(node, where))


class _RandomState(Codec):
    """A numpy RandomState with its position, from which the loaded object continues."""

    name, kinds = "random_state", (np.random.RandomState,)

    def encode(self, value: np.random.RandomState, where: str, coder: Coder) -> Node:
        return {"state": coder.encode(value.get_state(), where)}

    def decode(self, node: Node, where: str, coder: Coder) -> np.random.RandomState:
        state = coder.part(node, "state", tuple, where)
        random_state = np.random.RandomState(0)
        random_state.set_state(state)
        # numpy does not check the position, and would read memory outside the state.
        if not 0 <= state[2] <= len(state[1]) or state[3] not in (0, 1):
            raise ValueError(f"{place(where)} is not a valid state of a RandomState")
        return random_state


class _Tuple(Codec):
    """A tuple; JSON has lists only."""

    name, kinds = "tuple", (tuple,)

    def encode(self, value: tuple[Any, ...], where: str, coder: Coder) -> Node:
        return {"items": coder.items(value, where)}

    def decode(self, node: Node, where: str, coder: Coder) -> tuple[Any, ...]:
        return tuple(coder.part(node, "items", list, where))


class _Dict(Codec):
    """A dict that has keys that JSON does not allow, or looks like a node."""

    name, kinds = "dict", (dict, OrderedDict)

    def encode(self, value: dict[Any, Any], where: str, coder: Coder) -> Node:
        values = [coder.encode(item, join(where, key)) for key, item in value.items()]
        return {"keys": coder.items(value, where), "values": values}

    def decode(self, node: Node, where: str, coder: Coder) -> dict[Any, Any]:
        keys, values = (coder.part(node, name, list, where) for name in ("keys", "values"))
        # Each key is compared with all keys of the same hash.
        if max(Counter(map(hash, keys)).values(), default=0) > MOST_EQUAL:
            raise ValueError(f"{place(where)} has too many keys with the same hash")
        return dict(zip(keys, values, strict=True))


class _Optimizer(Codec):
    """A class of optimizers: one of torch.optim, or a trusted one."""

    name, kinds = "optimizer", (type,)

    def matches(self, value: Any) -> bool:
        return is_optimizer(value)

    def encode(self, value: Any, where: str, coder: Coder) -> Node:
        return {"class": coder.name_of(value, where)}

    def decode(self, node: Node, where: str, coder: Coder) -> Any:
        kind = coder.class_of(coder.part(node, "class", str, where), where)
        if not is_optimizer(kind):
            raise ValueError(f"{place(where)} is {kind!r}, which is not a class of optimizers")
        return kind


class _Object(Codec):
    """An object of a class that files can name, described by parts that are dicts.

    Here the parts are the attributes, and the items of a dict; `__init__` is not called.
    """

    name = "object"
    kinds: tuple[type, ...] = (object,)
    # Names of the parts.
    parts: tuple[str, ...] = ("attributes", "items")

    def matches(self, value: Any) -> bool:
        return self.suits(type(value))

    def suits(self, cls: type) -> bool:
        """Return whether this codec is for objects of a class."""
        return issubclass(cls, self.kinds) and not issubclass(cls, UNSAVED)

    def encode(self, value: Any, where: str, coder: Coder) -> Node:
        name = coder.name_of(type(value), where)
        parts = zip(self.parts, self.take_apart(value, where), strict=True)
        return {"class": name} | {part: coder.encode(items, where) for part, items in parts}

    def decode(self, node: Node, where: str, coder: Coder) -> Any:
        cls = coder.class_of(coder.part(node, "class", str, where), where)
        if next((codec for codec in OBJECTS if codec.suits(cls)), None) is not self:
            raise ValueError(
                f"{place(where)} is a {cls.__name__}, which is not of type {self.name!r}"
            )
        parts = [coder.part(node, name, dict, where) for name in self.parts]
        return self.make(cls, parts, where, coder)

    def take_apart(self, value: Any, where: str) -> Parts:
        """Return the parts of an object."""
        return vars(value), dict(value) if isinstance(value, dict) else {}

    def make(self, cls: Any, parts: Parts, where: str, coder: Coder) -> Any:
        """Return an object of a class, made from its parts."""
        attributes, items = parts
        value = with_attributes(cls.__new__(cls), attributes)
        if items:
            dict.update(value, items)
        return value


class _Estimator(_Object):
    """An estimator or a specification: its parameters and its fitted attributes."""

    name, kinds, parts = "estimator", (BaseEstimator,), ("parameters", "attributes")

    def take_apart(self, value: BaseEstimator, where: str) -> Parts:
        check_parameters(value)
        parameters = value.get_params(deep=False)
        # Callbacks can be any object, such as a progress bar on a screen.
        left_out = {*parameters, CALLBACKS}
        return parameters, {k: v for k, v in vars(value).items() if k not in left_out}

    def make(self, cls: Any, parts: Parts, where: str, coder: Coder) -> BaseEstimator:
        parameters, attributes = parts
        unknown = sorted(parameters.keys() - set(cls._get_param_names()))
        if unknown:
            raise ValueError(f"{cls.__name__} has no parameter {unknown[0]!r}")
        if coder.device is not None and "device" in parameters:
            parameters["device"] = coder.device
        estimator: BaseEstimator = cls(**parameters)
        check_parameters(estimator)
        with_attributes(estimator, attributes)
        check_fitted(estimator, where)
        return estimator


class _Model(_Object):
    """A model: its configuration and its tensors, from which it is built again."""

    name, kinds, parts = "model", (Model,), ("config", "state")

    def suits(self, cls: type) -> bool:
        return issubclass(cls, Model)

    def take_apart(self, value: Model, where: str) -> Parts:
        parts = value.config, value.state_dict()
        try:
            type(value).from_state(*parts)
        except Exception as error:
            raise TypeError(
                f"The network of {type(value).__name__} cannot be saved, because it cannot be "
                f"rebuilt from its parameters on torch's device 'meta', without memory ({error})."
            ) from error
        return parts

    def make(self, cls: Any, parts: Parts, where: str, coder: Coder) -> Model:
        config, state = parts
        check_model(cls, config, state, where)
        return cls.from_state(config, state)


class _Neighbors(_Object):
    """A search for neighbours: its parameters and its points, from which it is built again."""

    name, kinds, parts = "neighbors", (NearestNeighbors,), ("parameters", "learned")

    def take_apart(self, value: NearestNeighbors, where: str) -> Parts:
        _check_search(value, where)
        return value.get_params(deep=False), {"points": value._fit_X}

    def make(self, cls: Any, parts: Parts, where: str, coder: Coder) -> NearestNeighbors:
        parameters, learned = parts
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


def with_attributes(value: Any, attributes: dict[str, Any]) -> Any:
    """Set the attributes of an object; none may hide a method or property of its class."""
    for name in attributes:
        member = inspect.getattr_static(type(value), name, None)
        hides = callable(member) or hasattr(type(member), "__get__")
        if hides or not name.isidentifier() or name.startswith("__"):
            raise ValueError(f"{type(value).__name__} has no attribute {name!r} that can be set")
    vars(value).update(attributes)
    return value


# Tried in this order: special cases first.
VALUES = _Float(), _Strings(), _Array(), _Tensor(), _RandomState(), _Tuple(), _Dict()
OBJECTS = _Neighbors(), _Estimator(), _Model(), _Object()
CODECS = (*VALUES, _Optimizer(), *OBJECTS)
