"""Codecs of objects: estimators, modules, and whatever holds their state."""

import dataclasses
import inspect
from abc import abstractmethod

import torch
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from torch import nn

from skvaeense._persistence import _checks
from skvaeense._persistence._graph import CPU, Codec, join, place
from skvaeense._training._devices import resolve_device
from skvaeense._training._run import Run
from skvaeense.utils._callbacks import CALLBACKS

# What every module has, its hooks among them.
MODULE_STATE = frozenset(vars(nn.Module()))
MODULE_PARTS = ("_parameters", "_buffers", "_modules")


class _Object(Codec):
    """An object of a class that files may name."""

    @abstractmethod
    def suits(self, cls):
        """Return whether objects of a class are described so."""

    @abstractmethod
    def rebuild(self, cls, node, where, reader):
        """Return an object of the class."""

    def parts(self, value, where, writer):
        """Return the fields of the node but for the class."""
        return {"attributes": writer.fields(vars(value), where)}

    def matches(self, value):
        return self.suits(type(value))

    def encode(self, value, where, writer):
        name = writer.registry.name_of(type(value), where)
        return {"class": name} | self.parts(value, where, writer)

    def decode(self, node, where, reader):
        cls = reader.registry.class_of(reader.field(node, "class", str, where), where)
        if not self.suits(cls):
            raise ValueError(f"{place(where)} is a {cls.__name__}, which is no {self.type}")
        return self.rebuild(cls, node, where, reader)


class _Plain(_Object):
    """An object whose attributes are all that there is to it. Its `__init__` is not called."""

    type = "object"

    def suits(self, cls):
        kinds = BaseEstimator, nn.Module, torch.optim.Optimizer, tuple, dict
        return not issubclass(cls, kinds)

    def rebuild(self, cls, node, where, reader):
        if cls is Run:
            # It is half of a training, and lives where the training goes on.
            reader = dataclasses.replace(reader, device=reader.training_device)
        value = set_attributes(cls.__new__(cls), node, where, reader)
        vars(value).update({k: v for k, v in _defaults(cls) if k not in vars(value)})
        _checks.check_annotated(value, where)
        return value


class _Mapping(_Object):
    """An object that is a dict with more to it."""

    type = "mapping"

    def suits(self, cls):
        return issubclass(cls, dict)

    def parts(self, value, where, writer):
        items = writer.encode(dict(value), where)
        return super().parts(value, where, writer) | {"items": items}

    def rebuild(self, cls, node, where, reader):
        value = set_attributes(cls.__new__(cls), node, where, reader)
        items = reader.decode(reader.field(node, "items", dict, where), where)
        dict.update(value, items)
        return value


class _NamedTuple(_Object):
    """A tuple whose items have names."""

    type = "named_tuple"

    def suits(self, cls):
        return issubclass(cls, tuple) and hasattr(cls, "_fields")

    def parts(self, value, where, writer):
        return {"items": writer.items(value, where)}

    def rebuild(self, cls, node, where, reader):
        items = reader.items(reader.field(node, "items", list, where), where)
        n_fields = len(cls._fields)
        if not n_fields - len(cls._field_defaults) <= len(items) <= n_fields:
            raise ValueError(f"{place(where)} has {len(items)} fields, not {n_fields}")
        return cls(*items)


class _Estimator(_Object):
    """An estimator, a network, a penalty or a rule: parameters, and what fitting has found."""

    type = "estimator"

    def suits(self, cls):
        return issubclass(cls, BaseEstimator)

    def parts(self, value, where, writer):
        _checks.check_parameters(value)
        parameters = value.get_params(deep=False)
        # Callbacks may be anything, such as a progress bar on a screen.
        left_out = {*parameters, CALLBACKS}
        attributes = {k: v for k, v in vars(value).items() if k not in left_out}
        return {
            "parameters": writer.fields(parameters, where),
            "attributes": writer.fields(attributes, where),
        }

    def rebuild(self, cls, node, where, reader):
        nodes = reader.field(node, "parameters", dict, where)
        unknown = sorted(nodes.keys() - set(cls._get_param_names()))
        if unknown:
            raise ValueError(f"{cls.__name__} has no parameter {unknown[0]!r}")
        parameters = reader.fields(nodes, where)
        if reader.device_parameter is not None and "device" in parameters:
            parameters["device"] = reader.device_parameter
        try:
            estimator = cls(**parameters)
        except TypeError as error:
            raise ValueError(f"a parameter of {place(where)} is missing: {error}") from error
        _checks.check_parameters(estimator)
        inner = dataclasses.replace(
            reader, training_device=_training_device(parameters), device=CPU
        )
        set_attributes(estimator, node, where, inner)
        _checks.check_fitted(estimator, where, reader.registry)
        return estimator


class _Neighbors(_Object):
    """A search for neighbours: its parameters and its points, from which it is built again."""

    type = "neighbors"

    def suits(self, cls):
        return issubclass(cls, NearestNeighbors)

    def parts(self, value, where, writer):
        return {
            "parameters": writer.fields(value.get_params(deep=False), where),
            "points": writer.encode(value._fit_X, join(where, "points")),
        }

    def rebuild(self, cls, node, where, reader):
        nodes = reader.field(node, "parameters", dict, where)
        parameters = reader.fields(nodes, where)
        return cls(**parameters).fit(reader.decode(node.get("points"), where))


class _Module(_Object):
    """A torch module: its parts, and what is set on it besides. Its `__init__` is not called."""

    type = "module"

    def suits(self, cls):
        return issubclass(cls, nn.Module)

    def parts(self, value, where, writer):
        state = vars(value)
        hooks = MODULE_STATE - {*MODULE_PARTS, "training"}
        if any(state.get(name) for name in hooks):
            raise TypeError(f"{place(where)} has hooks, which are code; remove them to save it.")
        own = {k: v for k, v in state.items() if k not in MODULE_STATE}
        fields = {"training": value.training, "attributes": writer.fields(own, where)}
        return fields | {part: writer.fields(state[part], where) for part in MODULE_PARTS}

    def rebuild(self, cls, node, where, reader):
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        module.training = reader.field(node, "training", bool, where)
        if MODULE_STATE & set(reader.field(node, "attributes", dict, where)):
            raise ValueError(f"{place(where)} sets what torch itself keeps in a module")
        set_attributes(module, node, where, reader)
        register = module.register_parameter, module.register_buffer, module.add_module
        for part, add in zip(MODULE_PARTS, register, strict=True):
            parts = reader.fields(reader.field(node, part, dict, where), where)
            for name, value in parts.items():
                try:
                    add(name, value)
                except (KeyError, TypeError) as error:
                    raise ValueError(f"{place(where)} cannot have {name!r}: {error}") from error
        _checks.check_layer(module, where)
        return module


class _Optimizer(_Object):
    """An optimizer: the parameters that it moves, and its memory of their gradients."""

    type = "optimizer"

    def suits(self, cls):
        return issubclass(cls, torch.optim.Optimizer)

    def parts(self, value, where, writer):
        groups = [group["params"] for group in value.param_groups]
        return {
            "groups": writer.encode(groups, join(where, "groups")),
            "state": writer.encode(value.state_dict(), where),
        }

    def rebuild(self, cls, node, where, reader):
        groups = reader.items(reader.field(node, "groups", list, where), where)
        optimizer = cls([{"params": group} for group in groups])
        optimizer.load_state_dict(reader.decode(node.get("state"), where))
        return optimizer


def set_attributes(value, node, where, reader):
    """Set the attributes of an object; none may hide what its class has."""
    nodes = reader.field(node, "attributes", dict, where)
    for name in nodes:
        member = inspect.getattr_static(type(value), name, None)
        hides = callable(member) or hasattr(type(member), "__get__")
        if hides or not name.isidentifier() or name.startswith("__"):
            raise ValueError(f"{type(value).__name__} has no attribute {name!r} that can be set")
    vars(value).update(reader.fields(nodes, where))
    return value


def _defaults(cls):
    """Yield the name and the default of each field of a dataclass that has one.

    As parameters do, fields that are newer than the file have them.
    """
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.default is not dataclasses.MISSING:
            yield field.name, field.default
        elif field.default_factory is not dataclasses.MISSING:
            yield field.name, field.default_factory()


def _training_device(parameters):
    """Return where an estimator trains; the CPU where its device is not there."""
    try:
        return resolve_device(parameters.get("device", "cpu"))
    except ValueError:
        return CPU


# In the order in which they are asked: special cases first, and the last takes all.
OBJECTS = (
    _Optimizer(),
    _Neighbors(),
    _Module(),
    _Estimator(),
    _NamedTuple(),
    _Mapping(),
    _Plain(),
)
