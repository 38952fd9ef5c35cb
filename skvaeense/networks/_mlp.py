"""Encoder and decoder with hidden layers."""

from torch import nn

from skvaeense.networks._base import Autoencoder, Network
from skvaeense.networks._layers import check_layer_sizes, hidden_layers, linear_layer


class MLP(Network):
    """Decoder with hidden layers, for curved manifolds.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the decoder's hidden layers, from the code outwards. "auto" means one layer
        with one unit per latent, at least 256 and at most 1,024: the deeper the decoder, the
        less the pattern of active latents differs between samples.

    encoder_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the encoder's hidden layers. "auto" means two layers of that same width.

    skip : bool, default=False
        Whether a linear map of the sample is added to the encoder's first head.

    See Also
    --------
    Linear : Linear decoder.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.networks import MLP
    >>> VAEenseTransformer(network=MLP((256, 256)))
    VAEenseTransformer(network=MLP(hidden_layer_sizes=(256, 256)))
    """

    def __init__(self, hidden_layer_sizes="auto", *, encoder_layer_sizes="auto", skip=False):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.encoder_layer_sizes = encoder_layer_sizes
        self.skip = skip

    def build(self, n_features, n_components, *, n_heads, generator):
        """Make the module with random weights.

        Parameters
        ----------
        n_features : int
            Number of features of a sample.

        n_components : int
            Number of latents.

        n_heads : int
            Number of outputs of the encoder for each latent: 2 for a mean and a variance.

        generator : torch.Generator
            The source of the random weights; torch's global one is left alone.

        Returns
        -------
        Autoencoder
            A torch module with `encode` and `decode`.
        """
        outer = check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_components, 1)
        inner = check_layer_sizes("encoder_layer_sizes", self.encoder_layer_sizes, n_components, 2)
        body = hidden_layers(n_features, inner, generator)
        last = inner[-1] if inner else n_features
        heads = [linear_layer(last, n_components, generator) for _ in range(n_heads)]
        skip = linear_layer(n_features, n_components, generator, bias=False) if self.skip else None
        hidden = hidden_layers(n_components, outer, generator)
        output = linear_layer(outer[-1] if outer else n_components, n_features, generator)
        decoder = nn.Sequential(*hidden, output) if outer else output
        return Autoencoder(body, heads, skip, decoder)
