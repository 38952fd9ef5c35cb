"""Denoising score matching."""

import math
from typing import Any

import torch

from skvaeense._kernels import Workspace, squared_error
from skvaeense.objectives._base import BatchLoss, Objective

# Levels of the loss that models are compared by.
N_LEVELS = 4


class DenoisingScoreMatching(Objective):
    """Squared error of predicted noise, at noise levels t between two bounds.

    For a sample x, noise e from N(0, I) and a level t whose logarithm is uniform, the module
    predicts e from x + t e::

        loss(x) = E || e - noise(x + t e, t) ||^2

    The best prediction at every level is ``-t`` times the gradient of the log-density of noisy
    samples, their score [1]_. So a module that has learned to predict noise knows the score. On a
    manifold of dimension d, with noise that is small against how far and how straight the
    manifold runs, the least possible loss is d: the noise along the manifold cannot be told from
    the sample.

    Parameters
    ----------
    levels : tuple of two floats
        Least and greatest standard deviation of the noise, in units of the scaled data.

    See Also
    --------
    ELBO : The objective of a variational autoencoder.

    References
    ----------
    .. [1] Vincent (2011). A Connection Between Score Matching and Denoising Autoencoders. Neural
       Computation 23(7).

    Examples
    --------
    >>> import torch
    >>> from skvaeense.objectives import DenoisingScoreMatching
    >>> class Nothing(torch.nn.Module):
    ...     def noise(self, z, level):
    ...         return torch.zeros_like(z)
    >>> generator = torch.Generator().manual_seed(0)
    >>> objective = DenoisingScoreMatching((0.1, 0.4))
    >>> x = torch.zeros(1000, 3)
    >>> loss = objective.loss(Nothing(), x, progress=0.0, generator=generator)
    >>> round(float(loss.total))
    3
    """

    n_heads = 1

    def __init__(self, levels: tuple[float, float]) -> None:
        self.levels = levels

    def loss(
        self,
        module: Any,
        x: torch.Tensor,
        *,
        progress: float,
        generator: torch.Generator,
        workspace: Workspace | None = None,
    ) -> BatchLoss:
        """Compute the loss of a batch, with one level and one draw of noise for each sample.

        Parameters
        ----------
        module : torch.nn.Module
            Has a method `noise(z, level)`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        progress : float
            Not used: the levels are the same from first to last.

        generator : torch.Generator
            The source of levels and noise.

        workspace : Workspace or None, default=None
            Memory to use again.

        Returns
        -------
        BatchLoss
            The squared error; its cost is 0.
        """
        settings: dict[str, Any] = {"dtype": x.dtype, "device": x.device, "generator": generator}
        noise = torch.randn(x.shape, **settings)
        level = self._level(torch.rand((len(x), 1), **settings))
        predicted = module.noise(x + level * noise, level)
        workspace = Workspace() if workspace is None else workspace
        error = squared_error(noise, predicted, workspace=workspace)[0].mean()
        return BatchLoss(error, error.detach(), error.new_zeros(()))

    @torch.no_grad()
    def sample_losses(self, module: Any, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the loss of each sample for noise that is the same for all of them.

        So the loss of a sample does not depend on the samples beside it, and models are compared
        at the same noise.

        Parameters
        ----------
        module : torch.nn.Module
            Has a method `noise(z, level)`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        noise : torch.Tensor of shape (n_draws, n_features)
            Draws of noise. Four levels from the least to the greatest take turns.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Mean over the draws.
        """
        total = x.new_zeros(len(x))
        positions = torch.linspace(0.0, 1.0, N_LEVELS, dtype=x.dtype, device=x.device)
        for i, draw in enumerate(noise):
            level = self._level(positions[i % N_LEVELS]).reshape(1, 1)
            total += (draw - module.noise(x + level * draw, level)).square().sum(dim=1)
        return total / len(noise)

    def _level(self, position: torch.Tensor) -> torch.Tensor:
        """Return the level at positions from 0 to 1 between the bounds."""
        low, high = (math.log(level) for level in self.levels)
        return torch.exp(low + (high - low) * position)

    @property
    def trade_off(self) -> float:
        """Nothing is weighed: 0."""
        return 0.0
