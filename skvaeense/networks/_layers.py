"""Layers with weights from a given generator, and the rule for their widths."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.utils._kept_entries import Lengths, check_lengths
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, StrOptions

LayerSizes: TypeAlias = Auto | int | Iterable[int]
Skip: TypeAlias = bool | Literal["first"]

# Constraints on parameters with these names.
SWITCH: list[Any] = ["boolean"]
SKIP: list[Any] = ["boolean", StrOptions({"first"})]
POSITIVE_CODE: list[Any] = ["boolean", StrOptions({"auto"})]
N_ACTIVE: list[Any] = [POSITIVE, list, tuple, StrOptions({"auto"})]

MAX_WIDTH = 1024
# Norm to which gradients that can explode are clipped.
MAX_GRADIENT_NORM = 0.12
# Share of the latents that are active, unless an estimator knows their number.
ACTIVE_SHARE = 0.1


@torch.no_grad()
def linear_layer(
    n_in: int, n_out: int, generator: torch.Generator | None, bias: bool = True
) -> nn.Linear:
    """Return a linear layer with weights uniform in ±1/sqrt(n_in), and biases of 0.

    Without a generator, the weights take no memory until they are loaded.
    """
    layer = nn.Linear(n_in, n_out, bias=bias, device="meta")
    if generator is None:
        return layer
    # `Module.to_empty` would load torch's decompositions, which takes half a second.
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    bound = 1 / math.sqrt(n_in)
    layer.weight.uniform_(-bound, bound, generator=generator)
    if bias:
        layer.bias.zero_()
    return layer


@torch.no_grad()
def dictionary_layer(n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Linear:
    """Return a linear layer as `linear_layer` does, with columns of norm 1."""
    layer = linear_layer(n_in, n_out, generator)
    if generator is not None:
        layer.weight.copy_(F.normalize(layer.weight, dim=0))
    return layer


@torch.no_grad()
def normalize_columns(weight: torch.Tensor) -> None:
    """Bring columns to norm 1, in place."""
    weight /= weight.norm(dim=0).clamp_min(torch.finfo(weight.dtype).tiny)


def hidden_layers(
    n_in: int, sizes: Sequence[int], generator: torch.Generator | None
) -> list[nn.Module]:
    """Return linear layers of the given widths, each followed by SiLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise([n_in, *sizes]):
        layers += [linear_layer(a, b, generator), nn.SiLU()]
    return layers


def check_layer_sizes(
    name: str, sizes: LayerSizes, n_components: int, n_default_layers: int, least: int = 256
) -> list[int]:
    """Return the hidden widths as a list.

    With "auto" there are `n_default_layers` layers with one unit per latent, at least `least` and
    at most 1,024.
    """
    if isinstance(sizes, str) and sizes == "auto":
        return [min(max(n_components, least), MAX_WIDTH)] * n_default_layers
    sizes = [sizes] if isinstance(sizes, int | Integral) else sizes
    if (
        not isinstance(sizes, Iterable)
        or isinstance(sizes, bytes)
        or not all(map(AT_LEAST_ONE.is_satisfied_by, sizes))
    ):
        raise ValueError(f"{name} must be 'auto' or positive integers, got {sizes!r}.")
    return [int(size) for size in sizes]


def check_n_active(n_active: Auto | Lengths, n_components: int) -> Lengths:
    """Return wanted mean numbers of active latents; "auto" means a tenth of the latents."""
    lengths = ACTIVE_SHARE * n_components if n_active == "auto" else n_active
    check_lengths("n_active", lengths)
    return lengths
