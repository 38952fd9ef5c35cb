"""Values as JSON nodes and named arrays, and back."""

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from skvaeense.persistence._registry import Registry, place

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

    registry : Registry
        The classes that may be named.

    arrays : dict of str to ndarray
        C-contiguous arrays by attribute path: those of a file, or those that were met.

    device : str or None, default=None
        The value of the parameter `device` of all estimators; None keeps what it was.
    """

    codecs: tuple[Codec, ...]
    registry: Registry
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
