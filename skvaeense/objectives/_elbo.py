"""The evidence lower bound of a variational autoencoder, with or without gate."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from skvaeense._kernels import Workspace, draw_code, squared_error
from skvaeense.objectives._base import BatchLoss, Objective
from skvaeense.objectives._noise import NoiseVariance

# Pairs of opposite draws that stand for the expectation under a nonlinear decoder.
EXPECTATION_PAIRS = 8


class ELBOTerms(NamedTuple):
    """The parts of the bound for each sample.

    Attributes
    ----------
    error : torch.Tensor of shape (n_samples,)
        Expected squared error, summed over the features.

    kl : torch.Tensor of shape (n_samples,)
        Kullback-Leibler divergence of the posterior from the prior, in nats.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.objectives import ELBOTerms
    >>> ELBOTerms(torch.ones(2), torch.zeros(2)).kl
    tensor([0., 0.])
    """

    error: torch.Tensor
    kl: torch.Tensor


class ELBO(Objective):
    """Negative evidence lower bound, times two.

    With mean m and standard deviation s from the encoder, code e and decoder f, for d features::

        z = m + s * eps,  eps ~ N(0, I);     e = (1 - s) * z if gated, else z
        -2 ELBO(x) = E ||x - f(e)||^2 / g + d log(2 pi g) + sum_j (s_j^2 + m_j^2 - 1 - log s_j^2)

    The gate lets a latent close for one sample (s = 1) while its decoder column stays for others.
    The encoder's second output h gives ``log s^2 = logsigmoid(h)``, so that s is within (0, 1).

    Parameters
    ----------
    noise : NoiseVariance
        The noise variance g and how it changes during training.

    gated : bool, default=True
        Whether the decoder sees ``(1 - s) z``. False is the variational autoencoder.

    positive : bool, default=False
        Whether m is the encoder's first output where that is positive, and 0 elsewhere.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.networks import Linear
    >>> from skvaeense.objectives import ELBO, NoiseVariance
    >>> generator = torch.Generator().manual_seed(0)
    >>> module = Linear().build(5, 3, n_heads=2, generator=generator)
    >>> elbo = ELBO(NoiseVariance(0.1, floor=0.001))
    >>> loss = elbo.loss(module, torch.ones(4, 5), progress=0.0, generator=generator)
    >>> loss.total.shape
    torch.Size([])
    """

    n_heads = 2
    # What files of early versions, which have no such entry, mean.
    positive = False

    def __init__(self, noise: NoiseVariance, *, gated: bool = True, positive: bool = False) -> None:
        self.noise = noise
        self.gated = gated
        self.positive = positive
        self._last_noise_variance = noise.at(0.0)

    @property
    def noise_variance(self) -> float:
        """Noise variance in each feature that the last loss was computed at."""
        return float(self._last_noise_variance)

    @property
    def trade_off(self) -> float:
        """The noise variance."""
        return self.noise_variance

    def loss(
        self,
        module: Any,
        x: torch.Tensor,
        *,
        progress: float,
        generator: torch.Generator,
        workspace: Workspace | None = None,
    ) -> BatchLoss:
        """Compute the loss of a batch, with one draw of the noise for each sample.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode` and `decode`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        progress : float
            How much of the training is done, in [0, 1).

        generator : torch.Generator
            The source of the noise.

        workspace : Workspace or None, default=None
            Memory to use again.

        Returns
        -------
        BatchLoss
            -2 ELBO without its constants, and its parts.
        """
        workspace = Workspace() if workspace is None else workspace
        mean, opening = self._outputs(module, x)
        eps = workspace.like(mean, "eps").normal_(generator=generator)
        code, kl = draw_code(mean, opening, eps, gated=self.gated, workspace=workspace)
        errors, _ = squared_error(x, module.decode(code), workspace=workspace)
        error, cost = errors.mean(), 2 * kl.mean()
        noise_variance = self.noise.at(progress)
        self._last_noise_variance = noise_variance
        seen = error.detach() / x.shape[1]
        return BatchLoss(error / noise_variance + cost, error.detach(), cost.detach(), seen)

    def observe(self, seen: torch.Tensor, *, n_samples: int, progress: float) -> None:
        """Let the noise variance follow the error.

        Parameters
        ----------
        seen : torch.Tensor without dimensions
            Mean squared error per feature.

        n_samples : int
            Not used.

        progress : float
            Not used.
        """
        self.noise.observe(seen)

    def posterior(self, module: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and the log variance of each latent.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode` and `decode`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        mean : torch.Tensor of shape (n_samples, n_components)
            Posterior mean.

        log_variance : torch.Tensor of shape (n_samples, n_components)
            Logarithm of the posterior variance, at most 0.
        """
        mean, opening = self._outputs(module, x)
        return mean, F.logsigmoid(opening)

    def _outputs(self, module: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the posterior mean and h."""
        mean, opening = module.encode(x)
        return torch.relu(mean) if self.positive else mean, opening

    def code(self, z: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        """Return what the decoder sees.

        Parameters
        ----------
        z : torch.Tensor of shape (n_samples, n_components)
            Latents: the posterior mean, or a draw.

        log_variance : torch.Tensor of shape (n_samples, n_components)
            Logarithm of the posterior variance.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            ``(1 - s) z`` if gated, else z.
        """
        return -torch.expm1(0.5 * log_variance) * z if self.gated else z

    def mean_code(self, module: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the decoder sees of the posterior means, and h.

        It takes half the time of `posterior` and `code`: ``1 - s = sigmoid(-h) / (1 + s)``.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode` and `decode`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        code : torch.Tensor of shape (n_samples, n_components)
            Codes.

        opening : torch.Tensor of shape (n_samples, n_components)
            The encoder's second output h, with ``s^2 = sigmoid(h)``.
        """
        mean, opening = self._outputs(module, x)
        if not self.gated:
            return mean, opening
        deviation = torch.sigmoid(opening).sqrt_()
        gate = torch.sigmoid(-opening).div_(deviation.add_(1))
        return gate.mul_(mean), opening

    def sampled_terms(
        self,
        module: Any,
        x: torch.Tensor,
        mean: torch.Tensor,
        log_variance: torch.Tensor,
        eps: torch.Tensor,
    ) -> ELBOTerms:
        """Return the terms with the expectation taken at the given noise.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode` and `decode`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        mean, log_variance : torch.Tensor of shape (n_samples, n_components)
            What `posterior` returns.

        eps : torch.Tensor that broadcasts to (n_samples, n_components)
            Standard normal noise.

        Returns
        -------
        ELBOTerms
            The terms of each sample.
        """
        z = torch.addcmul(mean, torch.exp(0.5 * log_variance), eps)
        error = (x - module.decode(self.code(z, log_variance))).square().sum(dim=1)
        return ELBOTerms(error, _kl(mean, log_variance))

    def exact_terms(
        self, module: Any, x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
    ) -> ELBOTerms:
        """Return the terms with the exact expectation, for a linear decoder.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder; its decoder is linear.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        mean, log_variance : torch.Tensor of shape (n_samples, n_components)
            What `posterior` returns.

        Returns
        -------
        ELBOTerms
            The terms of each sample.

        Notes
        -----
        With decoder columns W_j, and the factor (1 - s_j) only if gated,
        ``E||x - f(e)||^2 = ||x - f((1 - s) m)||^2 + sum_j (1 - s_j)^2 s_j^2 ||W_j||^2``.
        """
        code_deviation = self.code(torch.exp(0.5 * log_variance), log_variance)
        spread = code_deviation.square() @ module.decoder.weight.square().sum(dim=0)
        residual = x - module.decode(self.code(mean, log_variance))
        return ELBOTerms(residual.square().sum(dim=1) + spread, _kl(mean, log_variance))

    def expected_terms(
        self, module: Any, x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
    ) -> ELBOTerms:
        """Return the terms without noise of their own: exact, or over fixed draws.

        The draws are the same for every sample, so that the answer for a sample does not depend
        on the samples beside it.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        mean, log_variance : torch.Tensor of shape (n_samples, n_components)
            What `posterior` returns.

        Returns
        -------
        ELBOTerms
            The terms of each sample: exact for a linear decoder, else averaged over 8 pairs of
            opposite draws.
        """
        if module.has_linear_decoder:
            return self.exact_terms(module, x, mean, log_variance)
        generator = torch.Generator().manual_seed(0)
        shape = EXPECTATION_PAIRS, mean.shape[1]
        draws = torch.randn(shape, generator=generator, dtype=torch.float64)
        draws = torch.cat([draws, -draws]).to(x)
        error = x.new_zeros(len(x))
        for eps in draws:
            error += self.sampled_terms(module, x, mean, log_variance, eps).error / len(draws)
        return ELBOTerms(error, _kl(mean, log_variance))


def _kl(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), summed over the latents."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1)
