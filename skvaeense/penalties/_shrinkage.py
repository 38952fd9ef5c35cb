"""The base class of penalties on single entries."""

from abc import abstractmethod

import torch
from torch import nn

from skvaeense.penalties._base import Coding, LearnedThreshold, Penalty

# First threshold of signed codes, in units of the samples' norm.
START_THRESHOLD = 0.01


class SoftThreshold(LearnedThreshold):
    """Shrink pre-activations of either sign towards 0, by a learned amount for each latent."""

    def forward(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the codes."""
        shrunk = torch.relu(preactivation.abs() - self.threshold)
        return preactivation.sign() * shrunk


class Shrinkage(Penalty):
    """Penalty on single entries, which shrinks each entry towards 0."""

    @abstractmethod
    def entry_cost(self, size: torch.Tensor) -> torch.Tensor:
        """Return the cost of each entry.

        Parameters
        ----------
        size : torch.Tensor of shape (n_samples, n_components)
            Absolute values of codes, in units of the samples' norm.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Costs.
        """

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map: ReLU, with the encoder's bias as threshold, or a map for both signs."""
        return nn.ReLU() if positive else SoftThreshold(n_components, START_THRESHOLD * unit)

    def cost(self, coding: Coding) -> torch.Tensor:
        """Return the sum of each sample's costs."""
        size = coding.code if isinstance(coding.activation, nn.ReLU) else coding.code.abs()
        return self.entry_cost(size / coding.unit).sum(dim=1)
