"""Values as JSON nodes and named arrays, and back, with the classes that files may name."""

import functools
import inspect
import math
import sys
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
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


def known_classes(trusted: Iterable[type]) -> dict[str, type]:
    """Return the classes that may be named, the user's own besides the package's, by their names.

    Names come from the code, and never the other way: nothing is imported because a file says so.
    """
    trusted = list(trusted)
    if not all(inspect.isclass(cls) for cls in trusted):
        raise TypeError(f"trusted must be a list of classes, got {trusted!r}.")
    # In a clash of names it is the package's class.
    return {f"{cls.__module__}.{cls.__qualname__}": cls for cls in trusted} | builtin_classes()


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


Array: TypeAlias = np.ndarray[Any, Any]
# A dict that has come out of JSON. Of one from a file nothing is known.
Node: TypeAlias = dict[str, Any]
Kind = TypeVar("Kind")

# What JSON says by itself. A float that is not finite has a codec.
PLAIN = (type(None), bool, int, str)


def join(where: str, name: object) -> str:
    """Return the attribute path of a part; arrays are named so."""
    return f"{where}.{name}" if where else str(name)


class Codec(ABC):
    """Describe values of some types as nodes, and read them back."""

    # What tells its nodes from others, and the types of their values.
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
        """Return the value of a node. The node may be anything: check before use."""


def _is_json_object(value: Any) -> bool:
    """Return whether a value is a dict that is no node, with keys that JSON has."""
    is_dict = type(value) in (dict, OrderedDict) and "type" not in value
    return is_dict and all(type(key) is str for key in value)


@dataclass
class Coder:
    """Describe values as nodes and arrays, and make values of them.

    Attributes
    ----------
    codecs : tuple of Codec
        Asked in this order, or found by their names.

    classes : dict of str to type
        The classes that may be named.

    arrays : dict of str to ndarray
        C-contiguous arrays by attribute path: those of a file, or those that were met.

    device : str or None, default=None
        The value of the parameter `device` of all estimators; None keeps what it was.
    """

    codecs: tuple[Codec, ...]
    classes: dict[str, type]
    arrays: dict[str, Array]
    device: str | None = None

    def encode(self, value: Any, where: str) -> Any:
        """Return the node of a value."""
        if type(value) in PLAIN or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) is list:
            return self.items(value, where)
        if _is_json_object(value):
            return {name: self.encode(item, join(where, name)) for name, item in value.items()}
        codec = next((codec for codec in self.codecs if codec.matches(value)), None)
        if codec is None:
            raise TypeError(f"{place(where)} is a {type(value).__name__}: it cannot be saved.")
        return {"type": codec.name} | codec.encode(value, where, self)

    def name_of(self, cls: type, where: str) -> str:
        """Return the name of a class, or refuse to save its objects."""
        # A class of the package that is trusted as well keeps its public name.
        for name, known in reversed(self.classes.items()):
            if known is cls:
                return name
        raise TypeError(
            f"{place(where)} is a {cls.__module__}.{cls.__qualname__}, which is neither a class "
            "that skvaeense knows how to save nor trusted. If it is yours, give "
            f"trusted=[{cls.__qualname__}] to save and to load; else set it to what can be saved."
        )

    def class_of(self, name: str, where: str) -> type:
        """Return the class of a name, or refuse to load its objects."""
        if name not in self.classes:
            raise ValueError(
                f"{place(where)} is a {name!r}, which this version of skvaeense does not know. If "
                "it is a class of yours, give it to load as trusted=[...]"
            )
        return self.classes[name]

    def items(self, values: Iterable[Any], where: str) -> list[Any]:
        """Return the nodes of the items of a sequence."""
        return [self.encode(value, join(where, i)) for i, value in enumerate(values)]

    def keep(self, array: Array, where: str) -> Node:
        """Keep an array, and return the fields by which `kept` finds it.

        Its order in memory is kept: sums are made in that order, and differ in the last bit in
        another.
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
        """Return the array that `keep` has kept."""
        name = node.get("array")
        if name not in self.arrays:
            raise ValueError(f"the array {name!r} of {place(where)} is missing")
        return self.arrays[name].T if node.get("order") == "F" else self.arrays[name]

    def decode(self, node: Any, where: str) -> Any:
        """Return the value of a node, whose lists and dicts are filled anew, and not copied."""
        if type(node) is list:
            for i, item in enumerate(node):
                node[i] = self.decode(item, join(where, i))
            return node
        if type(node) is not dict:
            return node
        if "type" not in node:
            for name, item in node.items():
                node[name] = self.decode(item, join(where, name))
            return node
        codec = next((codec for codec in self.codecs if codec.name == node["type"]), None)
        if codec is None:
            raise ValueError(f"{place(where)} is of an unknown kind {node['type']!r}")
        return codec.decode(node, where, self)

    def part(self, node: Node, name: str, kind: type[Kind], where: str) -> Kind:
        """Return the value of a field of a node, which must be of a type."""
        value = self.decode(node.get(name), where)
        if not isinstance(value, kind):
            raise ValueError(f"{place(where)} lacks its {name!r}, or has it in a wrong type")
        return value


class _Float(Codec):
    """A float that is not finite: JSON has no word for it."""

    name, kinds = "float", (float,)

    def encode(self, value: float, where: str, coder: Coder) -> Node:
        return {"value": repr(value)}

    def decode(self, node: Node, where: str, coder: Coder) -> float:
        if node.get("value") not in ("nan", "inf", "-inf"):
            raise ValueError(f"{place(where)} is {node.get('value')!r}, which is no number")
        return float(node["value"])


class _Strings(Codec):
    """An array of strings, as feature names are."""

    name, kinds = "strings", (np.ndarray,)

    def matches(self, value: Any) -> bool:
        is_list = type(value) is np.ndarray and value.dtype == object and value.ndim == 1
        return is_list and all(type(item) is str for item in value)

    def encode(self, value: Array, where: str, coder: Coder) -> Node:
        return {"items": value.tolist()}

    def decode(self, node: Node, where: str, coder: Coder) -> Array:
        array = np.array(coder.part(node, "items", list, where), dtype=object)
        if not self.matches(array):
            raise ValueError(f"{place(where)} holds something else than strings")
        return array


class _Array(Codec):
    """An array of numbers or booleans, or one of numpy's numbers, as its grids hold them."""

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
    """A torch tensor from any device; it comes back on the CPU."""

    name, kinds = "tensor", (torch.Tensor, torch.nn.Parameter)

    def encode(self, value: torch.Tensor, where: str, coder: Coder) -> Node:
        return coder.keep(value.detach().cpu().numpy(), where)

    def decode(self, node: Node, where: str, coder: Coder) -> torch.Tensor:
        return torch.from_numpy(coder.kept(node, where))


class _RandomState(Codec):
    """A numpy RandomState, at the point where it is: the one that is read goes on from there."""

    name, kinds = "random_state", (np.random.RandomState,)

    def encode(self, value: np.random.RandomState, where: str, coder: Coder) -> Node:
        return {"state": coder.encode(value.get_state(), where)}

    def decode(self, node: Node, where: str, coder: Coder) -> np.random.RandomState:
        state = coder.part(node, "state", tuple, where)
        random_state = np.random.RandomState(0)
        random_state.set_state(state)
        # numpy does not check the position, and would read memory that is not the state's.
        if not 0 <= state[2] <= len(state[1]) or state[3] not in (0, 1):
            raise ValueError(f"{place(where)} is no state of a RandomState")
        return random_state


class _Tuple(Codec):
    """A tuple; JSON has lists only."""

    name, kinds = "tuple", (tuple,)

    def encode(self, value: tuple[Any, ...], where: str, coder: Coder) -> Node:
        return {"items": coder.items(value, where)}

    def decode(self, node: Node, where: str, coder: Coder) -> tuple[Any, ...]:
        return tuple(coder.part(node, "items", list, where))


class _Dict(Codec):
    """A dict with keys that JSON has not, or one that would be taken for a node."""

    name, kinds = "dict", (dict, OrderedDict)

    def encode(self, value: dict[Any, Any], where: str, coder: Coder) -> Node:
        values = [coder.encode(item, join(where, key)) for key, item in value.items()]
        return {"keys": coder.items(value, where), "values": values}

    def decode(self, node: Node, where: str, coder: Coder) -> dict[Any, Any]:
        keys, values = (coder.part(node, name, list, where) for name in ("keys", "values"))
        return dict(zip(keys, values, strict=True))


# Asked in this order.
VALUES = _Float(), _Strings(), _Array(), _Tensor(), _RandomState(), _Tuple(), _Dict()
