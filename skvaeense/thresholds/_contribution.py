"""A threshold on the contribution of a latent to the reconstruction."""

import numpy as np

from skvaeense.thresholds._base import Latents, ThresholdRule
from skvaeense.utils._typing import BoolArray
from skvaeense.utils._validation import NON_NEGATIVE


class Contribution(ThresholdRule):
    """Call a latent active if it moves the reconstruction by more than the noise does.

    The contribution of latent j is ``|e_j| * ||W_j||``, the absolute value of its code times the
    norm of its decoder column. It is compared with the standard deviation of the noise in one
    direction. Latents whose code happens to be close to 0 count as inactive, so this rule suits
    short codes, and `FixedVariance` suits counts of dimensions.

    Parameters
    ----------
    level : float, default=2.0
        Contribution above which a latent is active, in standard deviations of the noise. Divide a
        level in units of the samples by ``sqrt(noise_variance_)``.

    See Also
    --------
    FixedVariance : Threshold on the posterior variance.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.thresholds import Contribution, Latents
    >>> latents = Latents(np.zeros((1, 2)), np.array([[-3.0, 0.1]]), np.ones(2), 1.0)
    >>> Contribution().active(latents)
    array([[ True, False]])
    """

    alias = "contribution"

    _parameter_constraints = {"level": [NON_NEGATIVE]}

    def __init__(self, level: float = 2.0) -> None:
        self.level = level

    def active(self, latents: Latents) -> BoolArray:
        """Return the mask of active latents.

        Parameters
        ----------
        latents : Latents
            Latents of the samples.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where the contribution exceeds the level.

        Raises
        ------
        ValueError
            If the level is negative.
        """
        self.validate()
        contribution = abs(latents.code) * latents.code_scale
        return contribution > self.level * np.sqrt(latents.noise_variance)
