"""The noise variance of a VAE during training: annealed, then learned; and its losses."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import torch

from skvaeense.models._base import as_number
from skvaeense.training._threads import suited_threads
from skvaeense.training._trainer import Hook, Step, Trainer
from skvaeense.utils._torch import evaluating

# Least noise variance in the descent, as a share of the error. Far below the error, every latent
# that explains anything opens for every sample. If the noise variance never falls below the error,
# isotropic data gets stuck where all latents are half open.
LEAST_SHARE = 0.3
# Weight of a batch in the running mean of the error.
MEMORY = 0.02
# Least noise variance in training, as a fraction of the mean eigenvalue of the covariance. If data
# varies in few of many directions, each of these stands out far more from the same noise.
FINAL_NOISE = 1e-5
# First factor on the error that the noise variance follows. A factor of 1 would make it stall.
FOLLOW = 0.7
# Least noise variance that is reported, as a fraction of the data's variance: the value for data
# without any noise, in single precision.
LEAST_NOISE = 1e-10


@dataclass(eq=False)
class NoiseSchedule(Hook):
    """Set the noise variance of a VAE before each step.

    Given the rest of the model, the best noise variance is the mean squared error per feature.
    Training that follows this error from the start finds bad minima: with too much noise all
    latents close, and with too little noise their patterns freeze too early. So training holds the
    first value, then lowers it geometrically, and from `settle` on follows a running mean of the
    error. At the fraction p of the training::

        g(p) = first                                                  p <= hold
        g(p) = first (floor / first)^((p - hold) / (settle - hold))   hold < p < settle,
               but at least LEAST_SHARE of the running mean of the error
        g(p) = max(floor, f(p) * running mean)                        p >= settle

    where f rises from `follow` to 1 by the end.

    Attributes
    ----------
    first : float
        First value, in squared units of the scaled data.

    floor : float
        Least value.

    hold : float, default=0.2
        Share of the training that keeps the first value.

    settle : float, default=0.4
        Share of the training after which the error is followed.

    follow : float, default=1.0
        First factor on the running mean of the error, which then rises to 1. A factor below 1 makes
        the noise variance fall faster than the error, which alone would stall above its limit.

    learned : bool, default=True
        If False, the value stays at `first`.

    running_error : torch.Tensor or None
        Running mean of the squared error per feature; None before the first step.

    value : float or torch.Tensor
        The current noise variance.
    """

    first: float
    _: KW_ONLY
    floor: float
    hold: float = 0.2
    settle: float = 0.4
    follow: float = 1.0
    learned: bool = True

    def __post_init__(self) -> None:
        self.running_error: torch.Tensor | None = None
        self.value: float | torch.Tensor = self.first

    def at(self, fraction_done: float) -> float | torch.Tensor:
        """Return the noise variance: a tensor once it follows the error, to avoid device waits."""
        if not self.learned or fraction_done <= self.hold:
            return self.first
        if fraction_done < self.settle or self.running_error is None:
            share = (fraction_done - self.hold) / max(self.settle - self.hold, 1e-12)
            level = self.first * (self.floor / self.first) ** min(1.0, share)
            if self.running_error is None:
                return level
            return (LEAST_SHARE * self.running_error).clamp(level, self.first)
        factor = self.follow + (1 - self.follow) * fraction_done
        return (factor * self.running_error).clamp_min(self.floor)

    def observe(self, error: torch.Tensor) -> None:
        """Update the running error with the mean squared error per feature of a batch."""
        if self.running_error is None:
            self.running_error = error.clone()
        else:
            self.running_error.lerp_(error, MEMORY)

    def before_loss(self, trainer: Trainer, fraction_done: float) -> None:
        """Set the model's noise variance."""
        self.value = self.at(fraction_done)
        trainer.model.noise_variance = as_number(self.value)

    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Update the running error."""
        self.observe(step.terms["error"] / step.x.shape[1])

    def values(self) -> dict[str, float]:
        """Return the noise variance of the last step."""
        return {"noise_variance": float(self.value)}


def annealed_noise(first: float, mean_eigenvalue: float, *, learned: bool) -> NoiseSchedule:
    """Return the noise schedule of a random init: constant, then lowered to the error."""
    floor = min(FINAL_NOISE * mean_eigenvalue, first)
    return NoiseSchedule(first, floor=floor, follow=FOLLOW, learned=learned)


def followed_noise(
    first: float, floor: float, *, learned: bool, follow: float = FOLLOW
) -> NoiseSchedule:
    """Return the noise schedule of a continued training: the error from the start."""
    floor = min(floor, first)
    return NoiseSchedule(first, floor=floor, hold=0.0, settle=0.0, follow=follow, learned=learned)


class ValidationTerms(NamedTuple):
    """Expected squared error, and divergence in nats, per sample."""

    error: float
    kl: float


def validation_terms(model: Any, x: torch.Tensor) -> ValidationTerms:
    """Return the mean terms of the bound over samples, in evaluation mode."""
    with evaluating(model), suited_threads(model, len(x), n_products=1):
        error, kl = model.elbo(x)
    return ValidationTerms(float(error.mean()), float(kl.mean()))


def best_noise(terms: ValidationTerms, n_features: int) -> float:
    """Return the noise variance that suits the error best."""
    return max(terms.error / n_features, LEAST_NOISE)


def validation_loss(terms: ValidationTerms, noise_variance: float, n_features: int) -> float:
    """Return -ELBO in nats at a noise variance."""
    volume = n_features * math.log(2 * math.pi * noise_variance)
    return 0.5 * (terms.error / noise_variance + volume) + terms.kl
