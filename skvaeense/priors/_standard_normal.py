"""The standard normal distribution."""

import math

import numpy as np
import torch

from skvaeense.mixture._density import MixtureDensity
from skvaeense.priors._base import Posterior, Prior
from skvaeense.priors._samples import CodedSamples
from skvaeense.utils._linalg import svd


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
