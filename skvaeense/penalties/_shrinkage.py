"""What penalties on each entry by itself share."""

from abc import abstractmethod

import torch
from torch import nn

from skvaeense._kernels import EntryPrice, Workspace, priced_relu
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
    """Price on each entry by itself, which shrinks it towards 0."""

    @abstractmethod
    def entry_price(self, unit: float) -> EntryPrice:
        """Return what an entry costs.

        Parameters
        ----------
        unit : float
            What counts as a code of 1.

        Returns
        -------
        EntryPrice
            Costs and their derivative.
        """

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        """Make the map: ReLU, whose threshold is the encoder's bias, or one for both signs."""
        return nn.ReLU() if positive else SoftThreshold(n_components, START_THRESHOLD * unit)

    def cost(self, coding: Coding) -> torch.Tensor:
        """Return the sum of each sample's costs."""
        return self.entry_price(coding.unit).cost(coding.code.abs())

    def priced_coding(
        self,
        activation: nn.Module,
        preactivation: torch.Tensor,
        unit: float,
        workspace: Workspace,
    ) -> tuple[Coding, torch.Tensor]:
        """Code samples, and return what the codes cost."""
        if not isinstance(activation, nn.ReLU):
            return super().priced_coding(activation, preactivation, unit, workspace)
        code, cost = priced_relu(preactivation, self.entry_price(unit), workspace=workspace)
        return Coding(activation, preactivation, code, unit), cost
