"""One layer each way."""

import math
from numbers import Real

import torch
from torch import nn

from skvaeense.networks._base import Autoencoder, Network
from skvaeense.networks._layers import linear_layer
from skvaeense.utils._typing import Auto

INIT_NORM = 0.1


class SingleLayer(Network):
    """One linear layer each way: the network of most sparse autoencoders.

    The pre-activations of a sample are ``A (x - b) + a``, its reconstruction is ``W z + b``. What
    makes the code z of them is the estimator's part.

    Parameters
    ----------
    tied_init : bool, default=True
        Whether A starts as a multiple of the transpose of W. They are trained apart.

    init_norm : "auto" or float, default="auto"
        Norm of the rows with which A starts; the columns of W start at norm 1. Where latents are
        many and A starts as large as W, the first reconstructions are far too large, and many
        latents fall silent under the correction. "auto" means what a SparseAutoencoder's penalty
        asks for: 0.1, or 1 if it compares pre-activations with thresholds of a fixed size. Alone
        it means 0.1.

    subtract_bias : bool, default=True
        Whether the decoder's bias b is subtracted from samples before they are encoded. It starts
        at the mean of the samples.

    See Also
    --------
    Linear : Hidden layers in the encoder.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.networks import SingleLayer
    >>> SparseAutoencoder(network=SingleLayer(tied_init=False))
    SparseAutoencoder(network=SingleLayer(tied_init=False))
    """

    def __init__(
        self,
        *,
        tied_init: bool = True,
        init_norm: Auto | float = "auto",
        subtract_bias: bool = True,
    ) -> None:
        self.tied_init = tied_init
        self.init_norm = init_norm
        self.subtract_bias = subtract_bias

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator
    ) -> Autoencoder:
        """Make the module with random weights."""
        norm = (
            INIT_NORM
            if isinstance(self.init_norm, str) and self.init_norm == "auto"
            else self.init_norm
        )
        if not isinstance(norm, Real) or not 0 < norm < math.inf:
            raise ValueError(f"init_norm must be 'auto' or a positive number, got {norm!r}.")
        heads = [linear_layer(n_features, n_components, generator) for _ in range(n_heads)]
        decoder = linear_layer(n_components, n_features, generator)
        with torch.no_grad():
            decoder.weight /= decoder.weight.norm(dim=0)
            if self.tied_init:
                heads[0].weight.copy_(decoder.weight.T)
            for head in heads:
                head.weight *= norm / head.weight.norm(dim=1, keepdim=True)
        return Autoencoder(nn.Identity(), heads, None, decoder, subtract_bias=self.subtract_bias)
