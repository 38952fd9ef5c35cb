"""What a model asks of a prior."""

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F

from skvaeense.utils._repr import DocLinkMixin
from skvaeense.utils._validation import ValidatedEstimator


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
        """Factor 1 - s of the gate, computed without a difference, which would round."""
        return -torch.expm1(0.5 * self.log_variance)


class Prior(DocLinkMixin, ValidatedEstimator, ABC):
    """Say how latents are distributed before a sample is seen.

    Derive from it and write `kl`, `log_prob` and `sample` to add a prior; write `fit` too if it
    has parameters to learn. What it learns are attributes that end in an underscore, as those of
    scikit-learn's estimators do.

    See Also
    --------
    StandardNormal : The prior of variational autoencoders.

    Examples
    --------
    >>> from skvaeense.priors import Prior, StandardNormal
    >>> isinstance(StandardNormal(), Prior)
    True
    """

    @abstractmethod
    def kl(self, posterior: Posterior) -> torch.Tensor:
        """Return the Kullback-Leibler divergence of the posterior from the prior.

        Parameters
        ----------
        posterior : Posterior
            Of some samples.

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

    def fit(self, posterior: Posterior) -> Self:
        """Learn from the posteriors of training samples; by default nothing.

        Parameters
        ----------
        posterior : Posterior
            Of training samples.

        Returns
        -------
        self : Prior
            The prior.
        """
        return self
