"""Layers with weights from a given generator, and the rule for their widths."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from skvaeense.networks._base import Autoencoder
from skvaeense.utils._typing import Auto

LayerSizes: TypeAlias = Auto | int | Iterable[int]
Skip: TypeAlias = bool | Literal["first"]

MIN_WIDTH, MAX_WIDTH = 256, 1024


def default_width(n_components: int) -> int:
    """Return the width of a hidden layer: one unit per latent, between 256 and 1,024."""
    return min(max(n_components, MIN_WIDTH), MAX_WIDTH)


def linear_layer(n_in: int, n_out: int, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    """Return a linear layer with weights uniform in ±1/sqrt(n_in) and no bias yet."""
    # skip_init allocates without drawing from torch's global generator.
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)
    draw_weights(layer, generator)
    return layer


def convolution(
    n_in: int, n_out: int, kernel_size: int, generator: torch.Generator, stride: int = 1
) -> nn.Conv2d:
    """Return a convolution with weights as in `linear_layer`, for the inputs of its window.

    Height and width are divided by the stride, and rounded up; the kernel size is odd.
    """
    layer = nn.utils.skip_init(
        nn.Conv2d, n_in, n_out, kernel_size, stride=stride, padding=kernel_size // 2
    )
    draw_weights(layer, generator)
    return layer


@torch.no_grad()
def draw_weights(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Draw weights uniform in ±1/sqrt(inputs of a unit), and set the bias to 0."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    layer.weight.uniform_(-bound, bound, generator=generator)
    if layer.bias is not None:
        layer.bias.zero_()


def hidden_layers(n_in: int, sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Return linear layers of the given widths, each followed by SiLU."""
    layers = []
    for a, b in pairwise([n_in, *sizes]):
        layers += [linear_layer(a, b, generator), nn.SiLU()]
    return nn.Sequential(*layers)


def shortcut_layer(
    skip: Skip, n_features: int, n_components: int, n_heads: int, generator: torch.Generator
) -> nn.Linear | None:
    """Return the linear map of samples that is added to what heads give: all, "first" or none."""
    if not isinstance(skip, bool | np.bool_) and skip != "first":
        raise ValueError(f"skip must be a boolean or 'first', got {skip!r}.")
    if not skip:
        return None
    n_outputs = n_components if skip == "first" else n_heads * n_components
    return linear_layer(n_features, n_outputs, generator, bias=False)


def check_layer_sizes(
    name: str, sizes: LayerSizes, n_components: int, n_default_layers: int
) -> list[int]:
    """Return the hidden widths as a list; "auto" means `n_default_layers` of `default_width`."""
    if isinstance(sizes, str) and sizes == "auto":
        return [default_width(n_components)] * n_default_layers
    sizes = [int(sizes)] if isinstance(sizes, Integral) else sizes
    if not isinstance(sizes, Iterable) or not all(
        isinstance(s, Integral) and s >= 1 for s in sizes
    ):
        raise ValueError(f"{name} must be 'auto' or positive integers, got {sizes!r}.")
    return [int(size) for size in sizes]


def dense_autoencoder(
    n_features: int,
    n_components: int,
    *,
    encoder_sizes: Sequence[int],
    decoder_sizes: Sequence[int],
    n_heads: int,
    skip: Skip,
    generator: torch.Generator,
) -> Autoencoder:
    """Return an autoencoder of dense layers; without hidden ones its decoder is linear."""
    body = hidden_layers(n_features, encoder_sizes, generator)
    last = encoder_sizes[-1] if encoder_sizes else n_features
    heads = [linear_layer(last, n_components, generator) for _ in range(n_heads)]
    shortcut = shortcut_layer(skip, n_features, n_components, n_heads, generator)
    hidden = hidden_layers(n_components, decoder_sizes, generator)
    last = decoder_sizes[-1] if decoder_sizes else n_components
    output = linear_layer(last, n_features, generator)
    decoder = nn.Sequential(*hidden, output) if decoder_sizes else output
    return Autoencoder(body, heads, shortcut, decoder)
