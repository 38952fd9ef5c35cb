"""Whether the parts of a file fit together. Nothing is computed, so nothing large is allocated."""

import copy
import math
import types
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import nn

from skvaeense._persistence._graph import place
from skvaeense.networks._denoiser import Denoiser

# One of these makes an estimator a fitted one.
LEARNED = ("module_", "autoencoder_")
# Fitted attributes that are numbers above 0, where an estimator has them.
POSITIVE = ("scale_", "noise_variance_", "noise_level_")


def check_parameters(estimator):
    """Check the parameters of an estimator as `fit` does; its parts are checked by themselves."""
    if getattr(estimator, "_parameter_constraints", None):
        estimator._validate_params()


def check_annotated(value, where):
    """Check the attributes that a class declares by annotations, if it does."""
    for name, hint in get_type_hints(type(value)).items():
        if not hasattr(value, name):
            raise ValueError(f"{place(where)} lacks its attribute {name!r}")
        if not _allows(hint, getattr(value, name)):
            raise ValueError(f"the attribute {name!r} of {place(where)} is of a wrong type")


def check_layer(module, where):
    """Check the shapes of a linear layer or a convolution."""
    shape: tuple[int, ...]
    if type(module) is nn.Linear:
        shape = module.out_features, module.in_features
    elif type(module) is nn.Conv2d:
        n_in = module.in_channels // module.groups
        shape = module.out_channels, n_in, *module.kernel_size
    else:
        return
    for name, expected in (("weight", shape), ("bias", shape[:1])):
        tensor = getattr(module, name)
        if tensor is not None and tuple(tensor.shape) != expected:
            raise ValueError(
                f"{name!r} of {place(where)} has shape {tuple(tensor.shape)}, not {expected}"
            )


def check_fitted(estimator, where, registry):
    """Check the attributes that all fitted estimators of the package have."""
    n_features = vars(estimator).get("n_features_in_")
    if n_features is None or not registry.knows_all([type(estimator)]):
        return
    if not any(hasattr(estimator, name) for name in LEARNED):
        raise ValueError(f"{place(where)} is fitted, but lacks the attribute {LEARNED[0]!r}")
    if not hasattr(estimator, "module_"):
        return
    for name in ("mean_", "scale_"):
        if not hasattr(estimator, name):
            raise ValueError(f"{place(where)} is fitted, but lacks the attribute {name!r}")
    mean = estimator.mean_
    if not isinstance(n_features, Integral) or np.shape(mean) != (n_features,):
        raise ValueError(
            f"mean_ of {place(where)} has shape {np.shape(mean)} for {n_features!r} features"
        )
    if not np.isfinite(mean).all():
        raise ValueError(f"mean_ of {place(where)} holds NaN or infinity")
    for name in POSITIVE:
        value = getattr(estimator, name, 1.0)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name} of {place(where)} must be a number above 0, not {value!r}")
    if not isinstance(estimator.module_, nn.Module):
        raise ValueError(f"module_ of {place(where)} is no module")
    if registry.knows_all(map(type, estimator.module_.modules())):
        _check_module(estimator, where)


def _check_module(estimator, where):
    """Send one sample through the module, of which only the shape is known."""
    try:
        shapes = _dry_run(estimator.module_, estimator.n_features_in_)
    except Exception as error:
        raise ValueError(f"the weights of {place(where)} do not fit together: {error}") from error
    n_components = getattr(estimator, "n_components_", None)
    expected = {(1, estimator.n_features_in_)} | ({(1, n_components)} if n_components else set())
    if shapes != expected:
        raise ValueError(
            f"the weights of {place(where)} are for shapes {sorted(shapes)}, not {sorted(expected)}"
        )


@torch.no_grad()
def _dry_run(module, n_features):
    """Return the shapes that a module gives for one sample, without any memory for values."""
    tensors = [*module.parameters(), *module.buffers()]
    # A copy of the structure, in which these stand for the tensors.
    without_values = {
        id(t): nn.Parameter(t.to("meta"), False) if isinstance(t, nn.Parameter) else t.to("meta")
        for t in tensors
    }
    module = copy.deepcopy(module, without_values)
    x = torch.empty((1, n_features), dtype=tensors[0].dtype, device="meta")
    if isinstance(module, Denoiser):
        return {tuple(module.noise(x, x[:, :1]).shape)}
    codes = module.encode(x)
    if hasattr(module, "activation"):
        codes = (module.activation(codes[0]),)
    return {tuple(part.shape) for part in (*codes, module.decode(codes[0]))}


def _allows(hint, value):
    """Return whether a value is of an annotated type, whatever is in it if it is a container."""
    if hint is Any:
        return True
    kind = get_origin(hint) or hint
    if kind in (Union, types.UnionType):
        return any(_allows(part, value) for part in get_args(hint))
    return isinstance(value, Real if kind is float else kind)
