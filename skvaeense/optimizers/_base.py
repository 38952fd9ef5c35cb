"""The specification of an optimizer."""

from abc import abstractmethod
from typing import Any, Protocol

import torch

from skvaeense.utils._validation import Specification


class Steps(Protocol):
    """The part of a torch optimizer that a trainer needs."""

    param_groups: list[dict[str, Any]]
    state: Any

    def step(self) -> Any:
        """Take a step."""

    def state_dict(self) -> dict[str, Any]:
        """Return the memory of earlier steps, under "state"."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory of earlier steps."""


class Optimizer(Specification):
    """Specify which torch optimizer trains a model.

    To add one, derive from this class and write `build`: any torch.optim.Optimizer will do.

    Attributes
    ----------
    is_scale_free : bool
        Whether steps are about as long as the learning rate, whatever the size of gradients. If so,
        inits after the first limit each step to the learning rate; see `Adam`.

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
    def build(self, parameters: list[torch.nn.Parameter]) -> Steps:
        """Return the optimizer of some parameters.

        Parameters
        ----------
        parameters : list of torch.nn.Parameter
            The parameters: all weights of a model, in one flat tensor.

        Returns
        -------
        torch.optim.Optimizer
            The optimizer. The trainer sets the learning rate before each step.
        """
