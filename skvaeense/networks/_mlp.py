"""Encoder and decoder with hidden layers."""

from dataclasses import KW_ONLY, dataclass

from skvaeense.networks._dense import DenseNetwork
from skvaeense.networks._layers import SKIP, LayerSizes, Skip, check_layer_sizes


@dataclass(eq=False, repr=False)
class MLP(DenseNetwork):  # numpydoc ignore=PR02
    """Decoder with hidden layers, for curved manifolds.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the decoder's hidden layers, from the code outwards. "auto" means one layer
        with one unit per latent, at least 256 and at most 1,024: the deeper the decoder, the
        less the pattern of active latents differs between samples.

    encoder_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the encoder's hidden layers. "auto" means two layers of the same default width.

    skip : bool or "first", default=False
        Whether a linear map of the sample is added to the outputs of the encoder's heads, or of the
        first head alone. If samples, such as images, are not symmetric about their mean, the active
        latents depend on this map, and True lowers the error.

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

    alias = "mlp"

    _parameter_constraints = {"skip": SKIP}

    hidden_layer_sizes: LayerSizes = "auto"
    _: KW_ONLY
    encoder_layer_sizes: LayerSizes = "auto"
    skip: Skip = False

    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        outer = check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_components, 1)
        inner = check_layer_sizes("encoder_layer_sizes", self.encoder_layer_sizes, n_components, 2)
        return inner, outer
