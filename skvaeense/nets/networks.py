"""Specifications of encoders and decoders; `build` turns one into a torch module.

To add an architecture, derive a class from `Network`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import clone
from torch import Generator, Tensor, nn

from skvaeense.explanations._gates import restricted_code
from skvaeense.utils import _kept, _validation
from skvaeense.utils._linalg import ROUNDING, principal_directions
from skvaeense.utils._typing import Auto

__all__ = ["MLP", "Linear", "Network", "SingleLayer", "Unrolled"]

LayerSizes: TypeAlias = Auto | int | Sequence[int]
Skip: TypeAlias = bool | Literal["first"]
AUTO = _validation.StrOptions({"auto"})
# The constraints on widths of hidden layers, which can be none, and on shortcuts.
WIDTHS = [AUTO, _validation.AT_LEAST_ONE, _validation.SIZES, _validation.Options(tuple, {()})]
SKIP = ["boolean", _validation.StrOptions({"first"})]
# Largest number of hidden layers or sweeps. A file can name more, but not in a reasonable network.
MAX_DEPTH = 100


class Network(_validation.Specification):
    """Specify an encoder and a decoder without holding any weights.

    The class derives from scikit-learn's BaseEstimator, so that networks can be cloned, and a grid
    search reaches their parameters (``network__hidden_layer_sizes``). To add an architecture,
    derive from this class and write `build`, which can return any module that has `encode` and
    `decode`.

    Before `build`, the estimator replaces the value "auto" of parameters that it knows:
    ``positive``, whether codes are not negative; and for sparse autoencoders ``n_active``, the
    wanted mean number of active latents, if there is one, and ``init_norm``, see `SingleLayer`.

    A class whose decoder is always one linear layer can set ``has_linear_decoder = True``. Methods
    that need a density of the samples then exist before a `VAEenseTransformer` is fitted.

    See Also
    --------
    Linear : Linear decoder.
    MLP : Decoder with hidden layers.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import VAEase, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.nets.networks import Network
    >>> class TanhModule(torch.nn.Module):
    ...     def __init__(self, n_features, n_components, n_heads):
    ...         super().__init__()
    ...         self.encoder = torch.nn.Sequential(
    ...             torch.nn.Linear(n_features, 32),
    ...             torch.nn.LayerNorm(32),
    ...             torch.nn.Tanh(),
    ...             torch.nn.Linear(32, n_heads * n_components),
    ...         )
    ...         self.decoder = torch.nn.Linear(n_components, n_features)
    ...         self.n_heads = n_heads
    ...     def encode(self, x):
    ...         return self.encoder(x).chunk(self.n_heads, dim=1)
    ...     def decode(self, code):
    ...         return self.decoder(code)
    >>> class Tanh(Network):
    ...     def build(self, n_features, n_components, *, n_heads, generator):
    ...         return TanhModule(n_features, n_components, n_heads)
    >>> X = make_linear_subspaces(200, dims=(1, 2), n_features=8, random_state=0)[0]
    >>> vaease = VAEase(network=Tanh(), n_init=1, max_iter=50)
    >>> vaeense = VAEenseTransformer(6, model=vaease, random_state=0)
    >>> vaeense.fit_transform(X).shape
    (200, 6)
    """

    # Whether the decoder is one linear layer, for any parameters.
    has_linear_decoder = False

    @abstractmethod
    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: Generator | None
    ) -> nn.Module:
        """Make the module with random weights.

        Parameters
        ----------
        n_features : int
            Number of features of a sample.

        n_components : int
            Number of latents.

        n_heads : int
            Number of outputs of the encoder for each latent: 2 for a VAE, which has a mean and a
            gate logit, 1 for a sparse autoencoder.

        generator : torch.Generator or None
            Source of random weights. Layers can also draw from torch's global generator, which is
            seeded before this call and restored after it. None if weights will be loaded.

        Returns
        -------
        torch.nn.Module
            The module has a method `encode`, from samples of shape (n_samples, n_features) to a
            tuple of `n_heads` tensors of shape (n_samples, n_components), and a method `decode`,
            from codes to samples. If it has an attribute `decoder` that is a torch.nn.Linear, this
            layer must be the whole decoder.

            Training uses these attributes if they exist: `initialize` is called with training
            samples before the first step, to set weights, and `calibrate` with held-out samples
            after the last step, to set thresholds and other values; `normalize` is called after
            each step; `max_gradient_norm` is the norm to which gradients are clipped, for a loss
            that is a fraction of the variance of the samples.

            If the decoder can return a target instead of samples, `build` also takes the keyword
            `n_targets`, None by default: the number of features that `decode` returns.
        """


class Autoencoder(nn.Module):
    """A module with an encoder, and a module as its decoder."""

    decoder: Any

    def decode(self, code: Tensor) -> Tensor:
        """Return the reconstruction of a code, shape (n_samples, n_features)."""
        return self.decoder(code)


def with_known(network: Network, known: dict[str, Any]) -> Network:
    """Return a network with known values, by parameter, in place of "auto"; None means unknown."""
    values = {}
    for name, value in network.get_params(deep=False).items():
        if isinstance(value, str) and value == "auto" and known.get(name) is not None:
            values[name] = known[name]
    return clone(network).set_params(**values) if values else network


@torch.no_grad()
def linear_layer(
    n_in: int, n_out: int, generator: Generator | None, bias: bool = True, unit: bool = False
) -> nn.Linear:
    """Return a linear layer with weights uniform in ±1/sqrt(n_in), and biases of 0.

    If `unit`, columns are scaled to norm 1. Without a generator, the weights take no
    memory until they are loaded.
    """
    layer = nn.Linear(n_in, n_out, bias=bias, device="meta")
    if generator is not None:
        bound = 1 / math.sqrt(n_in)
        weight = torch.empty(n_out, n_in).uniform_(-bound, bound, generator=generator)
        layer.weight = nn.Parameter(F.normalize(weight, dim=0) if unit else weight)
        if bias:
            layer.bias = nn.Parameter(torch.zeros(n_out))
    return layer


@torch.no_grad()
def normalize_columns(weight: Tensor) -> None:
    """Bring columns to norm 1, in place."""
    weight /= weight.norm(dim=0).clamp_min(torch.finfo(weight.dtype).tiny)


def dense_layers(
    n_in: int, sizes: Sequence[int], n_out: int, generator: Generator | None
) -> list[nn.Module]:
    """Return hidden layers of the given widths, each followed by SiLU, and an output layer."""
    widths, layers = [n_in, *sizes], []
    for a, b in pairwise(widths):
        layers += [linear_layer(a, b, generator), nn.SiLU()]
    return [*layers, linear_layer(widths[-1], n_out, generator)]


def layer_sizes(
    name: str, sizes: LayerSizes, n_latents: int, least: int = 128, most: int = 1024
) -> list[int]:
    """Return the hidden widths as a list.

    With "auto" there are two layers with one unit per latent, at least `least` and at most `most`.
    """
    if isinstance(sizes, str):
        return [min(max(n_latents, least), most)] * 2
    widths: list[int] = np.atleast_1d(sizes).astype(int).tolist()
    if len(widths) > MAX_DEPTH:
        raise ValueError(f"{name} must have at most {MAX_DEPTH} layers, got {len(widths)}.")
    return widths


class DenseAutoencoder(Autoencoder):
    """Dense layers each way, and perhaps a linear shortcut past the layers of the encoder.

    Parameters
    ----------
    encoder : torch.nn.Sequential or torch.nn.Linear
        Map from samples to the outputs of all heads. Its last layer is linear.

    decoder : torch.nn.Module
        Map from codes to samples.

    n_heads : int
        Number of outputs of the encoder for each latent.

    skip : torch.nn.Linear or None, default=None
        A linear map of the sample that is added to the first outputs.

    centred : bool, default=False
        Whether the bias of a linear decoder is subtracted from samples before they are encoded;
        only if the encoder is one layer.
    """

    def __init__(
        self, encoder: Any, decoder: Any, n_heads: int, skip: Any = None, centred: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.skip, self.decoder = encoder, skip, decoder
        self.n_heads, self.subtract_bias = n_heads, centred

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor of shape (n_samples, n_components) for each head."""
        outputs = F.linear(*self.output_layer(x)) if self.subtract_bias else self.encoder(x)
        if self.skip is not None:
            added = self.skip(x)
            outputs = outputs + F.pad(added, (0, outputs.shape[1] - added.shape[1]))
        return outputs.chunk(self.n_heads, dim=1)

    def output_layer(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, weights and bias of the encoder's last layer for some samples.

        The bias includes the subtraction of the decoder's bias b from the samples: with weights A,
        it is ``a - A b``. Subtracting b itself would need a gradient for each sample.
        """
        *hidden, last = [self.encoder] if isinstance(self.encoder, nn.Linear) else self.encoder
        for layer in hidden:
            x = layer(x)
        bias = last.bias - last.weight @ self.decoder.bias if self.subtract_bias else last.bias
        return x, last.weight, bias

    def kept_codes(
        self, x: Tensor, keep: Callable[[Tensor], _kept.KeptEntries]
    ) -> _kept.KeptCodes | None:
        """Return the pre-activations that `keep` selects; None with shortcuts."""
        if self.skip is not None:
            return None
        inputs, weight, bias = self.output_layer(x)
        with torch.no_grad():
            outputs = F.linear(inputs, weight, bias)
            entries = keep(outputs)
        return _kept.KeptCodes(
            _kept.KeptOutputs.apply(inputs, weight, bias, outputs, entries),
            entries,
            lambda some: F.linear(inputs, weight[some], bias[some]),
        )


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
        generator: Generator | None,
        n_targets: int | None = None,
    ) -> nn.Module:
        """Make the module with random weights."""
        inner, outer = self._layer_sizes(n_components)
        n_outputs = n_heads * n_components
        encoder = nn.Sequential(*dense_layers(n_features, inner, n_outputs, generator))
        n_linear = n_components if self.skip == "first" else n_outputs * self.skip
        skip = None
        if inner and n_linear:
            skip = linear_layer(n_features, n_linear, generator, bias=False)
        layers = dense_layers(n_components, outer, n_targets or n_features, generator)
        decoder = nn.Sequential(*layers) if outer else layers[0]
        return DenseAutoencoder(encoder, decoder, n_heads, skip)


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
    >>> from skvaeense.nets.networks import Linear
    >>> VAEase(network=Linear(hidden_layer_sizes=(64,)))
    VAEase(network=Linear(hidden_layer_sizes=(64,)))
    """

    alias = "linear"
    has_linear_decoder = True

    _parameter_constraints = {"hidden_layer_sizes": WIDTHS, "skip": SKIP}

    def __init__(self, hidden_layer_sizes: LayerSizes = "auto", *, skip: Skip = "first") -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.skip = skip

    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        return layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_components), []


@dataclass(eq=False, repr=False)
class MLP(DenseNetwork):  # numpydoc ignore=PR02
    """Decoder with hidden layers, for curved manifolds.

    Parameters
    ----------
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the decoder's hidden layers, from the code outwards. "auto" means two layers
        with one unit per latent, at least 128 and at most 1,024.

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
    >>> from skvaeense.nets.networks import MLP
    >>> VAEase(network=MLP((256, 256)))
    VAEase(network=MLP(hidden_layer_sizes=(256, 256)))
    """

    alias = "mlp"

    _parameter_constraints = {
        "hidden_layer_sizes": WIDTHS,
        "encoder_layer_sizes": WIDTHS,
        "skip": SKIP,
    }

    hidden_layer_sizes: LayerSizes = "auto"
    _: KW_ONLY
    encoder_layer_sizes: LayerSizes = "auto"
    skip: Skip = False

    def _layer_sizes(self, n_components: int) -> tuple[list[int], list[int]]:
        outer = layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_components)
        inner = layer_sizes("encoder_layer_sizes", self.encoder_layer_sizes, n_components)
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

    See Also
    --------
    Linear : Hidden layers in the encoder.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.networks import SingleLayer
    >>> SparseAutoencoder(network=SingleLayer(tied_init=False))
    SparseAutoencoder(network=SingleLayer(tied_init=False))
    """

    alias = "single_layer"
    has_linear_decoder = True

    _parameter_constraints = {
        "tied_init": ["boolean"],
        "init_norm": [_validation.POSITIVE, AUTO],
        "subtract_bias": ["boolean"],
    }

    _: KW_ONLY
    tied_init: bool = True
    init_norm: Auto | float = "auto"
    subtract_bias: bool = True

    def build(
        self,
        n_features: int,
        n_components: int,
        *,
        n_heads: int,
        generator: Generator | None,
        n_targets: int | None = None,
    ) -> nn.Module:
        """Make the module with random weights."""
        has_target = n_targets is not None
        norm = 0.1 if self.init_norm == "auto" else self.init_norm
        encoder = linear_layer(n_features, n_heads * n_components, generator)
        decoder = linear_layer(n_components, n_targets or n_features, generator, unit=True)
        if generator is not None:
            with torch.no_grad():
                if self.tied_init and not has_target:
                    encoder.weight[:n_components] = decoder.weight.T
                encoder.weight *= float(norm) / encoder.weight.norm(dim=1, keepdim=True)
        centred = self.subtract_bias and not has_target
        return DenseAutoencoder(encoder, decoder, n_heads, centred=centred)


@dataclass(eq=False, repr=False)
class Unrolled(Network):  # numpydoc ignore=PR02
    """Linear decoder, and an encoder that corrects its code in several sweeps.

    One layer decides on each latent alone. If decoder columns overlap, latents then explain the
    same part of a sample twice, or the wrong latent is kept. This encoder uses the decoder to
    compute the residual, and corrects the code: iterative hard thresholding [1]_, unrolled for a
    few sweeps with learned factors [2]_.

    With the columns of the decoder W, scaled to norm 1, in A, and their products with a sample,
    ``c = A' (x - b)``::

        u = g * c + a
        repeated:    e = u where |u| is among the largest, else 0
                     u = e + step * (c - A'A e) + shift

    where g, a, and the step and shift of each sweep have an entry for each latent. In training the
    largest are the ``n_active * n_samples`` largest entries of the whole batch. Afterwards they are
    the entries that reach the threshold of the sweep, which is set on held-out samples. The
    pre-activation of a latent is u divided by the norm of its column.

    Parameters
    ----------
    n_sweeps : int, default=3
        Number of corrections.

    n_active : "auto", float or list of float, default="auto"
        Mean number of entries that are kept in each sweep. "auto" means the `target_l0` of the
        estimator, or the k of its penalty, and a tenth of the latents if the estimator has neither.
        Codes that `transform_l0` shortens keep a share of this number.

    positive : "auto" or bool, default="auto"
        Whether negative entries are dropped. "auto" means the estimator's `positive_code`, and
        False without an estimator.

    n_refinements : int, default=2
        Number of steps towards the least error that codes take once their active latents are known.
        Only for sparse autoencoders, and not in training.

    See Also
    --------
    SingleLayer : One layer each way, which is faster.
    Linear : Hidden layers in the encoder.

    Notes
    -----
    There are few weights besides the dictionary itself, so that the encoder hardly overfits. The
    columns start at the principal directions of the training samples, and further columns start at
    random mixtures of these directions. The more columns overlap, the smaller the first factors and
    steps are: shares of the values that minimise the error of training samples [3]_. With fixed
    values, sweeps of many latents would diverge.

    Refinements are conjugate gradient steps for least squares on the active latents of each sample.
    They change neither the set of active latents nor the effect of a penalty on training. Each step
    takes about as long as a sweep.

    References
    ----------
    .. [1] T. Blumensath and M. E. Davies, "Iterative hard thresholding for compressed sensing",
       Applied and Computational Harmonic Analysis 27, 2009.
    .. [2] K. Gregor and Y. LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    .. [3] T. Blumensath and M. E. Davies, "Normalized iterative hard thresholding: guaranteed
       stability and performance", IEEE Journal of Selected Topics in Signal Processing 4, 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.penalties import BatchTopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=BatchTopK(6), max_iter=40, random_state=0)
    >>> single = sae.fit(X).score(X)
    >>> sae.set_params(network="unrolled").fit(X).score(X) > single
    True
    """

    alias = "unrolled"

    _parameter_constraints = {
        "n_sweeps": [_validation.Interval(Integral, 0, MAX_DEPTH, closed="both")],
        "n_refinements": [_validation.AT_LEAST_ZERO],
        "n_active": [_validation.POSITIVE, _validation.LENGTHS, AUTO],
        "positive": ["boolean", AUTO],
    }

    n_sweeps: int = 3
    _: KW_ONLY
    n_active: Auto | _kept.Lengths = "auto"
    positive: Auto | bool = "auto"
    n_refinements: int = 2

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: Generator | None
    ) -> nn.Module:
        """Make the module with random weights."""
        if n_heads != 1:
            raise ValueError(
                "Unrolled gives codes without a posterior, so it only works in SparseAutoencoder. "
                'Set network="linear".'
            )
        n_active = 0.1 * n_components if self.n_active == "auto" else self.n_active
        decoder = linear_layer(n_components, n_features, generator, unit=True)
        return UnrolledAutoencoder(self, decoder, n_active)


class UnrolledAutoencoder(Autoencoder):
    """A linear decoder, and sweeps that use it to encode.

    Parameters
    ----------
    network : Unrolled
        The specification.

    decoder : torch.nn.Linear
        Map from codes to samples.

    n_active : float or sequence of float
        Mean number of entries that are kept of each sample; see `BatchThreshold`.
    """

    # Gradients through the sweeps explode at times.
    max_gradient_norm = 0.12

    def __init__(self, network: Unrolled, decoder: nn.Linear, n_active: _kept.Lengths) -> None:
        super().__init__()
        n_sweeps, n_latents = int(network.n_sweeps), decoder.in_features
        self.positive = network.positive is True
        self.n_refinements = int(network.n_refinements)
        self.n_active = float(np.max(n_active))
        self.decoder = decoder
        # Shares of the values that lower the error most, which `initialize` multiplies by these.
        self.gain = nn.Parameter(torch.full((n_latents,), 0.9))
        self.offset = nn.Parameter(torch.zeros(n_latents))
        self.steps = nn.Parameter(torch.full((n_sweeps, n_latents), 0.4))
        self.shifts = nn.Parameter(torch.zeros(n_sweeps, n_latents))
        self.thresholds = nn.ModuleList(
            _kept.BatchThreshold(n_active, self.positive) for _ in range(n_sweeps)
        )

    def refine(self, x: Tensor, code: Tensor) -> Tensor:
        """Return codes with the same active latents and smaller residuals.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        code : torch.Tensor of shape (n_samples, n_components)
            Their codes, 0 where a latent is not active.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            The codes. If codes must be positive, entries that would not be positive are unchanged.
        """
        if self.n_refinements == 0:
            return code
        weight = self.decoder.weight
        seen = (x - self.decoder.bias) @ weight
        return restricted_code(
            code, code != 0, seen, weight, self.n_refinements, positive=self.positive
        )

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set the thresholds of the sweeps, in order, so that samples keep `n_active` entries.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        self.encode(x, calibrate=True)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Point the columns of the decoder at the principal directions of samples.

        Further columns are projected on these directions, with weights in proportion to the square
        root of the standard deviation along each direction.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        weight, bias = self.decoder.weight, self.decoder.bias
        weight.copy_(principal_columns(weight, x))
        atoms = weight / weight.norm(dim=0)
        self._set_first_steps((x.to(weight) - bias) @ atoms, atoms)

    def _set_first_steps(self, seen: Tensor, atoms: Tensor) -> None:
        """Multiply steps, which are shares, by the steps of normalized hard thresholding.

        A whole step minimises the summed squared error along the gradient of the kept entries, and
        is 1 if the error does not depend on it. It is 1 for orthogonal atoms, and small for
        overlapping atoms, since corrections of length 1 would then increase the error with each
        step.

        Parameters
        ----------
        seen : torch.Tensor of shape (n_samples, n_components)
            Products of centred samples and atoms.

        atoms : torch.Tensor of shape (n_features, n_components)
            Columns of norm 1.
        """
        threshold = _kept.BatchThreshold(self.n_active, self.positive).eval()

        def kept(u: Tensor) -> Tensor:
            threshold.calibrate(u)
            return u * threshold.mask(u)

        code = torch.zeros_like(seen)
        for t, step in enumerate([self.gain, *self.steps]):
            left = seen - (code @ atoms.T) @ atoms
            gradient = left * (code != 0) if t else kept(seen)
            change = (gradient @ atoms.T).square().sum()
            step *= torch.where(change > 0, gradient.square().sum() / change, 1.0)
            code = kept(code + step * left)

    def encode(self, x: Tensor, *, calibrate: bool = False) -> tuple[Tensor, ...]:
        """Return the pre-activations, in a tuple with one entry for the only head."""
        weight, bias = self.decoder.weight, self.decoder.bias
        norm = weight.norm(dim=0)
        atoms = weight / norm
        seen = x @ atoms - bias @ atoms
        u = torch.addcmul(self.offset, self.gain, seen)
        # Products of atoms and residuals follow from the overlap of the atoms, unless the overlap
        # has more entries than the atoms. Then the residuals are computed.
        n_features, n_components = atoms.shape
        overlap = atoms.T @ atoms if n_components <= n_features else None
        sweeps: Any = zip(self.thresholds, self.steps, self.shifts, strict=True)
        for threshold, step, shift in sweeps:
            if calibrate:
                threshold.calibrate(u)
            e = u * threshold.mask(u)
            left = seen - (e @ overlap if overlap is not None else e @ atoms.T @ atoms)
            u = e + step * left + shift
        return (u / norm,)

    def kept_codes(self, x: Tensor, keep: Callable[[Tensor], _kept.KeptEntries]) -> _kept.KeptCodes:
        """Return the pre-activations that `keep` selects.

        Only kept entries are decoded after each sweep, and have gradients. This is the least work
        if there are many latents and few are kept.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        keep : callable
            Function from pre-activations of shape (n_samples, n_components) to the kept entries.

        Returns
        -------
        KeptCodes
            The entries, and their values.
        """
        bias, norm = self.decoder.bias, self.decoder.weight.norm(dim=0)
        atoms = (self.decoder.weight / norm).T.contiguous()
        entries = _kept.KeptEntries.of_mask(x.new_zeros((len(x), len(atoms)), dtype=torch.bool))
        values = x.new_zeros(0)
        steps = [self.gain, *self.steps]
        shifts = [self.offset - self.gain * (atoms @ bias), *self.shifts]
        sweeps: Any = zip(steps, shifts, [*self.thresholds, None], strict=True)
        for t, (step, shift, threshold) in enumerate(sweeps):
            left = x - bias - entries.times(values, atoms) if t else x
            last, last_values = entries, values
            with torch.no_grad():
                seen = left @ atoms.T
                u = last.add_to(torch.addcmul(shift, step, seen), last_values)
                entries = keep(u / norm) if threshold is None else threshold.kept(u)
            columns = entries.columns
            change = step[columns] * _kept.KeptOutputs.apply(left, atoms, None, seen, entries)
            values = change + shift[columns] + last.carried(last_values, to=entries)

        return _kept.KeptCodes(values / norm[columns], entries)

    def answer(self, residual: Tensor, latents: Tensor) -> Tensor:
        """Return the pre-activations of silent latents, given what the other latents leave.

        Gradients reach the weights of these latents alone. Through the sweeps they would also reach
        the latents in use, and move them.

        Parameters
        ----------
        residual : torch.Tensor of shape (n_samples, n_features)
            Residuals of the samples.

        latents : torch.Tensor of shape (n_latents,)
            Indices of the latents, which are active for no sample.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_latents)
            The pre-activations.
        """
        atoms = self.decoder.weight[:, latents]
        norm = atoms.norm(dim=0)
        step, shift = [self.gain, *self.steps][-1], [self.offset, *self.shifts][-1]
        seen = residual.detach() @ (atoms / norm)
        return torch.addcmul(shift[latents], step[latents], seen) / norm


def principal_columns(columns: Tensor, x: Tensor) -> Tensor:
    """Return columns of norm 1: the principal directions of samples, then mixtures of them."""
    samples = x.double().cpu().numpy()
    variances, directions = principal_directions(samples - samples.mean(axis=0))
    rank = int((variances > ROUNDING**2 * variances[0]).sum())
    axes = torch.tensor(directions[:rank].copy()).to(columns)
    shares = torch.tensor(variances[:rank].copy()).to(columns) ** 0.25
    rows = (columns.T @ axes.T * shares) @ axes
    rows[:rank] = axes[: len(rows)]
    return F.normalize(rows, dim=1).T
