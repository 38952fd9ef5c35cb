"""What a rule sees, and what it must answer."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from skvaeense.utils._repr import DocLinkMixin
from skvaeense.utils._typing import BoolArray, FloatArray
from skvaeense.utils._validation import ValidatedEstimator


class Latents(NamedTuple):
    """What is known of some samples' latents.

    Attributes
    ----------
    log_variance : ndarray of shape (n_samples, n_components)
        Logarithm of the posterior variance, at most 0: the prior's variance is 1.

    code : ndarray of shape (n_samples, n_components)
        The code that the decoder sees at the posterior mean.

    code_scale : ndarray of shape (n_components,)
        How far the reconstruction moves per unit of each latent, in units of the samples; for
        a linear decoder the norms of its columns.

    noise_variance : float
        Variance of the noise in each feature, in squared units of the samples.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.thresholds import FixedVariance, Latents
    >>> latents = Latents(np.log([[0.01, 0.99]]), np.array([[2.0, 0.0]]), np.ones(2), 0.1)
    >>> FixedVariance().active(latents)
    array([[ True, False]])
    """

    log_variance: FloatArray
    code: FloatArray
    code_scale: FloatArray
    noise_variance: float


class ThresholdRule(DocLinkMixin, ValidatedEstimator, ABC):
    """Say which latents are active for each sample, from that sample alone.

    A rule has no state of its own: its answer for a sample does not depend on the others.

    See Also
    --------
    FixedVariance : One cut for all samples, the default.
    Otsu : The paper's rule.
    Contribution : By what a latent adds to the reconstruction.

    Examples
    --------
    >>> from skvaeense.thresholds import Otsu, ThresholdRule
    >>> isinstance(Otsu(), ThresholdRule)
    True
    """

    @abstractmethod
    def active(self, latents: Latents) -> BoolArray:
        """Return the mask of active latents.

        Parameters
        ----------
        latents : Latents
            What the encoder gives for the samples.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where a latent is active.
        """
