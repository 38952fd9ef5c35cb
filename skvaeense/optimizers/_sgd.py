"""Stochastic gradient descent."""

import torch

from skvaeense.optimizers._base import Optimizer
from skvaeense.utils._validation import FRACTION


class SGD(Optimizer):
    """Steps proportional to the gradient, with momentum.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the last step that is repeated, in [0, 1).

    See Also
    --------
    Adam : The default; with it the learning rate means about the same for all weights.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.optimizers import SGD
    >>> SparseAutoencoder(optimizer=SGD(0.5)).get_params()["optimizer__momentum"]
    0.5
    """

    alias = "sgd"

    _parameter_constraints = {"momentum": [FRACTION]}

    def __init__(self, momentum: float = 0.9) -> None:
        self.momentum = momentum

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer of some parameters."""
        return torch.optim.SGD(parameters, momentum=self.momentum)
