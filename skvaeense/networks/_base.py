"""The specification that estimators hold, the interface of its module, and layers."""

import inspect
import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.base import clone
from torch import nn

from skvaeense.utils._torch import fixed_global_generator
from skvaeense.utils._validation import Specification

# Norm to which gradients that can explode are clipped.
MAX_GRADIENT_NORM = 0.12


class Network(Specification):
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
    >>> from skvaeense.networks import Network
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
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator | None
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

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of a code, shape (n_samples, n_features)."""
        return self.decoder(code)


def build_network(
    config: dict[str, Any], *, n_heads: int, generator: torch.Generator | None
) -> Any:
    """Return the module of a model's network; torch's global generator is left as it was."""
    network = config["network"]
    network.validate()
    settings = {"n_heads": n_heads, "generator": generator}
    if config.get("n_targets") is not None:
        if "n_targets" not in inspect.signature(network.build).parameters:
            raise ValueError(
                f"{network!r} has a decoder that reconstructs the samples themselves, so it cannot "
                "decode codes to a target. Set network='single_layer', 'linear' or 'mlp'."
            )
        settings["n_targets"] = config["n_targets"]
    with fixed_global_generator(torch.Generator() if generator is None else generator):
        module = network.build(config["n_features"], config["n_components"], **settings)
    if not (hasattr(module, "encode") and hasattr(module, "decode")):
        raise TypeError(
            f"{network!r} must build a torch.nn.Module with the methods encode and decode, got "
            f"{module!r}."
        )
    return module


def with_known(network: Network, known: dict[str, Any]) -> Network:
    """Return a network with known values, by parameter, in place of "auto"; None means unknown."""
    parameters = network.get_params(deep=False).items()
    automatic = {name for name, value in parameters if isinstance(value, str) and value == "auto"}
    values = {name: known[name] for name in automatic if known.get(name) is not None}
    return clone(network).set_params(**values) if values else network


@torch.no_grad()
def linear_layer(
    n_in: int, n_out: int, generator: torch.Generator | None, bias: bool = True
) -> nn.Linear:
    """Return a linear layer with weights uniform in ±1/sqrt(n_in), and biases of 0.

    Without a generator, the weights take no memory until they are loaded.
    """
    layer = nn.Linear(n_in, n_out, bias=bias, device="meta")
    if generator is None:
        return layer
    # `Module.to_empty` would load torch's decompositions, which takes half a second.
    for name, parameter in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    bound = 1 / math.sqrt(n_in)
    layer.weight.uniform_(-bound, bound, generator=generator)
    if bias:
        layer.bias.zero_()
    return layer


@torch.no_grad()
def dictionary_layer(n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Linear:
    """Return a linear layer as `linear_layer` does, with columns of norm 1."""
    layer = linear_layer(n_in, n_out, generator)
    if generator is not None:
        layer.weight.copy_(F.normalize(layer.weight, dim=0))
    return layer


@torch.no_grad()
def normalize_columns(weight: torch.Tensor) -> None:
    """Bring columns to norm 1, in place."""
    weight /= weight.norm(dim=0).clamp_min(torch.finfo(weight.dtype).tiny)
