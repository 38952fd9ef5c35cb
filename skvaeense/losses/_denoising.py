"""Denoising score matching."""

import math
from typing import Any

import torch

from skvaeense.losses._base import Loss, Terms


class DenoisingScoreMatching(Loss):
    """Squared error of predicted noise, at noise levels t between two bounds.

    For a sample x, noise e from N(0, I) and a level t whose logarithm is uniform, the model
    predicts e from x + t e::

        loss(x) = E || e - noise(x + t e, t) ||^2

    The best prediction at every level is ``-t`` times the gradient of the log-density of noisy
    samples, their score [1]_. So a model that has learned to predict noise knows the score. On a
    manifold of dimension d, if the noise is small compared with the extent and the radius of
    curvature of the manifold, the least possible loss is d: noise along the manifold cannot be told
    from the sample.

    Parameters
    ----------
    levels : tuple of two floats
        Least and greatest standard deviation of the noise, in units of the scaled data.

    See Also
    --------
    ELBO : The loss of a variational autoencoder.

    References
    ----------
    .. [1] Vincent (2011). A Connection Between Score Matching and Denoising Autoencoders. Neural
       Computation 23(7).

    Examples
    --------
    >>> import torch
    >>> from skvaeense.losses import DenoisingScoreMatching
    >>> class Nothing(torch.nn.Module):
    ...     def noise(self, z, level):
    ...         return torch.zeros_like(z)
    >>> generator = torch.Generator().manual_seed(0)
    >>> loss = DenoisingScoreMatching((0.1, 0.4))
    >>> x = torch.zeros(1000, 3)
    >>> round(float(loss.terms(Nothing(), x, generator=generator)["loss"]))
    3
    """

    method = "noise"

    def __init__(self, levels: tuple[float, float]) -> None:
        self.levels = levels

    def terms(self, model: Any, x: torch.Tensor, *, generator: torch.Generator) -> Terms:
        """Return the "loss" of a batch, with one level and one draw of noise for each sample."""
        settings: dict[str, Any] = {"dtype": x.dtype, "device": x.device, "generator": generator}
        noise = torch.randn(x.shape, **settings)
        level = self._level(torch.rand((len(x), 1), **settings))
        predicted = model.noise(x + level * noise, level)
        return {"loss": (noise - predicted).square().sum(dim=1).mean()}

    @torch.no_grad()
    def sample_losses(self, model: Any, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the loss of each sample, with the same noise for all samples.

        So the loss of a sample does not depend on other samples, and models are compared at the
        same noise.

        Parameters
        ----------
        model : Denoiser
            A model with a method `noise(z, level)`.

        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        noise : torch.Tensor of shape (n_draws, n_features)
            Draws of noise. The first is used at the least level, and the last at the greatest.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Mean over the draws.
        """
        total = x.new_zeros(len(x))
        positions = torch.linspace(0.0, 1.0, len(noise), dtype=x.dtype, device=x.device)
        for draw, level in zip(noise, self._level(positions), strict=True):
            predicted = model.noise(x + level * draw, level.reshape(1, 1))
            total += (draw - predicted).square().sum(dim=1)
        return total / len(noise)

    def _level(self, position: torch.Tensor) -> torch.Tensor:
        """Return the level at positions from 0 to 1 between the bounds."""
        low, high = (math.log(level) for level in self.levels)
        return torch.exp(low + (high - low) * position)
