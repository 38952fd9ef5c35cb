"""Distributions of the latents: the posterior, and priors.

To add a prior, derive a class from `Prior`.
"""

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from skvaeense.mixture._density import MixtureDensity
from skvaeense.utils._linalg import svd
from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import Specification

__all__ = ["Posterior", "Prior", "StandardNormal"]


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
    >>> from skvaeense.nets.priors import Posterior
    >>> Posterior(torch.zeros(2, 3), torch.zeros(2, 3)).log_variance.exp()[0, 0]
    tensor(0.5000)
    """

    mean: Tensor
    gate_logit: Tensor

    @property
    def log_variance(self) -> Tensor:
        """Natural logarithm of the variances, at most 0."""
        return F.logsigmoid(self.gate_logit)

    @property
    def std(self) -> Tensor:
        """Standard deviations s."""
        return torch.exp(0.5 * self.log_variance)

    @property
    def openness(self) -> Tensor:
        """Factor 1 - s of the gate, computed without a difference, which would lose digits."""
        # Subtracted, since the negative of 0 would be -0.
        return 0.0 - torch.expm1(0.5 * self.log_variance)


class Prior(Specification):
    """Specify the distribution of latents before a sample is seen.

    To add a prior, derive from this class and write `kl` and `sample`. If samples have
    a density with a linear decoder and no gate, write `density`, too.

    See Also
    --------
    StandardNormal : The prior of variational autoencoders.

    Examples
    --------
    >>> from skvaeense.nets.priors import Prior, StandardNormal
    >>> isinstance(StandardNormal(), Prior)
    True
    """

    @abstractmethod
    def kl(self, posterior: Posterior) -> Tensor:
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
    def sample(self, n_samples: int, n_components: int, generator: Generator) -> Tensor:
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

    def density(
        self, weight: DoubleArray, bias: DoubleArray, noise_variance: float
    ) -> MixtureDensity | None:
        """Return the density of samples under a linear decoder without a gate, if there is one.

        Parameters
        ----------
        weight : ndarray of shape (n_features, n_components)
            Decoder columns.

        bias : ndarray of shape (n_features,)
            Decoder bias.

        noise_variance : float
            Noise variance.

        Returns
        -------
        MixtureDensity or None
            The density; None, the default, if there is none.
        """
        return None


class StandardNormal(Prior):
    """Independent latents of mean 0 and variance 1.

    With posterior means m and standard deviations s, the divergence of a sample is
    ``sum_j (s_j^2 + m_j^2 - 1 - log s_j^2) / 2``.

    With a linear decoder and no gate, samples have the normal density of probabilistic principal
    component analysis, with mean b and covariance ``W W' + g I``. With a gate there is no density,
    as the gate is not part of the prior.

    See Also
    --------
    Prior : How to write another one.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.nets.priors import Posterior, StandardNormal
    >>> closed = Posterior(torch.zeros(1, 4), torch.full((1, 4), 20.0))
    >>> round(float(StandardNormal().kl(closed)), 3)
    0.0
    """

    alias = "standard_normal"

    def kl(self, posterior: Posterior) -> Tensor:
        """Return the divergence of each sample's posterior in nats."""
        log_variance = posterior.log_variance
        terms = log_variance.exp() + posterior.mean.square() - 1 - log_variance
        return 0.5 * terms.sum(dim=1)

    def sample(self, n_samples: int, n_components: int, generator: Generator) -> Tensor:
        """Draw latents."""
        return torch.randn((n_samples, n_components), generator=generator, dtype=torch.float64)

    def density(
        self, weight: DoubleArray, bias: DoubleArray, noise_variance: float
    ) -> MixtureDensity:
        """Return the normal density of samples.

        Parameters
        ----------
        weight : ndarray of shape (n_features, n_components)
            Decoder columns.

        bias : ndarray of shape (n_features,)
            Decoder bias.

        noise_variance : float
            Noise variance.

        Returns
        -------
        MixtureDensity
            The density, of one component.
        """
        basis, values, _ = svd(weight)
        variances = np.square(values) + noise_variance
        return MixtureDensity(
            center=bias,
            basis=basis,
            weights=np.ones(1),
            means=np.zeros((1, len(values))),
            directions=np.eye(len(values))[None],
            variances=variances[None],
            noise_variances=np.array([noise_variance]),
        )
