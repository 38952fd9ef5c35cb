"""Rules that decide which latents are active, and the latents that they see; without torch.

To add a rule, derive a class from `ThresholdRule`.
"""

from abc import abstractmethod
from typing import NamedTuple

import numpy as np

from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import BoolArray, FloatArray
from skvaeense.utils._validation import NON_NEGATIVE, SHARE, Specification

__all__ = ["Contribution", "FixedVariance", "Otsu", "ThresholdRule"]


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
    >>> from skvaeense.nets.thresholds import FixedVariance, Latents
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
    >>> from skvaeense.nets.thresholds import Otsu, ThresholdRule
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


class FixedVariance(ThresholdRule):
    """Call a latent active if its posterior variance is below a fixed level.

    The posterior variance of an inactive latent is 1, the variance of the prior, whatever the data.
    Active latents have far smaller variances. So one level suits all data, even if all latents are
    active or none is. Below a half, a sample says more about the latent than the prior does: its
    signal is larger than the noise.

    Parameters
    ----------
    level : float, default=0.5
        Posterior variance below which a latent is active, in (0, 1).

    See Also
    --------
    Otsu : A threshold for each sample.
    Contribution : Threshold on the contribution to the reconstruction.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.nets.thresholds import FixedVariance, Latents
    >>> latents = Latents(np.log([[0.01, 0.3, 0.9]]), np.zeros((1, 3)), np.ones(3), 0.1)
    >>> FixedVariance(level=0.2).active(latents)
    array([[ True, False, False]])
    """

    alias = "fixed_variance"

    _parameter_constraints = {"level": [SHARE]}

    def __init__(self, level: float = 0.5) -> None:
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


def _cut(values: FloatArray) -> FloatArray:
    """Return, for each row, the cut into two groups with the least variance within them.

    The cut is halfway between the groups, so ``values < cut`` is the lower group. A row whose
    values are all equal has no lower group: its cut is that value.
    """
    ordered = np.sort(values, axis=1)
    n = ordered.shape[1]
    if n == 1:
        return ordered[:, 0]
    # Far from the training samples, values can be so large that their squares overflow.
    size = np.abs(ordered).max(axis=1, keepdims=True)
    centred = ordered / np.where(size == 0, 1, size)
    centred -= centred.mean(axis=1, keepdims=True)
    sizes = np.arange(1, n)
    sums = np.cumsum(centred, axis=1)[:, :-1]
    # The rows are centred: the variance between the groups is S^2 / m + S^2 / (n - m).
    best = np.argmax(sums**2 / (sizes * (n - sizes)), axis=1)[:, None]
    lower = np.take_along_axis(ordered, best, axis=1)
    upper = np.take_along_axis(ordered, best + 1, axis=1)
    return ((lower + upper) / 2)[:, 0]


class Otsu(ThresholdRule):
    """Split the log variances of each sample into two groups with the least variance within.

    The paper on VAEase [2]_ uses this rule by Otsu [1]_. It always finds two groups, so it is wrong
    if all latents are active, or if none is.

    See Also
    --------
    FixedVariance : A rule that is right in these cases too.

    References
    ----------
    .. [1] Otsu, N. (1979). A threshold selection method from gray-level histograms. IEEE
       Transactions on Systems, Man, and Cybernetics, 9(1), 62-66.
    .. [2] Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.nets.thresholds import Latents, Otsu
    >>> latents = Latents(np.log([[0.01, 0.02, 0.9]]), np.zeros((1, 3)), np.ones(3), 0.1)
    >>> Otsu().active(latents)
    array([[ True,  True, False]])
    """

    alias = "otsu"

    def active(self, latents: Latents) -> BoolArray:
        """Return the mask of active latents.

        Parameters
        ----------
        latents : Latents
            Latents of the samples.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where a latent's log variance is in the lower of its sample's two groups.
        """
        values = latents.log_variance
        # At least one block, which can be empty.
        blocks = row_blocks(max(len(values), 1), values.shape[1])
        return values < np.concatenate([_cut(values[rows]) for rows in blocks])[:, None]


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
    >>> from skvaeense.nets.thresholds import Contribution, Latents
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
