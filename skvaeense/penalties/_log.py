"""The sum of logarithms."""

import torch

from skvaeense.penalties._shrinkage import Shrinkage
from skvaeense.utils._validation import NON_NEGATIVE, POSITIVE


class Log(Shrinkage):
    """Penalty on the sum of logarithms, closer to a count of active latents than L1.

    For a sample x with code z and reconstruction f(z), where the training samples have the mean
    squared norm v once centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j log(1 + |z_j| / (eps sqrt(v)))

    This is ``sum_j log(|z_j| + eps)`` in units of the samples' norm, minus the cost of a code of 0.
    Its derivative is ``alpha / (|z_j| + eps)``: large codes are hardly shrunk.

    Parameters
    ----------
    alpha : float, default=0.01
        Coefficient.

    eps : float, default=0.1
        Codes far below eps, in fractions of the samples' norm, cost the same as with
        ``L1(alpha / eps)``. The smaller eps is, the more local minima there are.

    See Also
    --------
    L1 : The same cost for every further unit.

    References
    ----------
    E. J. Candès et al., "Enhancing sparsity by reweighted l1 minimization", Journal of Fourier
    Analysis and Applications 14, 2008.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.penalties import Log
    >>> SparseAutoencoder(penalty=Log(alpha=0.02)).get_params()["penalty__eps"]
    0.1
    """

    alias = "log"

    _parameter_constraints = {"alpha": [NON_NEGATIVE], "eps": [POSITIVE]}

    def __init__(self, alpha: float = 0.01, eps: float = 0.1) -> None:
        self.alpha = alpha
        self.eps = eps

    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
        """Return the logarithms, which rise more and more slowly."""
        return torch.log1p(size / self.eps)
