"""Otsu's cut, kept where it can tell active from inactive."""

import numpy as np

from skvaeense.thresholds._base import ThresholdRule
from skvaeense.thresholds._otsu import otsu_cut


class BoundedOtsu(ThresholdRule):
    """Split each sample's log variances by Otsu's cut, kept between two variances.

    A latent whose variance is under `lower` is active whatever the others are, one over `upper`
    is inactive, and the sample's own cut decides in between. So it is right where all latents
    are active and where none is, which Otsu's rule alone is not.

    Parameters
    ----------
    lower : float, default=0.1
        Posterior variance under which a latent is always active, in (0, 1).

    upper : float, default=0.5
        Posterior variance over which a latent is never active, in (0, 1).

    See Also
    --------
    Otsu : Without bounds.
    FixedVariance : Both bounds at one place.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.thresholds import BoundedOtsu, Latents
    >>> variance = np.array([[0.01, 0.02, 0.9], [0.01, 0.001, 0.02], [0.9, 0.99, 0.8]])
    >>> BoundedOtsu().active(Latents(np.log(variance), np.zeros((3, 3)), np.ones(3), 0.1))
    array([[ True,  True, False],
           [ True,  True,  True],
           [False, False, False]])
    """

    def __init__(self, lower=0.1, upper=0.5):
        self.lower = lower
        self.upper = upper

    def active(self, latents):
        """Return the mask of active latents.

        Parameters
        ----------
        latents : Latents
            What the encoder gives for the samples.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where a latent's log variance is under its sample's cut.

        Raises
        ------
        ValueError
            If the bounds are not in order within (0, 1).
        """
        if not 0 < self.lower <= self.upper < 1:
            raise ValueError(
                "lower and upper must be variances with 0 < lower <= upper < 1, got "
                f"lower={self.lower!r}, upper={self.upper!r}."
            )
        cut = np.clip(otsu_cut(latents.log_variance), np.log(self.lower), np.log(self.upper))
        return latents.log_variance < cut[:, None]
