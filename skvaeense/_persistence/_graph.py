"""From an estimator to nodes of JSON and named arrays, and back."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

# What JSON says by itself. A float may not be finite, and has a codec.
PLAIN = (type(None), bool, int, str)
CPU = torch.device("cpu")


def join(where, name):
    """Return the attribute path of a part; tensors are named so."""
    return f"{where}.{name}" if where else str(name)


def place(where):
    """Return how messages call an attribute path."""
    return where or "the estimator"


class Codec(ABC):
    """Describe one kind of value as a node, which is a dict of JSON values, and read it back."""

    # What the nodes are told by.
    type: str

    @abstractmethod
    def matches(self, value):
        """Return whether this codec is for a value."""

    @abstractmethod
    def encode(self, value, where, writer):
        """Return the fields of the node, and give arrays to the writer."""

    @abstractmethod
    def decode(self, node, where, reader):
        """Return the value of a node. The node may be anything: check before use."""


@dataclass
class Writer:
    """Describe values, and collect their arrays.

    Attributes
    ----------
    codecs : tuple of Codec
        In the order in which they are asked.

    registry : Registry
        The classes that may be named.

    tensors : dict of str to ndarray
        The arrays so far, by attribute path, C-contiguous.
    """

    codecs: tuple
    registry: Any
    tensors: dict = field(default_factory=dict)
    # Arrays that were met already, by identity: two places may share one, as a module and its
    # optimizer do. The objects are kept, or another could get the identity of one that is gone.
    _names: dict = field(default_factory=dict)
    _met: list = field(default_factory=list)
    _open: set = field(default_factory=set)

    def encode(self, value, where):
        """Return the node of a value."""
        if type(value) in PLAIN or (type(value) is float and math.isfinite(value)):
            return value
        if id(value) in self._open:
            raise TypeError(f"{place(where)} holds itself, and cannot be saved.")
        self._open.add(id(value))
        try:
            if type(value) is list:
                return self.items(value, where)
            codec = next((codec for codec in self.codecs if codec.matches(value)), None)
            if codec is None:
                raise TypeError(f"{place(where)} is a {type(value).__name__}: it cannot be saved.")
            return {"type": codec.type} | codec.encode(value, where, self)
        finally:
            self._open.discard(id(value))

    def items(self, values, where):
        """Return the nodes of the items of a sequence."""
        return [self.encode(value, join(where, i)) for i, value in enumerate(values)]

    def fields(self, values, where):
        """Return the nodes of named parts."""
        return {name: self.encode(value, join(where, name)) for name, value in values.items()}

    def add(self, owner, array, where):
        """Keep an array, and return the fields that find it again.

        The array has the values of `owner`, which is the array itself, or a tensor. Its order in
        memory is kept: sums are made in that order, and differ in the last bit in another.
        """
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(
                f"{place(where)} is an array of {array.dtype}, which cannot be saved; numbers, "
                "booleans and strings can."
            )
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        name = self._names.get(id(owner))
        if name is None:
            name = where
            while name in self.tensors:
                name += "_"
            self._names[id(owner)] = name
            self._met.append(owner)
            array = np.asarray(array.T if order == "F" else array, order="C")
            self.tensors[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
        return {
            "tensor": name,
            "dtype": array.dtype.name,
            "shape": list(self.tensors[name].shape),
            "order": order,
        }


@dataclass
class Reader:
    """Rebuild values from nodes.

    Attributes
    ----------
    codecs : tuple of Codec
        Found by their type.

    registry : Registry
        The classes that may be named.

    tensors : dict of str to ndarray
        The arrays of the file.

    device_parameter : str or None
        What the parameter `device` of estimators is to be.

    training_device : torch.device
        Where the estimator that is being read trains.

    device : torch.device
        Where tensors are put.
    """

    codecs: tuple
    registry: Any
    tensors: dict
    device_parameter: str | None = None
    training_device: torch.device = CPU
    device: torch.device = CPU
    # Values that are found again by the name of their array: some places share one.
    known: dict = field(default_factory=dict)
    used: set = field(default_factory=set)

    def decode(self, node, where):
        """Return the value of a node."""
        if type(node) in (*PLAIN, float):
            return node
        if type(node) is list:
            return self.items(node, where)
        kind = self.field(node, "type", str, where)
        codec = next((codec for codec in self.codecs if codec.type == kind), None)
        if codec is None:
            raise ValueError(f"{place(where)} is of an unknown kind {kind!r}")
        return codec.decode(node, where, self)

    def items(self, nodes, where):
        """Return the values of a list of nodes."""
        return [self.decode(node, join(where, i)) for i, node in enumerate(nodes)]

    def fields(self, nodes, where):
        """Return the values of named parts."""
        return {name: self.decode(node, join(where, name)) for name, node in nodes.items()}

    def field(self, node, name, kind, where):
        """Return a field of a node, which must be of a type."""
        if not isinstance(node, dict) or type(node.get(name)) is not kind:
            raise ValueError(f"{place(where)} lacks its {name!r}, or has it in a wrong type")
        return node[name]

    def array(self, node, where):
        """Return the array that `Writer.add` has kept."""
        name = self.field(node, "tensor", str, where)
        if name not in self.tensors:
            raise ValueError(f"the array {name!r} of {place(where)} is missing")
        array = self.tensors[name]
        shape, dtype = self.field(node, "shape", list, where), node.get("dtype")
        if list(array.shape) != shape or array.dtype.name != dtype:
            raise ValueError(
                f"the array {name!r} has shape {array.shape} and type {array.dtype}, where "
                f"{place(where)} has shape {tuple(shape)} and type {dtype}"
            )
        self.used.add(name)
        return array.T if node.get("order") == "F" else array

    def check_all_used(self):
        """Refuse arrays that nothing refers to."""
        unknown = sorted(self.tensors.keys() - self.used)
        if unknown:
            raise ValueError(f"nothing refers to its array {unknown[0]!r}")
