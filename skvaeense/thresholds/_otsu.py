"""Otsu's threshold, which minimises the variance within two groups."""

import numpy as np

from skvaeense.thresholds._base import Latents, ThresholdRule
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import BoolArray, FloatArray


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
    >>> from skvaeense.thresholds import Latents, Otsu
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
