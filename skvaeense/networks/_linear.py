"""Linear decoder, nonlinear encoder."""

from skvaeense.networks._dense import DenseNetwork
from skvaeense.networks._layers import SKIP, LayerSizes, Skip, check_layer_sizes

# The default hidden layers of the encoder: their number, and their least width.
N_LAYERS, MIN_WIDTH = 2, 128


class Linear(DenseNetwork):
    """Linear decoder, whose columns are the dictionary, and nonlinear encoder.

    The reconstruction is ``W e + b``. The encoder has hidden layers with SiLU because the set of
    active latents is not a linear function of the sample.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the encoder's hidden layers. "auto" means two layers with one unit per latent,
        at least 128 and at most 1,024.

    skip : bool or "first", default="first"
        Whether a linear map of the sample is added to the outputs of the encoder's heads, or of the
        first head alone. Inside one linear subspace, the exact mean is linear in the sample, and
        this map represents it even at small noise levels.

    See Also
    --------
    MLP : Decoder with hidden layers.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.networks import Linear
    >>> VAEenseTransformer(network=Linear(hidden_layer_sizes=(64,)))
    VAEenseTransformer(network=Linear(hidden_layer_sizes=(64,)))
    """

    alias = "linear"
    has_linear_decoder = True

    _parameter_constraints = {"skip": SKIP}

    def __init__(self, hidden_layer_sizes: LayerSizes = "auto", *, skip: Skip = "first") -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.skip = skip

    @property
    def is_replaceable(self) -> bool:
        """Whether the encoder has the default shortcut and the default number of layers."""
        # A derived class can have another module.
        is_own = type(self) is Linear
        return is_own and self.skip == "first" and len(self._layer_sizes(1)[0]) == N_LAYERS

    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        sizes = check_layer_sizes(
            "hidden_layer_sizes", self.hidden_layer_sizes, n_components, N_LAYERS, least=MIN_WIDTH
        )
        return sizes, []
