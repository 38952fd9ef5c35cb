"""Autoencoders of layers with linear shortcuts past them."""

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.networks._base import LayeredAutoencoder, Network, OutputLayer
from skvaeense.networks._layers import Skip, hidden_layers, linear_layer


class ShortcutAutoencoder(LayeredAutoencoder):
    """An encoder of any layers with linear shortcuts past them, and a decoder.

    Parameters
    ----------
    encoder : torch.nn.Sequential
        Map from samples to the outputs of all heads. Its last layer is linear.

    skip : torch.nn.Linear or None
        A linear map of the sample that is added to the first outputs.

    decoder : torch.nn.Module
        Map from codes to samples.

    n_heads : int
        Number of outputs of the encoder for each latent.
    """

    def __init__(
        self, encoder: nn.Sequential, skip: nn.Linear | None, decoder: nn.Module, *, n_heads: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.skip = skip
        self.decoder = decoder
        self.n_heads = n_heads

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one tensor of shape (n_samples, n_components) for each head."""
        outputs = self.encoder(x)
        if self.skip is not None:
            added = self.skip(x)
            outputs = outputs + F.pad(added, (0, outputs.shape[1] - added.shape[1]))
        return outputs.chunk(self.n_heads, dim=1)

    def output_layer(self, x: torch.Tensor) -> OutputLayer:
        """Return the last layer of the encoder."""
        heads: Any = self.encoder[-1]
        others = [heads.bias] if self.skip is None else [heads.bias, self.skip.weight]
        hidden = self.encoder[:-1](x)
        return OutputLayer(hidden, heads.weight, heads.bias, self.skip is not None, others)


def shortcuts(
    skip: Skip, n_features: int, n_components: int, n_heads: int, generator: torch.Generator | None
) -> nn.Linear | None:
    """Return the linear map that is added to all heads, or to the first one; None for none."""
    n_outputs = n_components if skip == "first" else n_heads * n_components * int(skip)
    return linear_layer(n_features, n_outputs, generator, bias=False) if n_outputs else None


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
        skip = self.skip if encoder_sizes else False
        hidden = hidden_layers(n_features, encoder_sizes, generator)
        width = encoder_sizes[-1] if encoder_sizes else n_features
        heads = linear_layer(width, n_heads * n_components, generator)
        linear = shortcuts(skip, n_features, n_components, n_heads, generator)
        inner = hidden_layers(n_components, decoder_sizes, generator)
        width = decoder_sizes[-1] if decoder_sizes else n_components
        output = linear_layer(width, n_targets or n_features, generator)
        decoder = nn.Sequential(*inner, output) if inner else output
        return ShortcutAutoencoder(nn.Sequential(*hidden, heads), linear, decoder, n_heads=n_heads)
