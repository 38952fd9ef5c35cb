"""Checks of the content of a file, before large allocations and before it is returned."""

import math
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skvaeense._base import BaseAutoencoder
from skvaeense._intrinsic_dimension import IntrinsicDimensionEstimator
from skvaeense._vaeense import VAEenseTransformer
from skvaeense.explanations import FlatLaw, GateDictionary, GateLaw
from skvaeense.explanations._explain import CodeStream
from skvaeense.explanations._gate_fits import GateStream
from skvaeense.mixture import MixtureDensity, SubspaceMixture
from skvaeense.mixture._rows import Units
from skvaeense.nets.models import Model
from skvaeense.utils._validation import fitted as fitted_attributes

KINDS: dict[Any, Any] = {bool: (bool, np.bool_), int: Integral, float: Real}
LAWS = FlatLaw | GateLaw | MixtureDensity
# Kinds of the attributes that hold laws, and the units and the state of a fit.
PARTS: dict[str, Any] = {
    "_coder_": FlatLaw | GateLaw,
    "_law_": GateLaw,
    "_mixture_": MixtureDensity,
    "density_": MixtureDensity | GateLaw | None,
    "_units_": Units,
    "_stream_": CodeStream | GateStream,
}
FITTED = BaseAutoencoder | IntrinsicDimensionEstimator | GateDictionary | SubspaceMixture


def place(where: str) -> str:
    """Return the name of an attribute path for messages."""
    return where or "the estimator"


def check_parameters(estimator: BaseEstimator) -> None:
    """Check the parameters of an estimator as `fit` does; its parts are checked separately."""
    if getattr(estimator, "_parameter_constraints", None):
        estimator._validate_params()


def check_model(cls: Any, config: Mapping[str, Any], state: Mapping[str, Any], where: str) -> None:
    """Check the types of a model's configuration and tensors; the model checks the shapes."""
    check_types(get_type_hints(cls.__init__), config, where)
    check_types(dict.fromkeys(state, torch.Tensor), state, where)
    # Single numbers have double precision, whatever the precision of the weights.
    precisions = {t.dtype for t in state.values() if t.is_floating_point() and t.ndim}
    if len(precisions) != 1:
        raise ValueError(f"the weights of {place(where)} must all have the same precision")


def check_fitted(estimator: BaseEstimator, where: str) -> None:
    """Check the attributes that all fitted estimators of the package have."""
    fitted = fitted_attributes(estimator)
    if not fitted or not isinstance(estimator, FITTED):
        return
    needed = _needed(estimator, fitted)
    for name in ["n_features_in_", *needed]:
        if name not in fitted:
            raise ValueError(f"{place(where)} is fitted, but lacks the attribute {name!r}")
    own = next(cls for cls in type(estimator).__mro__ if cls.__module__.startswith("skvaeense."))
    check_types(get_type_hints(own) | PARTS, fitted, where)
    part, n_targets = fitted[needed[0]], None
    sizes = n_features, n_components = fitted["n_features_in_"], fitted.get("n_components_")
    found = getattr(part, "n_features_in_", n_features), n_components
    if isinstance(part, Model):
        n_targets = part.config.get("n_targets")
        found = part.config["n_features"], part.config["n_components"]
    elif isinstance(part, LAWS):
        found = part.n_features, getattr(part, "n_components", n_components)
    if found != sizes:
        raise ValueError(f"{needed[0]} of {place(where)} has sizes {found}, not {sizes}")
    for name in PARTS.keys() & fitted:
        if fitted[name] is not None and fitted[name].n_features != n_features:
            raise ValueError(f"{name} of {place(where)} is not of {n_features} features")
    if (n_targets is not None) != ("target_mean_" in fitted and "target_scale_" in fitted):
        raise ValueError(f"the model of {place(where)} does not match its target")
    shapes = {
        "mean_": (n_features,),
        "target_mean_": (n_targets,),
        "components_": (n_components, n_targets or n_features),
    }
    if isinstance(fitted.get("scale_"), np.ndarray):
        shapes["scale_"] = (n_features,)
    if isinstance(fitted.get("target_scale_"), np.ndarray):
        shapes["target_scale_"] = (n_targets,)
    _check_arrays(fitted, shapes, where)


def _needed(estimator: BaseEstimator, fitted: Mapping[str, Any]) -> list[str]:
    """Return the names of the attributes that a fitted estimator must have, the model first."""
    if isinstance(estimator, IntrinsicDimensionEstimator):
        return ["autoencoder_"]
    if isinstance(estimator, GateDictionary):
        return ["_law_", "_units_", "components_", "mean_"]
    if isinstance(estimator, SubspaceMixture):
        return ["density_"]
    if "_coder_" in fitted:
        return ["_coder_", "density_", "_units_", "components_", "mean_"]
    density = ["density_"] if isinstance(estimator, VAEenseTransformer) else []
    return ["module_", "mean_", "scale_", *density]


def _check_arrays(fitted: Mapping[str, Any], shapes: Mapping[str, Any], where: str) -> None:
    """Check the shapes of arrays, and that numbers are finite or above 0."""
    for name in sorted(shapes.keys() & fitted):
        array, shape = fitted[name], shapes[name]
        if array.shape != shape:
            raise ValueError(f"{name} of {place(where)} has shape {array.shape}, not {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} of {place(where)} holds NaN or infinity")
    for name in ("scale_", "target_scale_", "noise_variance_", "noise_level_"):
        value = fitted.get(name, 1.0)
        if not np.all((np.asarray(value) > 0) & (np.asarray(value) < math.inf)):
            raise ValueError(f"{name} of {place(where)} must be a number above 0, not {value!r}")


@contextmanager
def named(part: str, where: str) -> Iterator[None]:
    """Raise errors about a part of an estimator as a ValueError that names it."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"the {part} of {place(where)} is damaged: {error}") from error


def check_types(hints: Mapping[str, Any], values: Mapping[str, Any], where: str) -> None:
    """Check the types of values that have annotations."""
    for name, value in values.items():
        if not _allows(hints.get(name, Any), value):
            raise ValueError(f"{name!r} of {place(where)} has the wrong type")


def _allows(hint: Any, value: Any) -> bool:
    """Return whether a value is of an annotated type, with all items of a sequence."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind is Literal:
        return value in arguments
    if kind in (Union, types.UnionType):
        return any(_allows(part, value) for part in arguments)
    if not isinstance(value, KINDS.get(kind, kind)):
        return False
    is_sequence = kind in (list, tuple, Sequence)
    return not is_sequence or all(any(_allows(a, item) for a in arguments) for item in value)
