"""The sum of absolute values."""

import torch

from skvaeense.penalties._shrinkage import Shrinkage
from skvaeense.utils._validation import NON_NEGATIVE


class L1(Shrinkage):
    """Penalty on the sum of absolute values.

    For a sample x with code z and reconstruction f(z), where the training samples have the mean
    squared norm v once centred, training minimises the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j |z_j| / sqrt(v)

    With decoder columns of norm 1, a latent pays for itself if its code is over alpha / 2
    times the typical norm of a sample. Codes of active latents are shrunk by this amount, which
    costs accuracy: see `metrics.shrinkage`.

    Parameters
    ----------
    alpha : float, default=0.1
        Coefficient, in fractions of the samples' norm. About the same value suits any number of
        features and any units.

    See Also
    --------
    Log : Shrinks large codes less.
    Gated : Penalizes only the choice of latents.

    Notes
    -----
    Codes are ``relu(h)``, or soft thresholds of h if codes of both signs are allowed. Both maps
    are the proximal operator of the absolute value, ``argmin_z (z - h)^2 / 2 + t |z|``, with
    a learned t for each latent (the encoder's bias in the case of ReLU).

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.penalties import L1
    >>> SparseAutoencoder(penalty=L1(0.2)).get_params()["penalty__alpha"]
    0.2
    """

    alias = "l1"

    _parameter_constraints = {"alpha": [NON_NEGATIVE]}

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
        """Return the entries themselves."""
        return size
