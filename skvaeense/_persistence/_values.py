"""Codecs of plain data: numbers, arrays, tensors, generators of random numbers, containers."""

import hashlib

import numpy as np
import torch
from torch import nn

from skvaeense._persistence._graph import Codec, join, place

NUMPY_SCALARS = {np.dtype(code).name: np.dtype(code).type for code in "?bhilqBHILQefd"}
# Words of the state of the Mersenne twister.
TWISTER_WORDS = 624


class _Float(Codec):
    """A float that is not finite: JSON has no word for it."""

    type = "float"

    def matches(self, value):
        return type(value) is float

    def encode(self, value, where, writer):
        return {"value": repr(value)}

    def decode(self, node, where, reader):
        value = reader.field(node, "value", str, where)
        if value not in ("nan", "inf", "-inf"):
            raise ValueError(f"{place(where)} is {value!r}, which is no number")
        return float(value)


class _NumpyScalar(Codec):
    """A number of a numpy type, as parameters from a numpy grid are."""

    type = "numpy"

    def matches(self, value):
        return isinstance(value, np.generic) and value.dtype.name in NUMPY_SCALARS

    def encode(self, value, where, writer):
        return {"dtype": value.dtype.name, "value": writer.encode(value.item(), where)}

    def decode(self, node, where, reader):
        dtype = reader.field(node, "dtype", str, where)
        value = reader.decode(node.get("value"), where)
        if dtype not in NUMPY_SCALARS or type(value) not in (bool, int, float):
            raise ValueError(f"{place(where)} is no number of a known type")
        return NUMPY_SCALARS[dtype](value)


class _Strings(Codec):
    """An array of strings, as feature names are."""

    type = "strings"

    def matches(self, value):
        return (
            type(value) is np.ndarray
            and value.dtype == object
            and value.ndim == 1
            and all(type(item) is str for item in value)
        )

    def encode(self, value, where, writer):
        return {"items": value.tolist()}

    def decode(self, node, where, reader):
        items = reader.field(node, "items", list, where)
        if not all(type(item) is str for item in items):
            raise ValueError(f"{place(where)} holds something else than strings")
        return np.array(items, dtype=object)


class _Array(Codec):
    """An array of numbers or booleans."""

    type = "array"

    def matches(self, value):
        return type(value) is np.ndarray

    def encode(self, value, where, writer):
        return writer.add(value, value, where)

    def decode(self, node, where, reader):
        return reader.array(node, where)


class _Tensor(Codec):
    """A torch tensor, from any device."""

    type = "tensor"

    def matches(self, value):
        return type(value) is torch.Tensor

    def encode(self, value, where, writer):
        return writer.add(value, value.detach().cpu().numpy(), where)

    def decode(self, node, where, reader):
        array = reader.array(node, where)
        key = self.type, node["tensor"], reader.device
        if key not in reader.known:
            reader.known[key] = self._wrap(torch.from_numpy(array).to(reader.device))
        return reader.known[key]

    def _wrap(self, tensor):
        return tensor


class _Parameter(_Tensor):
    """A parameter of a module. The optimizer must find the very object that the module has."""

    type = "parameter"

    def matches(self, value):
        return type(value) is nn.Parameter

    def encode(self, value, where, writer):
        fields = super().encode(value, where, writer)
        return fields if value.requires_grad else fields | {"frozen": True}

    def decode(self, node, where, reader):
        parameter = super().decode(node, where, reader)
        if node.get("frozen") is True:
            parameter.requires_grad_(False)
        return parameter

    def _wrap(self, tensor):
        if not tensor.is_floating_point():
            raise ValueError("a parameter of a module is of a type that has no gradient")
        return nn.Parameter(tensor)


class _RandomState(Codec):
    """A numpy RandomState, at the point where it is: the one that is read goes on from there."""

    type = "random_state"

    def matches(self, value):
        return (
            type(value) is np.random.RandomState
            and value.get_state(legacy=False)["bit_generator"] == "MT19937"
        )

    def encode(self, value, where, writer):
        _, key, position, has_gauss, gauss = value.get_state()
        return {
            "key": writer.encode(key, join(where, "key")),
            "position": position,
            "has_gauss": has_gauss,
            "gauss": gauss,
        }

    def decode(self, node, where, reader):
        key = reader.decode(node.get("key"), where)
        position = reader.field(node, "position", int, where)
        has_gauss = reader.field(node, "has_gauss", int, where)
        gauss = reader.field(node, "gauss", float, where)
        # numpy does not check the position, and would read memory that is not the state's.
        if not 0 <= position <= TWISTER_WORDS or has_gauss not in (0, 1):
            raise ValueError(f"{place(where)} is no state of a RandomState")
        random_state = np.random.RandomState(0)
        random_state.set_state(("MT19937", key, position, has_gauss, gauss))
        return random_state


class _Generator(Codec):
    """A torch generator, at the point where it is.

    Generators of different devices draw different numbers. Where the estimator now trains on
    another device than when it was saved, a new generator is seeded from the state.
    """

    type = "generator"

    def matches(self, value):
        return type(value) is torch.Generator

    def encode(self, value, where, writer):
        return {
            "device": value.device.type,
            "state": writer.encode(value.get_state(), join(where, "state")),
        }

    def decode(self, node, where, reader):
        kind = reader.field(node, "device", str, where)
        state = reader.decode(node.get("state"), where)
        generator = torch.Generator(reader.device)
        if not isinstance(state, torch.Tensor):
            raise ValueError(f"{place(where)} has no state of a generator")
        if kind == reader.device.type:
            try:
                generator.set_state(state.cpu())
            except (RuntimeError, TypeError) as error:
                raise ValueError(f"{place(where)} has no state of a generator: {error}") from error
        else:
            digest = hashlib.sha256(state.cpu().numpy().tobytes()).digest()
            generator.manual_seed(int.from_bytes(digest[:4], "little"))
        return generator


class _Tuple(Codec):
    """A tuple; JSON has lists only."""

    type = "tuple"

    def matches(self, value):
        return type(value) is tuple

    def encode(self, value, where, writer):
        return {"items": writer.items(value, where)}

    def decode(self, node, where, reader):
        return tuple(reader.items(reader.field(node, "items", list, where), where))


class _Dict(Codec):
    """A dict, whose keys may be other than strings."""

    type = "dict"

    def matches(self, value):
        return type(value) is dict

    def encode(self, value, where, writer):
        return {
            "keys": writer.items(value, join(where, "keys")),
            "values": [writer.encode(v, join(where, k)) for k, v in value.items()],
        }

    def decode(self, node, where, reader):
        keys = reader.items(reader.field(node, "keys", list, where), where)
        values = reader.field(node, "values", list, where)
        values = [reader.decode(v, join(where, k)) for k, v in zip(keys, values, strict=True)]
        return dict(zip(keys, values, strict=True))


# In the order in which they are asked: special cases first.
VALUES = (
    _Float(),
    _NumpyScalar(),
    _Strings(),
    _Array(),
    _Parameter(),
    _Tensor(),
    _RandomState(),
    _Generator(),
    _Tuple(),
    _Dict(),
)
