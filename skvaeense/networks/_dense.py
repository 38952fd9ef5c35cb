"""Autoencoders of dense layers."""

from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.networks._base import LayeredAutoencoder, Network, OutputLayer
from skvaeense.networks._layers import add_shortcuts, count_shortcuts, hidden_layers, linear_layer


class DenseAutoencoder(LayeredAutoencoder):
    """Dense layers with SiLU between them, and linear shortcuts past them to the encoder's heads.

    Parameters
    ----------
    layers : list of torch.nn.Linear
        Hidden layers of the encoder. The outputs of the first layer are its hidden units, followed
        by the shortcuts, so that both are one product.

    heads : torch.nn.Linear
        Map from the last hidden layer to the outputs of all heads.

    decoder : torch.nn.Module
        Map from codes to samples.

    n_heads : int
        Number of outputs of the encoder for each latent.

    n_shortcuts : int
        Number of heads that have a shortcut; these heads come first.
    """

    def __init__(
        self,
        layers: Iterable[nn.Linear],
        heads: nn.Linear,
        decoder: nn.Module,
        *,
        n_heads: int,
        n_shortcuts: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.heads = heads
        self.decoder = decoder
        self.n_heads = n_heads
        self.n_shortcuts = n_shortcuts
        self.n_components = heads.out_features // n_heads

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one tensor of shape (n_samples, n_components) for each head."""
        hidden, shortcuts = self._hidden(x)
        outputs = self.heads(hidden)
        if self.n_shortcuts:
            outputs = add_shortcuts(outputs, shortcuts)
        return outputs.chunk(self.n_heads, dim=1)

    def output_layer(self, x: torch.Tensor) -> OutputLayer:
        """Return the last layer of the encoder."""
        others: tuple[tuple[Any, int], ...] = ((self.heads.bias, 0),)
        if self.n_shortcuts:
            first: Any = self.layers[0]
            place = first.out_features - self.n_shortcuts * self.n_components
            others += (first.weight, place), (first.bias, place)
        hidden = self._hidden(x)[0]
        weight, bias = self.heads.weight, self.heads.bias
        return OutputLayer(hidden, weight, bias, self.n_shortcuts > 0, others)

    def _hidden(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last hidden units, and the shortcuts."""
        shortcuts = x[:, :0]
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 0 and self.n_shortcuts:
                n_shortcuts = self.n_shortcuts * self.n_components
                x, shortcuts = x[:, :-n_shortcuts], x[:, -n_shortcuts:]
            x = F.silu(x)
        return x, shortcuts


class DenseNetwork(Network):
    """Network of dense layers; subclasses set the widths."""

    skip: Any

    @abstractmethod
    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        """Return the widths of the hidden layers of the encoder, and of the decoder."""

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        n_heads: int,
        generator: torch.Generator | None,
        n_targets: int | None = None,
    ) -> nn.Module:
        """Make the module with random weights."""
        encoder_sizes, decoder_sizes = self._layer_sizes(n_components)
        n_shortcuts = count_shortcuts(self.skip, n_heads) if encoder_sizes else 0
        widths = [n_features, *encoder_sizes]
        layers = [linear_layer(a, b, generator) for a, b in pairwise(widths)]
        if n_shortcuts:
            n_outputs = encoder_sizes[0] + n_shortcuts * n_components
            layers[0] = linear_layer(n_features, n_outputs, generator)
        heads = linear_layer(widths[-1], n_heads * n_components, generator)
        hidden = hidden_layers(n_components, decoder_sizes, generator)
        widths = [n_components, *decoder_sizes]
        output = linear_layer(widths[-1], n_targets or n_features, generator)
        decoder = nn.Sequential(*hidden, output) if decoder_sizes else output
        return DenseAutoencoder(layers, heads, decoder, n_heads=n_heads, n_shortcuts=n_shortcuts)
