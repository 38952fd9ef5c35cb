"""The base class of priors, the posterior of latents, and the standard normal prior."""

import math
from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from skvaeense.mixture._density import MixtureDensity
from skvaeense.priors._samples import CodedSamples, TrainingRows
from skvaeense.utils._linalg import svd
from skvaeense.utils._validation import Specification


class Posterior(NamedTuple):
    """The posterior of the latents of some samples: independent normal distributions.

    Attributes
    ----------
    mean : torch.Tensor of shape (n_samples, n_components)
        Means m.

    gate_logit : torch.Tensor of shape (n_samples, n_components)
        Logits h of the variances: ``s^2 = sigmoid(h)``, within (0, 1).

    Examples
    --------
    >>> import torch
    >>> from skvaeense.priors import Posterior
    >>> Posterior(torch.zeros(2, 3), torch.zeros(2, 3)).log_variance.exp()[0, 0]
    tensor(0.5000)
    """

    mean: torch.Tensor
    gate_logit: torch.Tensor

    @property
    def log_variance(self) -> torch.Tensor:
        """Natural logarithm of the variances, at most 0."""
        return F.logsigmoid(self.gate_logit)

    @property
    def std(self) -> torch.Tensor:
        """Standard deviations s."""
        return torch.exp(0.5 * self.log_variance)

    @property
    def openness(self) -> torch.Tensor:
        """Factor 1 - s of the gate, computed without a difference, which would lose digits."""
        # Subtracted, since the negative of 0 would be -0.
        return 0.0 - torch.expm1(0.5 * self.log_variance)


class Prior(Specification):
    """Specify the distribution of latents before a sample is seen.

    To add a prior, derive from this class and write `kl`, `log_prob` and `sample`. If samples have
    a density with a linear decoder, write `has_density` and `density`, too. With
    ``keeps_samples = True``, `density` sees training samples, and can learn from them.

    Attributes
    ----------
    density_ : MixtureDensity
        The density that `fit` has found in the samples, or else the output of `density`, once a
        fitted estimator has called it.

    rows_ : TrainingRows
        Samples that the prior learns from, if `keeps_samples` and `fit` has not found a density.

    See Also
    --------
    StandardNormal : The prior of variational autoencoders.
    Mixture : Learns from training samples.

    Examples
    --------
    >>> from skvaeense.priors import Prior, StandardNormal
    >>> isinstance(StandardNormal(), Prior)
    True
    """

    # Whether a model keeps training samples for `density`.
    keeps_samples: bool = False
    # Whether the density is fitted when it is first needed, not in `fit`.
    lazy: bool = True

    density_: MixtureDensity
    rows_: TrainingRows

    def may_be(self, density: MixtureDensity) -> bool:
        """Return whether a mixture that was found in samples can be their density.

        Parameters
        ----------
        density : MixtureDensity
            A mixture, with a number of components that was chosen by held-out samples.

        Returns
        -------
        bool
            True, unless parameters of the prior ask for another number of components.
        """
        return True

    @abstractmethod
    def kl(self, posterior: Posterior) -> torch.Tensor:
        """Return the Kullback-Leibler divergence of the posterior from the prior.

        Parameters
        ----------
        posterior : Posterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Divergence of each sample in nats, with a gradient.
        """

    @abstractmethod
    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """Return the log-density of latents.

        Parameters
        ----------
        z : torch.Tensor of shape (n_samples, n_components)
            Latents.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Log-densities in nats.
        """

    @abstractmethod
    def sample(self, n_samples: int, n_components: int, generator: torch.Generator) -> torch.Tensor:
        """Draw latents.

        Parameters
        ----------
        n_samples : int
            Number of samples.

        n_components : int
            Number of latents.

        generator : torch.Generator
            The source of randomness.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Latents in double precision.
        """

    def has_density(self, gated: bool) -> bool:
        """Return whether samples have a density if the decoder is linear; False by default.

        Parameters
        ----------
        gated : bool
            Whether latents open and close.

        Returns
        -------
        bool
            Whether `density` can be called.
        """
        return False

    def density(self, samples: CodedSamples) -> MixtureDensity:
        """Return the density of samples that follows from the prior, if there is one.

        Parameters
        ----------
        samples : CodedSamples
            Training samples, if `keeps_samples`, and the decoder.

        Returns
        -------
        MixtureDensity
            The density.

        Raises
        ------
        NotImplementedError
            If the prior has only the bound.
        """
        raise NotImplementedError(f"{type(self).__name__} has no density of samples.")


class StandardNormal(Prior):
    """Independent latents of mean 0 and variance 1.

    With posterior means m and standard deviations s, the divergence of a sample is
    ``sum_j (s_j^2 + m_j^2 - 1 - log s_j^2) / 2``.

    With a linear decoder and no gate, samples have the normal density of probabilistic principal
    component analysis, with mean b and covariance ``W W' + g I``. With a gate there is no density,
    as the gate is not part of the prior.

    See Also
    --------
    Mixture : A prior with a density for gated models, too.
    Prior : How to write another one.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.priors import Posterior, StandardNormal
    >>> closed = Posterior(torch.zeros(1, 4), torch.full((1, 4), 20.0))
    >>> round(float(StandardNormal().kl(closed)), 3)
    0.0
    """

    alias = "standard_normal"

    def kl(self, posterior: Posterior) -> torch.Tensor:
        """Return the divergence of each sample's posterior in nats."""
        log_variance = posterior.log_variance
        terms = log_variance.exp() + posterior.mean.square() - 1 - log_variance
        return 0.5 * terms.sum(dim=1)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """Return the log-density of latents in nats."""
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)

    def sample(self, n_samples: int, n_components: int, generator: torch.Generator) -> torch.Tensor:
        """Draw latents."""
        return torch.randn((n_samples, n_components), generator=generator, dtype=torch.float64)

    def has_density(self, gated: bool) -> bool:
        """Return whether there is no gate."""
        return not gated

    def density(self, samples: CodedSamples) -> MixtureDensity:
        """Return the normal density of samples.

        Parameters
        ----------
        samples : CodedSamples
            The decoder; the samples are not used.

        Returns
        -------
        MixtureDensity
            The density, of one component.
        """
        basis, values, _ = svd(samples.weight)
        variances = np.square(values) + samples.noise_variance
        return MixtureDensity(
            center=samples.bias,
            basis=basis,
            weights=np.ones(1),
            means=np.zeros((1, len(values))),
            directions=np.eye(len(values))[None],
            variances=variances[None],
            noise_variances=np.array([samples.noise_variance]),
        )
