"""The noise levels that training passes through, and the loss by which starts are compared.

All in units of the scaled data, whose variance averages 1.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from skvaeense.objectives._elbo import ELBO
from skvaeense.objectives._noise import NoiseVariance
from skvaeense.utils._typing import DoubleArray

# Starts come down to one common level, and are compared there: the loss at one noise level charges
# for each active latent alike, where the bound at each run's own level does not. It is the larger
# of these, the second as a fraction of the mean eigenvalue of the covariance: where the data varies
# in few of many directions, each of them stands out far more from the same noise.
COMMON_NOISE = 1e-3
COMMON_NOISE_SHARE = 3e-4
# Least noise variance of the last phase, as a fraction of the common level.
FINAL_NOISE = 0.01
# First noise variance, as a fraction of the mean eigenvalue of the covariance.
START_NOISE = 0.1
# The last phase begins with the noise variance under the error, so that it does not stall.
FOLLOW = 0.7


def start_noise(level: float, mean_eigenvalue: float, *, learned: bool) -> NoiseVariance:
    """Return the noise of a start: held at a level, then lowered to the common one."""
    common = max(COMMON_NOISE, COMMON_NOISE_SHARE * mean_eigenvalue)
    floor = min(common, level) if learned else level
    return NoiseVariance(level, floor=floor, learned=learned)


def final_noise(level: float, common: float, *, learned: bool) -> NoiseVariance:
    """Return the noise of the last phase: it follows the error down from a level."""
    floor = min(FINAL_NOISE * common, level)
    return NoiseVariance(level, floor=floor, hold=0.0, settle=0.0, follow=FOLLOW, learned=learned)


class HeldOutMeans(NamedTuple):
    """Expected squared error, divergence in nats, and count of active latents, per sample."""

    error: float
    kl: float
    n_active: float


@torch.no_grad()
def held_out_means(objective: ELBO, module: Any, x: torch.Tensor) -> HeldOutMeans:
    """Return the means of the terms of an ELBO over samples."""
    mean, log_variance = objective.posterior(module, x)
    error, kl = objective.expected_terms(module, x, mean, log_variance)
    n_active = (log_variance < math.log(0.5)).sum(dim=1).to(error.dtype)
    return HeldOutMeans(float(error.mean()), float(kl.mean()), float(n_active.mean()))


def error_at_noise(error: float, noise_variance: float, n_features: int) -> float:
    """Return -2 log N(x; reconstruction, noise variance) for a squared error."""
    return error / noise_variance + n_features * math.log(2 * math.pi * noise_variance)


class BoundTerms(NamedTuple):
    """Negative bound in nats, squared error, divergence in nats, noise variance, by epoch."""

    loss: DoubleArray
    error: DoubleArray
    kl: DoubleArray
    noise_variance: DoubleArray


def bound_terms(losses: Sequence[Sequence[float]], n_features: int, scale: float) -> BoundTerms:
    """Return the terms of the bound in units of X, from losses in units of the scaled data."""
    columns = np.reshape(losses, (-1, 3)).T
    error, twice_kl, noise_variance = columns * [[scale**2], [1.0], [scale**2]]
    log_noise = n_features * np.log(2 * np.pi * noise_variance)
    loss = 0.5 * (error / noise_variance + log_noise + twice_kl)
    return BoundTerms(loss, error, 0.5 * twice_kl, noise_variance)


def loss_at_common_noise(
    means: HeldOutMeans, noise_variance: float, common: float, n_features: int
) -> float:
    """Return -2 ELBO at the common noise variance.

    A run that is still above that level is charged what its active latents will cost on the way
    down: each adds about log(g / g_common) to twice the divergence.
    """
    excess = max(noise_variance / common, 1.0)
    return (
        error_at_noise(means.error, common, n_features)
        + 2 * means.kl
        + means.n_active * math.log(excess)
    )
