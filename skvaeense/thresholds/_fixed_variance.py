"""A threshold on the posterior variance."""

import numpy as np

from skvaeense.thresholds._base import Latents, ThresholdRule
from skvaeense.utils._typing import BoolArray
from skvaeense.utils._validation import SHARE


class FixedVariance(ThresholdRule):
    """Call a latent active if its posterior variance is below a fixed level.

    The posterior variance of an inactive latent is 1, the variance of the prior, whatever the data.
    Active latents have far smaller variances. So one level suits all data, even if all latents are
    active or none is. The default is close to 1 because the variance of a latent that a sample
    needs falls only part of the way if its coefficient is about as small as the noise.

    Parameters
    ----------
    level : float, default=0.8
        Posterior variance below which a latent is active, in (0, 1).

    See Also
    --------
    Otsu : A threshold for each sample.
    Contribution : Threshold on the contribution to the reconstruction.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.thresholds import FixedVariance, Latents
    >>> latents = Latents(np.log([[0.01, 0.3, 0.9]]), np.zeros((1, 3)), np.ones(3), 0.1)
    >>> FixedVariance(level=0.2).active(latents)
    array([[ True, False, False]])
    """

    alias = "fixed_variance"

    _parameter_constraints = {"level": [SHARE]}

    def __init__(self, level: float = 0.8) -> None:
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
            True where the posterior variance is below the level.

        Raises
        ------
        ValueError
            If the level is not within (0, 1).
        """
        self.validate()
        return latents.log_variance < np.log(self.level)
