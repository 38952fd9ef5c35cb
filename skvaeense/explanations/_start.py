"""The first gates of a fit by expectation maximisation."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from skvaeense.explanations._gates import Gates
from skvaeense.utils._linalg import ROUNDING, principal_directions

# Largest number of latents at first, unless their number is given.
MOST_LATENTS = 384
# Noise variance that a fit with a target starts from, as a share of the variance.
TARGET_NOISE = 0.5


def start_gates(
    x: torch.Tensor, *, generator: torch.Generator, positive: bool = False, surplus: int = 6
) -> Gates:
    """Return the first gates of a fit: principal directions, then random ones.

    Random directions are drawn with the root of the spectrum as covariance. So they point where
    samples vary, but not only along the largest directions.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Centred samples, scaled to a mean square of 1.

    generator : torch.Generator
        The source of randomness.

    positive : bool, default=False
        Whether codes are not negative.

    surplus : int, default=6
        Latents for each direction that holds the variance; most of them are dropped later. There is
        at most one latent for four samples.

    Returns
    -------
    Gates
        Gates that are rarely open, and together explain the variance.
    """
    found = principal_directions(x.cpu().double().numpy())
    variances, V = torch.tensor(found[0].copy()), torch.tensor(found[1].copy())
    # The sign of a direction is a matter of rounding, but its skewness is not.
    skewness = (x.cpu().double() @ V.T).pow(3).sum(dim=0)
    V = V * torch.where(skewness < 0, -1.0, 1.0)[:, None]
    k = max(min(surplus * _n_directions(found[0]), MOST_LATENTS, len(x) // 4), 1)
    drawn = torch.randn(k, len(V), generator=generator, device=generator.device)
    weight = (drawn.cpu().double() * variances.clamp_min(0).pow(0.25)) @ V
    weight[: len(V)] = V[:k]
    # With more open gates, or less noise, columns hardly turn.
    return _first(weight.to(x), min(0.05 * k, 0.1 * x.shape[1]), 0.3, positive)


def start_at_samples(
    x: torch.Tensor,
    n_components: int | None,
    length: float | None = None,
    *,
    generator: torch.Generator,
    positive: bool = False,
) -> Gates:
    """Return the first gates of a fit with a target: directions of random samples.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Centred samples, scaled to a mean square of 1.

    n_components : int or None
        Number of latents; None means as from `n_target`.

    length : float or None, default=None
        Mean number of open gates, if this is the target; None starts with two.

    generator : torch.Generator
        The source of randomness.

    positive : bool, default=False
        Whether codes are not negative.

    Returns
    -------
    Gates
        Gates that together explain the variance; less than a third of them are open.
    """
    length = 2.0 if length is None else length
    k, device = n_components or n_target(x, length), generator.device
    order = torch.randperm(len(x), generator=generator, device=device)[:k]
    drawn = torch.randn(k, x.shape[1], generator=generator, device=device).to(x)
    # Samples at the centre have no direction, and there can be fewer samples than latents.
    weight = ROUNDING * drawn
    weight[: len(order)] += x[order.to(x.device)]
    return _first(weight, min(length, 0.3 * k), TARGET_NOISE, positive)


def start_anew(gates: Gates) -> Gates:
    """Return known gates with the noise variance and the price of the start of a fit with a target.

    The price of another target can be so high, where there is little noise, that steps never return
    from it.

    Parameters
    ----------
    gates : Gates
        The gates.

    Returns
    -------
    Gates
        The gates, for `TargetEM`.
    """
    noise, price = gates.noise_variance.new_tensor(TARGET_NOISE), gates.price.new_tensor(0.0)
    return gates._replace(noise_variance=noise, price=price)


def n_target(x: torch.Tensor, length: float = 1.0, *, width: int = 4) -> int:
    """Return the number of latents of a fit with a target, whose codes may have some length.

    There are at most `width` for each principal direction, and half the number of samples, but at
    least one for each direction.
    """
    n_directions = _n_directions(principal_directions(x.cpu().double().numpy())[0])
    k = min(max(min(width * n_directions, len(x) // 2), n_directions), MOST_LATENTS)
    return max(k, math.ceil(length))


def _n_directions(variances: np.ndarray, share: float = 0.99) -> int:
    """Return the number of principal directions that hold nearly all of the variance."""
    held = variances.cumsum()
    return int((held < share * held[-1:].max(initial=0.0)).sum()) + 1


def _first(weight: torch.Tensor, length: float, noise: float, positive: bool) -> Gates:
    """Return gates with columns of any norm, of which some number is open."""
    k, d = weight.shape
    p, one = length / k, weight.new_ones(k)
    square = d / (p * k)
    mean = math.sqrt(2 / math.pi * square) if positive else 0.0
    slabs = p * one, mean * one, (square - mean**2) * one
    numbers = torch.tensor(noise, dtype=torch.float64), weight.new_tensor(0.0)
    return Gates(F.normalize(weight, dim=1), weight.new_zeros(d), *slabs, *numbers, positive)
