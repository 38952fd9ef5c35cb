"""Absolute values up to a cap."""

import torch

from skvaeense.nets.penalties import Shrinkage
from skvaeense.utils._validation import NON_NEGATIVE, POSITIVE


class CappedL1(Shrinkage):
    """Penalty on the sum of absolute values, each at most a cap: large codes are not shrunk.

    For a sample x with code z and reconstruction f(z), where the training samples have the mean
    squared norm v once centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j min(|z_j| / sqrt(v), cap)

    Parameters
    ----------
    alpha : float, default=0.1
        Coefficient.

    cap : float, default=0.1
        Codes above it, in fractions of the samples' norm, cost no more.

    See Also
    --------
    L1 : The same without a cap.

    References
    ----------
    T. Zhang, "Analysis of multi-stage convex relaxation for sparse regularization", Journal of
    Machine Learning Research 11, 2010.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.nets.capped_l1 import CappedL1
    >>> SparseAutoencoder(penalty=CappedL1(cap=0.2)).get_params()["penalty__alpha"]
    0.1
    """

    _parameter_constraints = {"alpha": [NON_NEGATIVE], "cap": [POSITIVE]}

    def __init__(self, alpha: float = 0.1, cap: float = 0.1) -> None:
        self.alpha = alpha
        self.cap = cap

    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
        """Return the absolute values, and the cap where they are larger."""
        return size.clamp(max=self.cap)
