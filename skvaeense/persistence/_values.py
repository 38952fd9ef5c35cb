"""Codecs of plain data: numbers, arrays, tensors, random states, containers."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from skvaeense.persistence._coder import Array, Codec, Coder, Node, join
from skvaeense.persistence._registry import place

# Words of the state of the Mersenne twister.
TWISTER_WORDS = 624


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
        if not 0 <= state[2] <= TWISTER_WORDS or state[3] not in (0, 1):
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
