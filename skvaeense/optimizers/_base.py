"""The specification of an optimizer."""

from abc import abstractmethod

import torch

from skvaeense.utils._validation import Specification


class Optimizer(Specification):
    """Say which optimizer of torch trains a model.

    Derive from it and write `build` to add one: any torch.optim.Optimizer will do.

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

    @abstractmethod
    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimizer of some parameters.

        Parameters
        ----------
        parameters : list of torch.nn.Parameter
            What it moves: all weights of a model, in one flat tensor.

        Returns
        -------
        torch.optim.Optimizer
            The optimizer. The trainer sets the learning rate before each step.
        """
