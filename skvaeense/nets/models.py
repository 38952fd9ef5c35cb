"""Models: self-contained torch modules, and the law of a trained one.

A model is made from its `config`, which holds specifications and sizes, and has its weights in a
`state_dict`. It does not know about estimators. Its inputs are centred and scaled samples.
"""

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Generator, Tensor, nn

from skvaeense.explanations._laws import Codes
from skvaeense.nets.networks import DenseAutoencoder, Network, linear_layer, normalize_columns
from skvaeense.nets.penalties import Coding, Cut, Penalty
from skvaeense.nets.priors import Posterior, Prior, StandardNormal
from skvaeense.nets.thresholds import Latents, ThresholdRule
from skvaeense.samples._scaling import Scaling
from skvaeense.utils._kept import SHARES, Budget, budgets, set_share
from skvaeense.utils._records import Record
from skvaeense.utils._rows import SOME_ROWS, block_rows
from skvaeense.utils._torch import draw_seed, evaluating, fixed_global_generator, make_generator
from skvaeense.utils._typing import DoubleArray

__all__ = ["VAE", "Model", "SparseCoder"]

# Number of training samples whose gates are kept to draw from. Saved files have this number, too.
N_GATES = SOME_ROWS


class Model(nn.Module):
    """A torch module with a network that encodes and decodes.

    It can be rebuilt from its configuration and its state.

    Parameters
    ----------
    config : dict
        The arguments of the constructor of the class: specifications, numbers and strings. An entry
        for the generator does not count.

    n_heads : int
        Number of outputs of the encoder for each latent.

    generator : torch.Generator or None
        The source of the random weights; None if they will be loaded.

    Attributes
    ----------
    has_unit_columns : bool
        Whether training keeps the columns of a linear decoder at norm 1.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.nets.models import VAE
    >>> from skvaeense.nets.networks import Linear
    >>> model = VAE(Linear((16,)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> copy = VAE.from_state(model.config, model.state_dict())
    >>> x = torch.ones(2, 5)
    >>> bool(torch.equal(copy.posterior(x).mean, model.posterior(x).mean))
    True
    """

    def __init__(
        self, config: dict[str, Any], *, n_heads: int, generator: Generator | None
    ) -> None:
        super().__init__()
        self.config = dict(config)
        for name in ("self", "generator", "__class__"):
            self.config.pop(name, None)
        self.n_features: int = config["n_features"]
        self.n_components: int = config["n_components"]
        self.n_targets: int | None = config.get("n_targets")
        self.positive: bool = config["positive"]
        self.n_heads = n_heads
        self.has_unit_columns = False
        self.network = self._build_network(generator)

    def _build_network(self, generator: Generator | None) -> Any:
        """Return the module that encodes and decodes; torch's global generator does not change."""
        network = self.config["network"]
        network.validate()
        settings = {"n_heads": self.n_heads, "generator": generator}
        if self.n_targets is not None:
            if "n_targets" not in inspect.signature(network.build).parameters:
                raise ValueError(
                    f"{network!r} has a decoder that reconstructs the samples themselves, so it "
                    "cannot decode codes to a target. Set network='single_layer', 'linear' or "
                    "'mlp'."
                )
            settings["n_targets"] = self.n_targets
        with fixed_global_generator(torch.Generator() if generator is None else generator):
            return network.build(self.n_features, self.n_components, **settings)

    @classmethod
    def from_state(cls, config: dict[str, Any], state: Mapping[str, Tensor]) -> Self:
        """Return the model with a given configuration and given tensors.

        Parameters
        ----------
        config : dict
            Configuration, as in the attribute `config`.

        state : dict of torch.Tensor
            Tensors, as `state_dict` returns them; they become the tensors of the model.

        Returns
        -------
        Model
            The model, in evaluation mode.

        Raises
        ------
        RuntimeError
            If names or shapes do not fit.
        """
        model = cls.__new__(cls)
        model._restore(config, state)
        return model.eval()

    def _restore(self, config: dict[str, Any], state: Mapping[str, Tensor]) -> None:
        # The meta device allocates nothing: weights will be replaced, and the given ones may turn
        # out not to fit.
        init: Any = type(self).__init__
        for device in ("meta", "cpu"):
            with torch.device(device):
                init(self, **config, generator=None)
            self.load_state_dict(state, assign=True)
            if not self._lacks_tensors():
                break

    def _lacks_tensors(self) -> bool:
        """Return whether a part, such as a user's network, has tensors outside its state."""
        values = (v for m in self.modules() for v in (*vars(m).values(), *m.buffers(recurse=False)))
        return any(isinstance(value, Tensor) and value.is_meta for value in values)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move and convert all tensors except numbers, which stay in double precision on the CPU.

        Torch combines tensors without dimensions with tensors of any device.
        """
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if buffer is not None and buffer.ndim == 0 and buffer.dtype is torch.float64:
                self._buffers[name] = buffer
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration and arrays, for pickling.

        Some unpicklers make objects without calling their classes, and then set attributes. This
        works for arrays, but not for tensors.
        """
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}
        return {"config": self.config, "arrays": arrays, "training": self.training}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = {name: torch.tensor(np.asarray(a)) for name, a in state["arrays"].items()}
        self._restore(state["config"], tensors)
        self.train(state["training"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy tensors as they are, on their devices."""
        memo[id(self)] = other = type(self).__new__(type(self))
        vars(other).update(copy.deepcopy(vars(self), memo))
        return other

    def frozen(self) -> Self:
        """Return a model that shares all tensors, without gradients of its weights.

        Returns
        -------
        Model
            The model, through which gradients reach its inputs alone.
        """
        memo: dict[int, Any] = {id(buffer): buffer for buffer in self.buffers()}
        for weight in self.parameters():
            memo[id(weight)] = nn.Parameter(weight.detach(), requires_grad=False)
        return copy.deepcopy(self, memo)

    def decode(self, code: Tensor) -> Tensor:
        """Return the reconstruction of a code.

        Parameters
        ----------
        code : torch.Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features) or (n_samples, n_targets)
            Reconstructions, of the target if there is one.
        """
        return self.network.decode(code)

    def initialize(self, x: Tensor) -> None:
        """Let the network set its first weights from samples, if it can.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features) or (n_samples, n_features + n_targets)
            Centred and scaled training samples, followed by their target, if there is one.
        """
        x = x[:, : self.n_features]
        if hasattr(self.network, "initialize"):
            self.network.initialize(x)
        with evaluating(self):
            self._check_shapes(x[:2].to(next(self.parameters())))

    def _check_shapes(self, x: Tensor) -> None:
        """Raise an error if the network, which may be a user's, returns wrong shapes."""
        code = x.new_zeros(len(x), self.n_components)
        network, expected = self.network, self.n_heads * (code,)
        check_shapes(self.config["network"], "encode", network.encode, x, expected)
        decoded = x if self.n_targets is None else x.new_zeros(len(x), self.n_targets)
        check_shapes(self.config["network"], "decode", network.decode, code, decoded)

    def calibrate(self, x: Tensor) -> None:
        """Set values that are used after training, such as thresholds.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        if hasattr(self.network, "calibrate"):
            with evaluating(self):
                self.network.calibrate(x)

    @torch.no_grad()
    def adjust(self, gradient: Tensor) -> None:
        """Change the gradients of all weights before a step, in place.

        Their norm is limited to the `max_gradient_norm` of the network, if it has one, for a loss
        that is a fraction of the variance.

        Parameters
        ----------
        gradient : torch.Tensor of shape (n_weights,)
            The gradients of all parameters, one after the other.
        """
        limit = getattr(self.network, "max_gradient_norm", None)
        if limit is not None:
            gradient *= self.loss_unit
            gradient *= (limit / gradient.norm().clamp_min(1e-30)).clamp_max(1.0)
        if self.has_unit_columns:
            # Without the part that would change the norms of the columns.
            weight: Any = self.linear_decoder.weight  # type: ignore[union-attr]
            product = weight * weight.grad
            weight.grad -= torch.mul(weight, product.sum(dim=0), out=product)

    def renormalize(self) -> None:
        """Bring weights back to their norms after a step, also by a `normalize` of the network."""
        if hasattr(self.network, "normalize"):
            self.network.normalize()
        if self.has_unit_columns:
            normalize_columns(self.linear_decoder.weight)  # type: ignore[union-attr]

    @property
    def length(self) -> float | None:
        """The mean number of active latents that the model was made for, or None."""
        return None

    @property
    def n_entries(self) -> int:
        """The largest number of entries of a row in any layer."""
        return max(width for parameter in self.parameters() for width in parameter.shape)

    @property
    def loss_unit(self) -> float | Tensor:
        """A loss of 1, as a fraction of the variance of the samples."""
        return 1.0

    @property
    def depth(self) -> int:
        """The number of layers of the decoder; 1 if the network has no module for it."""
        decoder = getattr(self.network, "decoder", None)
        weights = decoder.parameters() if isinstance(decoder, nn.Module) else ()
        return max(1, sum(weight.ndim > 1 for weight in weights))

    @property
    def linear_decoder(self) -> nn.Linear | None:
        """The decoder, if it is one linear layer."""
        decoder = getattr(self.network, "decoder", None)
        return decoder if isinstance(decoder, nn.Linear) else None


def check_shapes(part: Any, name: str, function: Any, argument: Tensor, expected: Any) -> None:
    """Raise an error unless a function of a part's module returns tensors of expected shapes."""

    def described(value: Any) -> str:
        if isinstance(value, tuple | list):
            return f"({', '.join(map(described, value))},)"
        return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__

    try:
        found = described(function(argument))
    except RuntimeError as error:
        found = f"an error: {error}"
    if found != described(expected):
        raise ValueError(
            f"{name} of the module that {part!r} builds must return shape(s) "
            f"{described(expected)} for an argument of shape {described(argument)}, got {found}."
        )


def as_number(value: float | Tensor) -> Tensor:
    """Return a number as a tensor that a model keeps in double precision.

    A tensor stays on its device, so that nothing has to wait for its value.
    """
    if isinstance(value, Tensor):
        return value
    return torch.tensor(float(value), dtype=torch.float64, device="cpu")


def densest(x: Tensor) -> Tensor:
    """Return the sample that is closest to its neighbour number sqrt(n_samples), itself the first.

    This number of neighbours is usual for densities: D. O. Loftsgaarden and C. P. Quesenberry, "A
    nonparametric estimate of a multivariate density function", Annals of Mathematical Statistics
    36, 1965.
    """
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return x[distances.kthvalue(math.ceil(len(x) ** 0.5), dim=1).values.argmin()]


class ELBOTerms(NamedTuple):
    """The parts of the evidence lower bound of each sample.

    Attributes
    ----------
    error : torch.Tensor of shape (n_samples,)
        Expected squared error, summed over the features.

    kl : torch.Tensor of shape (n_samples,)
        Kullback-Leibler divergence of the posterior from the prior, in nats.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.nets.models import ELBOTerms
    >>> ELBOTerms(torch.ones(2), torch.zeros(2)).kl
    tensor([0., 0.])
    """

    error: Any
    kl: Any

    def loss(self, noise_variance: float, n_features: int) -> Any:
        """Return the negative bound in nats at a noise variance.

        Parameters
        ----------
        noise_variance : float
            Variance of the noise in each feature.

        n_features : int
            Number of features of a sample.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            ``(error / g + d log(2 pi g)) / 2 + kl`` with the noise variance g and d features.
        """
        volume = n_features * math.log(2 * math.pi * noise_variance)
        return 0.5 * (self.error / noise_variance + volume) + self.kl


class VAE(Model):
    """A variational autoencoder whose decoder sees gated latents.

    With mean m and standard deviation s from the encoder, decoder f and noise variance g, for d
    features::

        z = m + s * eps,  eps ~ N(0, I);     e = (1 - s) * z if gated, else z
        -2 ELBO(x) = E ||x - f(e)||^2 / g + d log(2 pi g) + 2 KL(q(z | x) || p(z))

    The gate lets a latent close for one sample (s = 1) while its decoder column stays for others.

    Parameters
    ----------
    network : Network
        Specification of encoder and decoder.

    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    gated : bool, default=True
        Whether the decoder sees ``(1 - s) z``.

    positive : bool, default=False
        Whether m is the positive part of the encoder's first output.

    prior : Prior or None, default=None
        Distribution of the latents z. None means the standard normal one.

    generator : torch.Generator or None, default=None
        The source of the random weights; None if they will be loaded.

    Attributes
    ----------
    noise_variance : torch.Tensor without dimensions
        Variance of the noise in each feature, in squared units of the scaled samples.

    is_used : torch.Tensor of bool of shape (n_components,)
        Mask of the latents that can open: after training, the latents that some training sample
        opens. All other latents have the prior as their posterior, and a code of exactly 0.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.nets.models import VAE
    >>> from skvaeense.nets.networks import Linear
    >>> model = VAE(Linear((16,)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(4, 5)
    >>> model.decode(model.code(model.posterior(x))).shape, model.elbo(x).kl.shape
    (torch.Size([4, 5]), torch.Size([4]))
    """

    noise_variance: Tensor
    gate_std: Tensor
    is_used: Tensor

    def __init__(
        self,
        network: Network,
        n_features: int,
        n_components: int,
        *,
        gated: bool = True,
        positive: bool = False,
        prior: Prior | None = None,
        generator: Generator | None = None,
    ) -> None:
        prior = StandardNormal() if prior is None else prior
        super().__init__(locals(), n_heads=2, generator=generator)
        self.gated = gated
        self.prior = prior
        self.register_buffer("noise_variance", as_number(1.0))
        n_gates = N_GATES if gated else 0
        self.register_buffer("gate_std", torch.zeros(n_gates, n_components))
        self.register_buffer("is_used", torch.ones(n_components, dtype=torch.bool))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Let the network set its first weights; the code 0 gets the image of a dense place.

        The code 0 has one image, so one part of the data at most can have codes around it. If that
        is a part of many dimensions, hardly any of its codes are near 0, and parts of few
        dimensions, which have many, open further latents to keep away from it. Samples are densest
        in parts of few dimensions. A linear decoder keeps its bias of 0, the mean.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled training samples.
        """
        super().initialize(x)
        if isinstance(self.network, DenseAutoencoder) and self.linear_decoder is None:
            bias = self.network.decoder[-1].bias
            origin = self.decode(bias.new_zeros(1, self.n_components))[0]
            bias += densest(x[:SOME_ROWS].double()).to(bias) - origin

    def posterior(self, x: Tensor) -> Posterior:
        """Return the posterior of the latents.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        Posterior
            Means and gate logits.
        """
        mean, gate_logit = self.network.encode(x)
        mean = torch.relu(mean) if self.positive else mean
        return Posterior(
            mean.masked_fill(~self.is_used, 0.0), gate_logit.masked_fill(~self.is_used, math.inf)
        )

    @torch.no_grad()
    def close_unused(self, x: Tensor) -> None:
        """Close the latents that training samples do not use, for all samples.

        No training sample opens these latents, and the divergence of each, summed over samples, is
        below ``log(n) / 2`` nats, the cost of one weight. The little that their gates let through
        carries no information, but becomes large if codes are divided by their standard deviation.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled training samples.
        """
        posterior = self.posterior(x)
        nats = StandardNormal().kl(Posterior(posterior.mean.T, posterior.gate_logit.T))
        self.is_used = self.is_open(posterior).any(dim=0) | (nats >= 0.5 * math.log(len(x)))

    def is_open(self, posterior: Posterior) -> Tensor:
        """Return the mask of open latents, by the posterior variance alone.

        Parameters
        ----------
        posterior : Posterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of bool of shape (n_samples, n_components)
            True where the variance is less than a half.
        """
        return posterior.gate_logit < 0

    @property
    def loss_unit(self) -> Tensor:
        """A loss of 1, as a fraction of the variance: the ELBO divides errors by the noise."""
        return self.noise_variance / self.n_features

    def code(self, posterior: Posterior) -> Tensor:
        """Return the code that the decoder sees at the posterior mean.

        Parameters
        ----------
        posterior : Posterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            ``(1 - s) m`` if gated, else m.
        """
        return posterior.openness * posterior.mean if self.gated else posterior.mean

    def elbo(self, x: Tensor, *, generator: Generator | None = None) -> ELBOTerms:
        """Return the terms of the evidence lower bound.

        For a linear decoder with columns W_j the expectation is exact, with the factor (1 - s_j)
        only if gated::

            E ||x - f(e)||^2 = ||x - f((1 - s) m)||^2 + sum_j (1 - s_j)^2 s_j^2 ||W_j||^2

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        generator : torch.Generator or None, default=None
            For a nonlinear decoder, the source of one draw for each sample. None takes the mean
            over 8 pairs of opposite draws that are the same for every sample, so that the result
            for a sample does not depend on other samples.

        Returns
        -------
        ELBOTerms
            The terms of each sample.
        """
        posterior = self.posterior(x)
        std = posterior.openness * posterior.std if self.gated else posterior.std
        error = self._expected_error(x, self.code(posterior), std.square(), generator)
        return ELBOTerms(error, self.prior.kl(posterior))

    def _expected_error(
        self, x: Tensor, mean: Tensor, variance: Tensor, generator: Generator | None
    ) -> Tensor:
        """Return the expected squared error, for normal codes or for a linear decoder."""
        decoder = self.linear_decoder
        if decoder is not None:
            error = (x - self.decode(mean)).square().sum(dim=1)
            return error + variance @ decoder.weight.square().sum(dim=0)
        # The root has no derivative at 0.
        std = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
        if generator is not None:
            draws = [torch.randn(mean.shape, generator=generator, dtype=x.dtype, device=x.device)]
        else:
            # Standard normal draws in opposite pairs, always the same.
            fixed = torch.Generator().manual_seed(0)
            half = torch.randn(8, self.n_components, generator=fixed, dtype=torch.float64)
            draws = list(torch.cat([half, -half]).to(x))
        error = x.new_zeros(len(x))
        for eps in draws:
            residual = x - self.decode(torch.addcmul(mean, std, eps))
            error = error + residual.square().sum(dim=1) / len(draws)
        return error

    @torch.no_grad()
    def remember_gates(self, x: Tensor) -> None:
        """Keep the gates of some training samples for `sample` to draw from.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        if len(self.gate_std):
            std = self.posterior(x[:N_GATES]).std
            self.gate_std = std[torch.arange(N_GATES, device=x.device) % len(std)]

    @torch.no_grad()
    def sample(self, n_samples: int, generator: Generator) -> Tensor:
        """Draw codes: latents from the prior, behind the gates of a random training sample.

        Parameters
        ----------
        n_samples : int
            Number of samples.

        generator : torch.Generator
            The source of randomness, on the CPU.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Codes in double precision, on the CPU.
        """
        z = self.prior.sample(n_samples, self.n_components, generator)
        if self.positive:
            z = z.abs()
        if len(self.gate_std):
            rows = torch.randint(N_GATES, (n_samples,), generator=generator)
            z = z * (1 - self.gate_std.cpu().double()[rows])
        return z

    @torch.no_grad()
    def code_scale(self) -> Tensor:
        """Return the distance that one unit of each latent moves the reconstruction.

        Returns
        -------
        torch.Tensor of shape (n_components,)
            Norms of the columns of the decoder's Jacobian at the code 0; for a linear decoder,
            norms of its columns.
        """
        decoder = self.linear_decoder
        if decoder is not None:
            return decoder.weight.norm(dim=0)
        origin = next(self.parameters()).new_zeros(self.n_components)
        return torch.func.jacrev(lambda e: self.decode(e[None])[0])(origin).norm(dim=0)


class SparseCoder(Model):
    """An autoencoder with an activation that turns pre-activations into sparse codes.

    Parameters
    ----------
    network : Network
        Specification of encoder and decoder.

    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    penalty : Penalty
        Penalty or constraint that makes codes sparse; it builds the activation.

    positive : bool, default=True
        Whether codes are not negative.

    generator : torch.Generator or None, default=None
        The source of the random weights; None if they will be loaded.

    n_targets : int or None, default=None
        Number of features of a target that codes are decoded to, as in a transcoder. None means
        that codes are decoded to the samples.

    skip_connection : bool, default=False
        Whether a linear map of the sample is added to the decoded code; only with a target.

    Attributes
    ----------
    skip : torch.nn.Linear or None
        The skip connection, without a bias, if there is one.

    activation : torch.nn.Module
        The map from pre-activations to codes.

    alpha : torch.Tensor without dimensions
        Coefficient of the penalty.

    unit : float
        Unit of codes: the root mean square norm of the samples, or of their target.

    dead_latents : torch.Tensor of int64 or None
        Indices of the latents that no recent training sample used; None while none is known.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.nets.models import SparseCoder
    >>> from skvaeense.nets.networks import SingleLayer
    >>> from skvaeense.nets.penalties import TopK
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = SparseCoder(SingleLayer(), 5, 8, penalty=TopK(2), generator=generator)
    >>> int((model.code(torch.ones(1, 5)) != 0).sum()) <= 2
    True
    """

    alpha: Tensor

    def __init__(
        self,
        network: Network,
        n_features: int,
        n_components: int,
        *,
        penalty: Penalty,
        positive: bool = True,
        generator: Generator | None = None,
        n_targets: int | None = None,
        skip_connection: bool = False,
    ) -> None:
        super().__init__(locals(), n_heads=1, generator=generator)
        self.dead_latents: Tensor | None = None
        self.unit = math.sqrt(n_targets or n_features)
        self.penalty = penalty
        self.activation: Any = penalty.build(n_components, unit=self.unit, positive=positive)
        self.register_buffer("alpha", as_number(penalty.alpha or 0.0))
        self.skip: nn.Linear | None = None
        if skip_connection:
            if n_targets is None:
                raise ValueError(
                    "skip_connection=True needs a target, as in fit(X, Y). Without a target, its "
                    "linear map would reconstruct all samples without a code."
                )
            # At first, the skip connection explains nothing of the target.
            self.skip = linear_layer(n_features, n_targets, generator, bias=False)
            nn.init.zeros_(self.skip.weight)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples and their target in rows of training.

        Parameters
        ----------
        rows : torch.Tensor of shape (n_samples, n_features + n_targets)
            Centred and scaled samples, followed by their target, if there is one.

        Returns
        -------
        x : torch.Tensor of shape (n_samples, n_features)
            The samples.

        target : torch.Tensor of shape (n_samples, n_targets) or (n_samples, n_features)
            The target, minus the output of the skip connection; the samples, if there is no target.
        """
        if self.n_targets is None:
            return rows, rows
        x, target = rows[:, : self.n_features], rows[:, self.n_features :]
        return x, target if self.skip is None else target - self.skip(x)

    def predict(self, x: Tensor) -> Tensor:
        """Return the reconstruction of samples, or of their target.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features) or (n_samples, n_targets)
            The decoded codes, plus the output of the skip connection.
        """
        decoded = self.decode(self.code(x))
        return decoded if self.skip is None else decoded + self.skip(x)

    def _check_shapes(self, x: Tensor) -> None:
        super()._check_shapes(x)
        values = self.preactivation(x)
        check_shapes(self.penalty, "forward", self.activation, values, values)

    def preactivation(self, x: Tensor) -> Tensor:
        """Return the output of the encoder.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Pre-activations.
        """
        (preactivation,) = self.network.encode(x)
        return preactivation

    def coding(self, x: Tensor) -> Coding:
        """Return the pre-activations and codes of samples.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        Coding
            Pre-activations and codes, with the activation.
        """
        preactivation = self.preactivation(x)
        code = self.activation(preactivation)
        return Coding(self.activation, preactivation, code, self.unit)

    def code(self, x: Tensor) -> Tensor:
        """Return the codes of samples.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Codes, exactly 0 where a latent is not active. Outside training, they are refined if the
            network has a method `refine`.
        """
        code: Tensor = self.activation(self.preactivation(x))
        can_refine = not self.training and hasattr(self.network, "refine")
        return self.network.refine(x, code) if can_refine else code

    def calibrate(self, x: Tensor) -> None:
        """Set values that are used after training, for codes of every length.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        # One block of rows must do for shorter codes, as there are many lengths.
        some, adapts = x[: block_rows(self.n_components)], hasattr(self.network, "calibrate")
        values: Any = None
        with evaluating(self):
            for share in (*SHARES[1:], 1.0) if self.length is not None else (1.0,):
                set_share(self, share)
                if adapts or values is None or share == 1.0:
                    rows = x if share == 1.0 else some
                    super().calibrate(rows)
                    values = self.preactivation(rows)
                if hasattr(self.activation, "calibrate"):
                    self.activation.calibrate(values)

    @torch.no_grad()
    def normalize(self) -> None:
        """Give the columns of a linear decoder norm 1.

        If there is one layer each way, their norms move to the encoder.
        """
        decoder: Any = self.linear_decoder
        encoder: Any = getattr(self.network, "encoder", None)
        weight = decoder.weight
        norms = weight.norm(dim=0)
        normalize_columns(weight)
        is_layer = isinstance(encoder, nn.Linear) and encoder.out_features == self.n_components
        if is_layer and not torch.allclose(norms, torch.ones_like(norms)):
            norms = norms.where(norms > 0, 1.0)
            encoder.weight *= norms[:, None]
            encoder.bias.data *= norms
            if isinstance(self.activation, Cut):
                self.activation.rescale(norms)

    def meet(self, x: Tensor, length: float | None) -> None:
        """Let samples have a given number of active latents on average after training.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples, not used in training.

        length : float or None
            Mean number of active latents; None leaves codes as training left them. Constraints, and
            activations without a `meet` of their own, keep their number.
        """
        if hasattr(self.activation, "meet"):
            with evaluating(self):
                self.activation.meet(self.preactivation(x), length)

    @property
    def length(self) -> float | None:
        """The number of active latents, if the penalty sets it."""
        return self.activation.k if isinstance(self.activation, Budget) else None

    def shortened(self, length: float) -> Self:
        """Return a model with the same weights whose codes have fewer active latents.

        Parameters
        ----------
        length : float
            Mean number of active latents, at most this model's `length` and at least 1/256 of it.

        Returns
        -------
        SparseCoder
            A model that shares all tensors with this one, and takes no memory for them.
        """
        whole = [module for module in self.modules() if not budgets(module)]
        shared = [*self.parameters(), *self.buffers(), *whole]
        model = copy.deepcopy(self, {id(part): part for part in shared})
        set_share(model, length / (self.length or length))
        return model


@dataclass(frozen=True, eq=False)
class NetLaw(Record):  # numpydoc ignore=PR02
    """Codes of a module, and its bound of the density.

    Parameters
    ----------
    module : VAE
        The module, for centred and scaled samples.

    scaling : Scaling
        Centre and scale of the samples.

    threshold : ThresholdRule
        The rule that decides which latents are active.

    hard : bool
        Whether codes are hard if the caller does not say.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvaeense.nets.models import NetLaw, VAE
    >>> from skvaeense.nets.networks import Linear
    >>> from skvaeense.samples._scaling import Scaling
    >>> from skvaeense.nets.thresholds import FixedVariance
    >>> module = VAE(Linear((16,)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> law = NetLaw(module, Scaling(np.zeros(5), 1.0), FixedVariance())
    >>> law.encode(np.ones((4, 5), dtype=np.float32)).values.shape
    torch.Size([4, 3])
    """

    module: VAE
    scaling: Scaling
    threshold: ThresholdRule
    hard: bool = False

    name = "net"
    table = None
    points = None

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return self.module.n_components

    @property
    def noise_variance(self) -> float:
        """Noise variance in squared units of the samples."""
        return float(self.module.noise_variance) * self.scaling.scale**2

    def placed(self, dtype: torch.dtype, device: Any) -> Self:
        """Return the law with its module in a precision and on a device."""
        parameter = next(self.module.parameters())
        if parameter.dtype == dtype and parameter.device.type == torch.device(device).type:
            return self
        return replace(self, module=copy.deepcopy(self.module).to(device=device, dtype=dtype))

    def _scaled(self, X: Any) -> Tensor:
        like = next(self.module.parameters())
        return self.scaling.apply(X, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def infer(self, X: Any) -> Posterior:
        """Return the posterior of the latents."""
        return self.module.posterior(self._scaled(X))

    def _active(self, posterior: Posterior, code: Tensor) -> Tensor:
        latents = Latents(
            log_variance=posterior.log_variance.cpu().numpy(),
            code=code.cpu().numpy(),
            code_scale=self.module.code_scale().cpu().double().numpy() * self.scaling.scale,
            noise_variance=self.noise_variance,
        )
        return torch.as_tensor(self.threshold.active(latents), device=code.device)

    @torch.no_grad()
    def soft_code(self, X: Any) -> Tensor:
        """Return codes alone, without asking the rule which latents are active."""
        return self.module.code(self.infer(X))

    @torch.no_grad()
    def encode(self, X: Any, *, hard: bool | None = None) -> Codes:
        """Return the codes of samples.

        Parameters
        ----------
        X : ndarray or torch.Tensor of shape (n_samples, n_features)
            Samples.

        hard : bool or None, default=None
            Whether codes of latents that are not active are exactly 0; None means as by default.

        Returns
        -------
        Codes
            Codes and active latents, as tensors.
        """
        posterior = self.infer(X)
        code = self.module.code(posterior)
        active = self._active(posterior, code)
        is_hard = self.hard if hard is None else hard
        # The product keeps codes that are not finite; adding 0 turns a negative 0 into 0.
        return Codes(code * active + 0.0 if is_hard else code, active)

    @torch.no_grad()
    def decode(self, codes: Any) -> Tensor:
        """Return the samples that codes decode to.

        Parameters
        ----------
        codes : ndarray or torch.Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features)
            Samples, in double precision.
        """
        # A copy, because torch warns about read-only arrays.
        codes = codes if isinstance(codes, Tensor) else torch.tensor(codes)
        given = codes.to(next(self.module.parameters()))
        return self.scaling.undo(self.module.decode(given))

    @torch.no_grad()
    def posterior(self, X: Any) -> tuple[Any, Any, Any]:
        """Return openness, and means and standard deviations of latents before the gate."""
        found = self.infer(X)
        return found.openness, found.mean, found.std

    @torch.no_grad()
    def log_prob(self, X: Any) -> Tensor:
        """Return the evidence lower bound of samples, in nats, in units of the samples.

        With a gate the encoder chooses how far latents open, which costs nothing in the bound. It
        can therefore exceed the log-density of any normalised model.
        """
        loss = self.module.elbo(self._scaled(X)).loss(float(self.module.noise_variance), X.shape[1])
        return -loss - X.shape[1] * math.log(self.scaling.scale)

    def sample(self, n_samples: int, rng: np.random.RandomState) -> DoubleArray:
        """Draw samples: latents from the prior, behind gates of random training samples."""
        codes = self.module.sample(n_samples, make_generator(draw_seed(rng)))
        with torch.no_grad():
            drawn: DoubleArray = self.decode(codes).cpu().double().numpy()
        return drawn + math.sqrt(self.noise_variance) * rng.standard_normal(drawn.shape)
