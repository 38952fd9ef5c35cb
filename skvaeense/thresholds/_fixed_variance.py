"""One cut for all samples."""

from numbers import Real

import numpy as np

from skvaeense.thresholds._base import Latents, ThresholdRule
from skvaeense.utils._typing import BoolArray
from skvaeense.utils._validation import Interval


class FixedVariance(ThresholdRule):
    """Call a latent active where its posterior variance is under a fixed level.

    The posterior variance of a closed latent is the prior's, 1, whatever the data; that of an open
    one is far below. So one level serves all data, and is right where all latents are active and
    where none is. It is near 1 because some latents that a sample needs are only half open: those
    whose coefficient is about as small as the noise.

    Parameters
    ----------
    level : float, default=0.8
        Posterior variance under which a latent is active, in (0, 1).

    See Also
    --------
    Otsu : A cut for each sample.
    Contribution : By what a latent adds to the reconstruction.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.thresholds import FixedVariance, Latents
    >>> latents = Latents(np.log([[0.01, 0.3, 0.9]]), np.zeros((1, 3)), np.ones(3), 0.1)
    >>> FixedVariance(level=0.2).active(latents)
    array([[ True, False, False]])
    """

    _parameter_constraints = {"level": [Interval(Real, 0, 1, closed="neither")]}

    def __init__(self, level: float = 0.8) -> None:
        self.level = level

    def active(self, latents: Latents) -> BoolArray:
        """Return the mask of active latents.

        Parameters
        ----------
        latents : Latents
            What the encoder gives for the samples.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where the posterior variance is under the level.

        Raises
        ------
        ValueError
            If the level is not within (0, 1).
        """
        self.validate()
        return latents.log_variance < np.log(self.level)
