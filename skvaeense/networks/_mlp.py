"""Encoder and decoder with hidden layers."""

import numpy as np
import torch
from torch import nn

from skvaeense.networks._dense import DenseNetwork
from skvaeense.networks._layers import N_ACTIVE, SKIP, LayerSizes, Skip, check_layer_sizes
from skvaeense.networks._shared_gates import SharedGates
from skvaeense.utils._budget import Lengths, check_lengths
from skvaeense.utils._typing import Auto


class MLP(DenseNetwork):
    """Decoder with hidden layers, for curved manifolds.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the decoder's hidden layers, from the code outwards. "auto" means one layer
        with one unit per latent, at least 256 and at most 1,024: the deeper the decoder, the
        less the pattern of active latents differs between samples.

    encoder_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the encoder's hidden layers. "auto" means two layers of that same width.

    skip : bool or "first", default=False
        Whether a linear map of the sample is added to what the encoder's heads give, or to the
        first head alone. Where samples are not symmetric about their mean, as images are not, what
        is active depends on it, and True lowers the error.

    n_active : "auto", float or list of float, default="auto"
        Mean number of active latents that a VAE keeps open; of several, the largest counts. If it
        is given, gate logits are one number for each latent, and the decoder takes codes in a
        larger unit; see the notes. "auto" means the estimator's `target_l0`, or none. A sparse
        autoencoder has no gates, and does not use it, and nor does a linear decoder.

    See Also
    --------
    Linear : Linear decoder.
    Conv : Convolutional encoder and decoder, for images.

    Notes
    -----
    Where a `target_l0` decides which latents open, the gate has nothing to add to it. So as in
    `Unrolled` its logits are then the same for all samples, and means are divided by ``1 - s``.
    With d features and k active latents, the hidden layers of the decoder see codes times
    ``sqrt(d / k)``: k latents of variance 1, as in the prior, then make up a sample without large
    weights, which would take long to grow.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.networks import MLP
    >>> VAEenseTransformer(network=MLP((256, 256)))
    VAEenseTransformer(network=MLP(hidden_layer_sizes=(256, 256)))
    """

    _parameter_constraints = {"skip": SKIP, "n_active": N_ACTIVE}

    def __init__(
        self,
        hidden_layer_sizes: LayerSizes = "auto",
        *,
        encoder_layer_sizes: LayerSizes = "auto",
        skip: Skip = False,
        n_active: Auto | Lengths = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.encoder_layer_sizes = encoder_layer_sizes
        self.skip = skip
        self.n_active = n_active

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        n_heads: int,
        generator: torch.Generator | None,
    ) -> nn.Module:
        """Make the module with random weights."""
        is_linear = not self._layer_sizes(n_components)[1]
        if self.n_active == "auto" or n_heads == 1 or is_linear:
            return super().build(n_features, n_components, n_heads=n_heads, generator=generator)
        check_lengths("n_active", self.n_active)
        network = super().build(n_features, n_components, n_heads=1, generator=generator)
        return SharedGates(network, n_features, n_components, float(np.max(self.n_active)))

    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        outer = check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_components, 1)
        inner = check_layer_sizes("encoder_layer_sizes", self.encoder_layer_sizes, n_components, 2)
        return inner, outer
