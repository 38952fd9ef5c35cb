"""The largest entries of a batch in training, and those over one threshold afterwards."""

import numpy as np
import torch
from torch import nn

# Weight of a batch in the running mean of the threshold.
THRESHOLD_MEMORY = 0.01


class BatchThreshold(nn.Module):
    """Mask the k n largest entries of a batch of n samples; outside training, those at a threshold.

    So in training samples share a budget, and afterwards each is masked by itself.

    Parameters
    ----------
    k : float
        Mean number of entries that are kept of each sample.

    Attributes
    ----------
    threshold : torch.Tensor without dimensions
        Running mean of the smallest entry that was kept, until it is calibrated.
    """

    threshold: torch.Tensor

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("threshold", torch.tensor(-1.0))

    def mask(self, size: torch.Tensor) -> torch.Tensor:
        """Return which entries are kept; those of size 0 never are.

        Parameters
        ----------
        size : torch.Tensor of shape (n_samples, n_components)
            Sizes, at least 0.

        Returns
        -------
        torch.Tensor of bool of shape (n_samples, n_components)
            True where an entry is kept.
        """
        size = size.detach()
        if self.training:
            least = self._least_kept(size)
            self._observe(least)
        else:
            least = self.threshold
        return (size >= least) & (size > 0)

    @torch.no_grad()
    def calibrate(self, size: torch.Tensor) -> None:
        """Set the threshold at which these samples keep k entries on average.

        Parameters
        ----------
        size : torch.Tensor of shape (n_samples, n_components)
            Sizes, at least 0.
        """
        self.threshold.copy_(self._least_kept(size))

    def _least_kept(self, size: torch.Tensor) -> torch.Tensor:
        n_kept = min(max(round(self.k * len(size)), 1), size.numel())
        entries = size.flatten()
        if entries.device.type == "cpu":
            # Faster than torch's there.
            place = len(entries) - n_kept
            return torch.tensor(np.partition(entries.detach().numpy(), place)[place])
        return entries.topk(n_kept, sorted=False).values.min()

    @torch.no_grad()
    def _observe(self, least: torch.Tensor) -> None:
        weight = torch.where(self.threshold < 0, 1.0, THRESHOLD_MEMORY)
        self.threshold.lerp_(least.to(self.threshold), weight.to(self.threshold))
