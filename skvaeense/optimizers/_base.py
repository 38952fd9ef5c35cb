"""The specification of an optimizer."""

from abc import abstractmethod
from typing import Any

import torch

from skvaeense.utils._validation import Specification


class Optimizer(Specification):
    """Specify which torch optimizer trains a model.

    To add one, derive from this class and write `build`: any torch.optim.Optimizer will do.

    Attributes
    ----------
    is_scale_free : bool
        Whether steps are about as long as the learning rate, whatever the size of gradients. If so,
        inits after the first limit each step of a VAEenseTransformer to the learning rate.

    See Also
    --------
    Adam : The default.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.optimizers import Optimizer
    >>> class RAdam(Optimizer):
    ...     def build(self, parameters):
    ...         return torch.optim.RAdam(parameters)
    >>> VAEenseTransformer(optimizer=RAdam()).get_params()["optimizer"]
    RAdam()
    """

    is_scale_free = False

    @abstractmethod
    def build(self, parameters: list[torch.nn.Parameter]) -> Any:
        """Return the optimizer of some parameters.

        Parameters
        ----------
        parameters : list of torch.nn.Parameter
            The parameters: all weights of a model, in one flat tensor.

        Returns
        -------
        torch.optim.Optimizer
            The optimizer. The trainer sets the learning rate in `param_groups` before each `step`,
            and saves and restores the memory of earlier steps by its state dict.
        """
