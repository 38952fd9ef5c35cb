"""One cut for all samples."""

import numpy as np

from skvaeense.thresholds._base import ThresholdRule


class FixedVariance(ThresholdRule):
    """Call a latent active where its posterior variance is under a fixed level.

    Parameters
    ----------
    level : float, default=0.5
        Posterior variance under which a latent is active, in (0, 1); the prior's is 1.

    See Also
    --------
    BoundedOtsu : A cut that adapts to the sample.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.thresholds import FixedVariance, Latents
    >>> latents = Latents(np.log([[0.01, 0.3, 0.9]]), np.zeros((1, 3)), np.ones(3), 0.1)
    >>> FixedVariance(level=0.2).active(latents)
    array([[ True, False, False]])
    """

    def __init__(self, level=0.5):
        self.level = level

    def active(self, latents):
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
        if not 0 < self.level < 1:
            raise ValueError(f"level must be a variance in (0, 1), got {self.level!r}.")
        return latents.log_variance < np.log(self.level)
