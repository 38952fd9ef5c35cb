"""Autoencoders of dense layers, with linear shortcuts past them, and of a single layer each way."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.networks._base import Autoencoder, Network, dictionary_layer, linear_layer
from skvaeense.utils._kept import KeptCodes, KeptEntries, KeptOutputs
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, StrOptions

LayerSizes: TypeAlias = Auto | int | Iterable[int]
Skip: TypeAlias = bool | Literal["first"]
# The constraint on parameters with this name.
SKIP: list[Any] = ["boolean", StrOptions({"first"})]


# Inputs, weights and bias of a linear layer.
Layer: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class LayeredAutoencoder(Autoencoder):
    """An autoencoder whose pre-activations come from a linear layer."""

    def output_layer(self, x: torch.Tensor) -> Layer | None:
        """Return the last layer of the encoder for some samples; None if there are shortcuts."""
        raise NotImplementedError

    def kept_codes(
        self, x: torch.Tensor, keep: Callable[[torch.Tensor], KeptEntries]
    ) -> KeptCodes | None:
        """Return the pre-activations that `keep` selects; None with shortcuts."""
        layer = self.output_layer(x)
        if layer is None:
            return None
        inputs, weight, bias = layer
        with torch.no_grad():
            outputs = F.linear(inputs, weight, bias)
            entries = keep(outputs)
        return KeptCodes(
            KeptOutputs.apply(inputs, weight, bias, outputs, entries),
            entries,
            lambda some: F.linear(inputs, weight[some], bias[some]),
        )


def hidden_layers(
    n_in: int, sizes: Sequence[int], generator: torch.Generator | None
) -> list[nn.Module]:
    """Return linear layers of the given widths, each followed by SiLU."""
    layers: list[nn.Module] = []
    for a, b in pairwise([n_in, *sizes]):
        layers += [linear_layer(a, b, generator), nn.SiLU()]
    return layers


def check_layer_sizes(
    name: str, sizes: LayerSizes, n_latents: int, n_layers: int, least: int = 256, most: int = 1024
) -> list[int]:
    """Return the hidden widths as a list.

    With "auto" there are `n_layers` layers with one unit per latent, at least `least` and at most
    `most`.
    """
    if isinstance(sizes, str) and sizes == "auto":
        return [min(max(n_latents, least), most)] * n_layers
    sizes = [sizes] if isinstance(sizes, int | Integral) else sizes
    if (
        not isinstance(sizes, Iterable)
        or isinstance(sizes, bytes)
        or not all(map(AT_LEAST_ONE.is_satisfied_by, sizes))
    ):
        raise ValueError(f"{name} must be 'auto' or positive integers, got {sizes!r}.")
    return [int(size) for size in sizes]


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

    def output_layer(self, x: torch.Tensor) -> Layer | None:
        """Return the last layer of the encoder for some samples; None if there are shortcuts."""
        heads: Any = self.encoder[-1]
        return None if self.skip is not None else (self.encoder[:-1](x), heads.weight, heads.bias)


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
        n_linear = n_components if self.skip == "first" else n_heads * n_components * self.skip
        hidden = hidden_layers(n_features, encoder_sizes, generator)
        width = encoder_sizes[-1] if encoder_sizes else n_features
        heads = linear_layer(width, n_heads * n_components, generator)
        linear = None
        if encoder_sizes and n_linear:
            linear = linear_layer(n_features, n_linear, generator, bias=False)
        inner = hidden_layers(n_components, decoder_sizes, generator)
        width = decoder_sizes[-1] if decoder_sizes else n_components
        output = linear_layer(width, n_targets or n_features, generator)
        decoder = nn.Sequential(*inner, output) if inner else output
        return ShortcutAutoencoder(nn.Sequential(*hidden, heads), linear, decoder, n_heads=n_heads)


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
    >>> from skvaeense import VAEase
    >>> from skvaeense.networks import Linear
    >>> VAEase(network=Linear(hidden_layer_sizes=(64,)))
    VAEase(network=Linear(hidden_layer_sizes=(64,)))
    """

    alias = "linear"
    has_linear_decoder = True

    _parameter_constraints = {"skip": SKIP}

    def __init__(self, hidden_layer_sizes: LayerSizes = "auto", *, skip: Skip = "first") -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.skip = skip

    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        sizes = self.hidden_layer_sizes
        return check_layer_sizes("hidden_layer_sizes", sizes, n_components, 2, least=128), []


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
    >>> from skvaeense import VAEase
    >>> from skvaeense.networks import MLP
    >>> VAEase(network=MLP((256, 256)))
    VAEase(network=MLP(hidden_layer_sizes=(256, 256)))
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


@dataclass(eq=False, repr=False)
class SingleLayer(Network):  # numpydoc ignore=PR02
    """One linear layer each way: the network of most sparse autoencoders.

    The pre-activations of a sample are ``A (x - b) + a``, its reconstruction is ``W z + b``. The
    estimator turns pre-activations into the code z.

    Parameters
    ----------
    tied_init : bool, default=True
        Whether A starts as a multiple of the transpose of W. The two are trained separately.

    init_norm : "auto" or float, default="auto"
        First norm of the rows of A; the columns of W start at norm 1. If there are many latents and
        A starts as large as W, the first reconstructions are far too large, and many latents fall
        silent under the correction. "auto" means the value of a SparseAutoencoder's penalty: 0.1,
        or 1 if the penalty compares pre-activations with thresholds of a fixed size. Without an
        estimator, it means 0.1.

    subtract_bias : bool, default=True
        Whether the decoder's bias b is subtracted from samples before they are encoded. It starts
        at the mean of the samples.

        This parameter and `tied_init` have no effect if codes are decoded to a target, whose
        features are not the features of the samples.

    aligned : bool, default=False
        Whether each row of A keeps an inner product of 1 with the direction of its column of W, as
        in [2]_: after each step, the row is moved along that direction. So a latent reads what it
        writes. This also sets the first norms of A, whatever `init_norm`.

    See Also
    --------
    Linear : Hidden layers in the encoder.

    References
    ----------
    .. [1] L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.
    .. [2] M. Brzozowski and N. C. Chung, "Aligned training: a parameter-free method to improve
       feature quality and stability of sparse autoencoders", 2026, arXiv:2605.18629.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.networks import SingleLayer
    >>> SparseAutoencoder(network=SingleLayer(tied_init=False))
    SparseAutoencoder(network=SingleLayer(tied_init=False))
    """

    alias = "single_layer"
    has_linear_decoder = True

    _parameter_constraints = {
        "tied_init": ["boolean"],
        "init_norm": [POSITIVE, StrOptions({"auto"})],
        "subtract_bias": ["boolean"],
        "aligned": ["boolean"],
    }

    _: KW_ONLY
    tied_init: bool = True
    init_norm: Auto | float = "auto"
    subtract_bias: bool = True
    aligned: bool = False

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
        has_target = n_targets is not None
        if has_target and self.aligned:
            raise ValueError(
                "aligned=True aligns the encoder with the decoder, which is not possible if codes "
                "are decoded to a target. Set aligned=False."
            )
        norm = 0.1 if self.init_norm == "auto" else self.init_norm
        encoder = linear_layer(n_features, n_heads * n_components, generator)
        decoder = dictionary_layer(n_components, n_targets or n_features, generator)
        if generator is not None:
            with torch.no_grad():
                if self.tied_init and not has_target:
                    encoder.weight[:n_components] = decoder.weight.T
                encoder.weight *= float(norm) / encoder.weight.norm(dim=1, keepdim=True)
        kind = AlignedAutoencoder if self.aligned else SingleLayerAutoencoder
        subtracts = self.subtract_bias and not has_target
        module: Any = kind(encoder, decoder, n_heads=n_heads, subtract_bias=subtracts)
        if self.aligned and generator is not None:
            module.normalize()
        return module


class SingleLayerAutoencoder(LayeredAutoencoder):
    """One linear layer each way.

    Parameters
    ----------
    encoder, decoder : torch.nn.Linear
        Maps from samples to the outputs of all heads, and from codes to samples.

    n_heads : int
        Number of outputs of the encoder for each latent.

    subtract_bias : bool
        Whether the decoder's bias is subtracted from samples before they are encoded.
    """

    def __init__(
        self, encoder: nn.Linear, decoder: nn.Linear, *, n_heads: int, subtract_bias: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.n_heads = n_heads
        self.subtract_bias = subtract_bias

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one tensor of shape (n_samples, n_components) for each head."""
        return F.linear(*self.output_layer(x)).chunk(self.n_heads, dim=1)

    def output_layer(self, x: torch.Tensor) -> Layer:
        """Return the layer that gives the pre-activations.

        The layer's bias includes the subtraction of the decoder's bias b from the samples: with
        weights A, it is ``a - A b``. Subtracting b itself would need a gradient for each sample.
        """
        weight = self.encoder.weight
        bias: torch.Tensor = self.encoder.bias
        if self.subtract_bias:
            bias = bias - weight @ self.decoder.bias
        return x, weight, bias


class AlignedAutoencoder(SingleLayerAutoencoder):
    """One linear layer each way, whose encoder rows read what decoder columns write."""

    @torch.no_grad()
    def normalize(self) -> None:
        """Move rows of the first head along the directions of columns, to inner products of 1."""
        directions = F.normalize(self.decoder.weight.T, dim=1)
        rows = self.encoder.weight[: len(directions)]
        rows += (1 - (rows * directions).sum(dim=1, keepdim=True)) * directions
