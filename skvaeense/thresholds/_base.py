"""The base class of threshold rules, and the latents that they see."""

from abc import abstractmethod
from typing import NamedTuple

from skvaeense.utils._typing import BoolArray, FloatArray
from skvaeense.utils._validation import Specification


class Latents(NamedTuple):
    """The latents of some samples, as threshold rules see them.

    Attributes
    ----------
    log_variance : ndarray of shape (n_samples, n_components)
        Logarithm of the posterior variance, at most 0: the prior's variance is 1.

    code : ndarray of shape (n_samples, n_components)
        Code at the posterior mean, as it enters the decoder.

    code_scale : ndarray of shape (n_components,)
        How far one unit of each latent moves the reconstruction, in units of the samples; for a
        linear decoder, the norms of its columns.

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


class ThresholdRule(Specification):
    """Base class of the rules that decide which latents of a sample are active.

    A rule keeps no state, and treats each sample separately.

    See Also
    --------
    FixedVariance : Threshold on the posterior variance, the default.
    Otsu : Threshold between two groups, the rule of the paper on VAEase.
    Contribution : Threshold on the contribution to the reconstruction.

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
            Latents of the samples.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where a latent is active.
        """
