"""The network that predicts the noise in noisy samples."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from skvaeense.models._base import Model
from skvaeense.networks._layers import linear_layer

# Number of sines, and of cosines, that encode the noise level, and width of their embedding.
N_WAVES, EMBEDDING_WIDTH = 8, 32
# Factor on the first weights of the gains, so that at first the level hardly matters.
EMBEDDING_SCALE = 0.1


class Denoiser(Model):
    """Predict the noise e in z = x + t e, from z and the noise level t.

    With samples x of unit variance, ``c = 1 / (1 + t^2)`` and a network F of dense layers::

        e(z, t) = t c z - sqrt(c) F(sqrt(c) z, t)

    The first term is the best prediction for Gaussian samples. So F learns only the deviation from
    it, and the inputs and outputs of F are of size 1 at every level. The score of the noisy density
    is ``-e(z, t) / t``.

    Each hidden unit is a product ``silu(a) b`` of two linear functions a and b of its inputs; the
    level multiplies a. The best prediction consists of products, too: the nearest subspace decides
    on the projection, and the distance of a sample from the centre of a sphere decides how far the
    sample is moved.

    Parameters
    ----------
    n_features : int
        Number of features of a sample.

    hidden_layer_sizes : list of int
        Width of each hidden layer.

    levels : tuple of two floats
        Least and greatest noise level in training.

    generator : torch.Generator or None, default=None
        The source of the random weights; None if they will be loaded.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.models import Denoiser
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = Denoiser(3, [16], (0.1, 0.4), generator=generator)
    >>> model.noise(torch.ones(5, 3), torch.full((1, 1), 0.2)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        n_features: int,
        hidden_layer_sizes: Sequence[int],
        levels: tuple[float, float],
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            {
                "n_features": n_features,
                "hidden_layer_sizes": hidden_layer_sizes,
                "levels": levels,
            }
        )
        self.levels = levels
        self.hidden_layer_sizes = hidden_layer_sizes
        widths = [n_features, *hidden_layer_sizes]
        self.hidden = nn.ModuleList(linear_layer(a, 2 * b, generator) for a, b in pairwise(widths))
        self.output = linear_layer(widths[-1], n_features, generator)
        self.embedding = linear_layer(2 * N_WAVES, EMBEDDING_WIDTH, generator)
        self.gains = linear_layer(EMBEDDING_WIDTH, sum(hidden_layer_sizes), generator)
        if generator is not None:
            with torch.no_grad():
                self.gains.weight.mul_(EMBEDDING_SCALE)

    def noise(self, z: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Return the predicted noise.

        Parameters
        ----------
        z : torch.Tensor of shape (n_samples, n_features)
            Noisy samples.

        level : torch.Tensor of shape (n_samples, 1) or (1, 1)
            Standard deviation of the noise.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_features)
            The predicted noise, of unit variance.
        """
        c = 1 / (1 + level**2)
        hidden = c.sqrt() * z
        gains = self._gains(level).split(self.hidden_layer_sizes, dim=-1)
        for layer, gain in zip(self.hidden, gains, strict=True):
            opening, content = layer(hidden).chunk(2, dim=-1)
            hidden = nn.functional.silu(opening * (1 + gain)) * content
        return level * c * z - c.sqrt() * self.output(hidden)

    def _gains(self, level: torch.Tensor) -> torch.Tensor:
        """Return the gains of the units of all hidden layers at a noise level."""
        low, high = (math.log(value) for value in self.levels)
        position = (torch.log(level) - low) / (high - low)
        # The first wave is monotonic over the range, so no two levels have the same features.
        waves = torch.arange(1, N_WAVES + 1, dtype=level.dtype, device=level.device)
        angles = math.pi / 2 * position * waves
        features = torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)
        return self.gains(nn.functional.silu(self.embedding(features)))
