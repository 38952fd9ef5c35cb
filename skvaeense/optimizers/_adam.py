"""Adam."""

import torch

from skvaeense.optimizers._base import Optimizer
from skvaeense.utils._validation import FRACTION, NON_NEGATIVE, POSITIVE


class Adam(Optimizer):
    """Steps of about the learning rate for each weight, whatever the size of its gradient [1]_.

    Parameters
    ----------
    beta1 : float, default=0.9
        Decay of the running mean of gradients, for each step, in [0, 1).

    beta2 : float, default=0.999
        Decay of the running mean of their squares, in [0, 1).

    eps : float, default=1e-8
        Added to the root of the running mean of squares.

    weight_decay : float, default=0.0
        Share of each weight that is taken off in a step, times the learning rate (decoupled, as in
        AdamW).

    See Also
    --------
    SGD : Steps proportional to the gradient.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.optimizers import Adam
    >>> SparseAutoencoder(optimizer=Adam(beta1=0.0)).get_params()["optimizer__beta1"]
    0.0
    """

    _parameter_constraints = {
        "beta1": [FRACTION],
        "beta2": [FRACTION],
        "eps": [POSITIVE],
        "weight_decay": [NON_NEGATIVE],
    }

    def __init__(
        self,
        beta1: float = 0.9,
        beta2: float = 0.999,
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.weight_decay = weight_decay

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimizer of some parameters."""
        return torch.optim.AdamW(
            parameters,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )
