"""The variational autoencoder, with or without a gate."""

import math
from typing import NamedTuple

import torch

from skvaeense.models._base import Model, arguments, as_number
from skvaeense.networks._base import Network
from skvaeense.priors import Posterior, Prior, StandardNormal
from skvaeense.utils._rows import SOME_ROWS

# Number of training samples whose gates are kept to draw from. Saved files have this number, too.
N_GATES = SOME_ROWS


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
    >>> from skvaeense.models import ELBOTerms
    >>> ELBOTerms(torch.ones(2), torch.zeros(2)).kl
    tensor([0., 0.])
    """

    error: torch.Tensor
    kl: torch.Tensor


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
    >>> from skvaeense.models import VAE
    >>> from skvaeense.networks import Linear
    >>> model = VAE(Linear((16,)), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(4, 5)
    >>> model.decode(model.code(model.posterior(x))).shape, model.elbo(x).kl.shape
    (torch.Size([4, 5]), torch.Size([4]))
    """

    noise_variance: torch.Tensor
    gate_std: torch.Tensor
    is_used: torch.Tensor

    def __init__(
        self,
        network: Network,
        n_features: int,
        n_components: int,
        *,
        gated: bool = True,
        positive: bool = False,
        prior: Prior | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        prior = StandardNormal() if prior is None else prior
        super().__init__(arguments(locals()), n_heads=2, generator=generator)
        self.gated = gated
        self.prior = prior
        self.register_buffer("noise_variance", as_number(1.0))
        n_gates = N_GATES if gated else 0
        self.register_buffer("gate_std", torch.zeros(n_gates, n_components))
        self.register_buffer("is_used", torch.ones(n_components, dtype=torch.bool))

    def posterior(self, x: torch.Tensor) -> Posterior:
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
    def close_unused(self, x: torch.Tensor) -> None:
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

    def is_open(self, posterior: Posterior) -> torch.Tensor:
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
    def loss_unit(self) -> torch.Tensor:
        """A loss of 1, as a fraction of the variance: the ELBO divides errors by the noise."""
        return self.noise_variance / self.n_features

    def code(self, posterior: Posterior, eps: torch.Tensor | None = None) -> torch.Tensor:
        """Return the code that the decoder sees.

        Parameters
        ----------
        posterior : Posterior
            Posterior of some samples.

        eps : torch.Tensor that broadcasts to (n_samples, n_components), or None, default=None
            Standard normal noise for a draw. None means the posterior mean.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            ``(1 - s) z`` if gated, else z.
        """
        z = posterior.mean
        if eps is not None:
            z = torch.addcmul(z, posterior.std, eps)
        return posterior.openness * z if self.gated else z

    def elbo(
        self,
        x: torch.Tensor,
        *,
        generator: torch.Generator | None = None,
        posterior: Posterior | None = None,
    ) -> ELBOTerms:
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

        posterior : Posterior or None, default=None
            Output of `posterior`, if it is known already.

        Returns
        -------
        ELBOTerms
            The terms of each sample.
        """
        posterior = self.posterior(x) if posterior is None else posterior
        error = self._expected_error(x, *self._decoded(posterior), generator)
        return ELBOTerms(error, self._kl(posterior))

    def bound(self, x: torch.Tensor) -> torch.Tensor:
        """Return the evidence lower bound of each sample.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Bounds in nats, in units of the scaled samples.
        """
        error, kl = self.elbo(x)
        noise_variance = float(self.noise_variance)
        constant = 0.5 * x.shape[1] * math.log(2 * math.pi * noise_variance)
        return -0.5 * error / noise_variance - kl - constant

    def _kl(self, posterior: Posterior) -> torch.Tensor:
        return self.prior.kl(posterior)

    def _decoded(self, posterior: Posterior) -> tuple[torch.Tensor, torch.Tensor]:
        """Return means and variances of the codes that the decoder sees."""
        std = posterior.openness * posterior.std if self.gated else posterior.std
        return self.code(posterior), std.square()

    def _expected_error(
        self,
        x: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        generator: torch.Generator | None,
    ) -> torch.Tensor:
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
            draws = list(opposite_draws(self.n_components).to(x))
        error = x.new_zeros(len(x))
        for eps in draws:
            residual = x - self.decode(torch.addcmul(mean, std, eps))
            error = error + residual.square().sum(dim=1) / len(draws)
        return error

    @torch.no_grad()
    def remember_gates(self, x: torch.Tensor) -> None:
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
    def sample(self, n_samples: int, generator: torch.Generator) -> torch.Tensor:
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
    def code_scale(self) -> torch.Tensor:
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


def opposite_draws(width: int, n_draws: int = 16) -> torch.Tensor:
    """Return standard normal draws in opposite pairs, in double precision, always the same."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(n_draws // 2, width, generator=generator, dtype=torch.float64)
    return torch.cat([half, -half])
