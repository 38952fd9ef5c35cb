"""Layers with weights from a given generator, and the rule for their widths."""

import math
from collections.abc import Iterable
from itertools import pairwise
from numbers import Integral

import torch
from torch import nn

from skvaeense.networks._base import Autoencoder

MIN_WIDTH, MAX_WIDTH = 256, 1024


def default_width(n_components):
    """Return the width of a hidden layer: one unit per latent, between 256 and 1,024."""
    return min(max(n_components, MIN_WIDTH), MAX_WIDTH)


def linear_layer(n_in, n_out, generator, bias=True):
    """Return a linear layer with weights uniform in ±1/sqrt(n_in) and no bias yet."""
    # skip_init allocates without drawing from torch's global generator.
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)
    bound = 1 / math.sqrt(n_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def hidden_layers(n_in, sizes, generator):
    """Return linear layers of the given widths, each followed by SiLU."""
    layers = []
    for a, b in pairwise([n_in, *sizes]):
        layers += [linear_layer(a, b, generator), nn.SiLU()]
    return nn.Sequential(*layers)


def check_layer_sizes(name, sizes, n_components, n_default_layers):
    """Return the hidden widths as a list; "auto" means `n_default_layers` of `default_width`."""
    if isinstance(sizes, str) and sizes == "auto":
        return [default_width(n_components)] * n_default_layers
    sizes = [sizes] if isinstance(sizes, Integral) else sizes
    if not isinstance(sizes, Iterable) or not all(
        isinstance(s, Integral) and s >= 1 for s in sizes
    ):
        raise ValueError(f"{name} must be 'auto' or positive integers, got {sizes!r}.")
    return [int(size) for size in sizes]


def dense_autoencoder(
    n_features, n_components, *, encoder_sizes, decoder_sizes, n_heads, skip, generator
):
    """Return an autoencoder of dense layers; without hidden ones its decoder is linear."""
    body = hidden_layers(n_features, encoder_sizes, generator)
    last = encoder_sizes[-1] if encoder_sizes else n_features
    heads = [linear_layer(last, n_components, generator) for _ in range(n_heads)]
    shortcut = linear_layer(n_features, n_components, generator, bias=False) if skip else None
    hidden = hidden_layers(n_components, decoder_sizes, generator)
    last = decoder_sizes[-1] if decoder_sizes else n_components
    output = linear_layer(last, n_features, generator)
    decoder = nn.Sequential(*hidden, output) if decoder_sizes else output
    return Autoencoder(body, heads, shortcut, decoder)
