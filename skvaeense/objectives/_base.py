"""What the training loop asks of an objective."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import nn

from skvaeense._kernels import Workspace
from skvaeense.utils._repr import ReprMixin


class BatchLoss(NamedTuple):
    """The loss of one batch and its two parts, as tensors without dimensions.

    Attributes
    ----------
    total : torch.Tensor
        What is minimised.

    error : torch.Tensor
        Squared error, summed over the features and averaged over the samples; detached.

    cost : torch.Tensor
        What the code costs: twice the Kullback-Leibler divergence, or the penalty; detached.

    seen : torch.Tensor or None
        What `Objective.observe` is told of the batch: means over its samples, detached.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.objectives import BatchLoss
    >>> BatchLoss(torch.tensor(3.0), torch.tensor(1.0), torch.tensor(2.0)).cost
    tensor(2.)
    """

    total: torch.Tensor
    error: torch.Tensor
    cost: torch.Tensor
    seen: torch.Tensor | None = None


class Objective(ReprMixin, ABC):
    """Turn a module and a batch into a loss.

    An objective may keep the state of its own schedule, such as the noise variance. `n_heads` is
    the number of outputs that it needs from the encoder for each latent.

    See Also
    --------
    ELBO : The objective of a variational autoencoder, with or without gate.

    Examples
    --------
    >>> from skvaeense.objectives import ELBO, Objective
    >>> issubclass(ELBO, Objective), ELBO.n_heads
    (True, 2)
    """

    n_heads: int

    @abstractmethod
    def loss(
        self,
        module: nn.Module,
        x: torch.Tensor,
        *,
        progress: float,
        generator: torch.Generator,
        workspace: Workspace | None = None,
    ) -> BatchLoss:
        """Compute the loss of a batch.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder, with `encode` and `decode`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        progress : float
            How much of the training is done, in [0, 1).

        generator : torch.Generator
            The source of the noise.

        workspace : Workspace or None, default=None
            Memory to use again; None takes new memory.

        Returns
        -------
        BatchLoss
            The loss and its parts.
        """

    @property
    @abstractmethod
    def trade_off(self) -> float:
        """What the last loss weighed error against cost with: noise variance, or price."""

    def observe(self, seen: torch.Tensor, *, n_samples: int, progress: float) -> None:
        """Take note of a batch, for the objective's own schedule; by default not at all.

        Where several processes train together, each computes the loss of its part of a batch, and
        the objective takes note of the whole.

        Parameters
        ----------
        seen : torch.Tensor
            As in the `BatchLoss`, averaged over the parts of the batch.

        n_samples : int
            Samples of the whole batch.

        progress : float
            How much of the training is done, in [0, 1).
        """
        return

    def before_step(self, module: nn.Module) -> None:
        """Change the gradients before the optimizer uses them; by default not at all.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder.
        """
        return

    def after_step(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        progress: float,
        generator: torch.Generator,
    ) -> bool:
        """Change the weights after a step of the optimizer; by default not at all.

        Parameters
        ----------
        module : torch.nn.Module
            The autoencoder.

        optimizer : torch.optim.Optimizer
            Holds the memory of past gradients.

        progress : float
            How much of the training is done, in [0, 1).

        generator : torch.Generator
            The source of randomness.

        Returns
        -------
        bool
            Whether some were drawn at random. Processes that train together then take them from
            the first one.
        """
        return False
