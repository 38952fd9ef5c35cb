"""Codecs of objects: estimators, models, and the results of dimension methods."""

import inspect
from collections.abc import Sequence
from typing import Any, TypeAlias

from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from torch import nn

from skvaeense.models import Model
from skvaeense.persistence import _checks
from skvaeense.persistence._coder import Codec, Coder, Node, place
from skvaeense.utils._callbacks import CALLBACKS

# The dicts from which an object is made.
Parts: TypeAlias = Sequence[dict[str, Any]]


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
        return issubclass(cls, self.kinds) and not issubclass(cls, nn.Module | tuple)

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
        _checks.check_parameters(value)
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
        _checks.check_parameters(estimator)
        with_attributes(estimator, attributes)
        _checks.check_fitted(estimator, where)
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
        _checks.check_model(cls, config, state, where)
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
OBJECTS = _Neighbors(), _Estimator(), _Model(), _Object()
