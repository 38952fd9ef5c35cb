"""Hooks of a training: the noise variance of a VAE, and what sparse autoencoders adapt."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from skvaeense.nets.losses import Terms
from skvaeense.nets.models import ELBOTerms, Model, as_number
from skvaeense.training._trainer import WARMUP
from skvaeense.utils._torch import evaluating

# Least noise variance in training, as a fraction of the mean eigenvalue of the covariance. If data
# varies in few of many directions, each of these stands out far more from the same noise.
FINAL_NOISE = 1e-5
# Least noise variance that is reported, as a fraction of the data's variance: the value for data
# without any noise, in single precision.
LEAST_NOISE = 1e-10
# Weight of a step in running means over many steps.
MEMORY = 0.02


@dataclass(eq=False)
class NoiseSchedule:
    """Set the noise variance of a VAE before each step.

    Given the rest of the model, the best noise variance is the mean squared error per feature.
    Training that follows this error from the start finds bad minima: with too much noise all
    latents close, and with too little noise their patterns freeze too early. So training holds the
    first value, then lowers it geometrically, and from `settle` on follows a running mean of the
    error. At the fraction p of the training::

        g(p) = first                                                  p <= hold
        g(p) = first (floor / first)^((p - hold) / (settle - hold))   hold < p < settle,
               but at least `follow` times the running mean of the error
        g(p) = max(floor, f(p) * running mean)                        p >= settle,
               but at most `most` before `risen`

    where f rises from `follow` to 1 between `settle` and `risen`. There is no jump: under noise
    that rises at once, latents that training has just opened close for good. Under noise that stays
    below the error, training learns the noise of its samples.

    Attributes
    ----------
    first : float
        First value, in squared units of the scaled data.

    floor : float
        Least value.

    hold : float, default=0.2
        Share of the training that keeps the first value.

    settle : float, default=0.5
        Share of the training after which the error is followed.

    risen : float, default=0.6
        Share of the training from which the noise variance is the error.

    follow : float, default=0.3
        Least value in the descent, and first value after it, as a share of the error. A latent
        opens if it explains more than the noise variance. Far below the error, latents open for
        errors that the decoder could still learn to avoid, and stay open. If the noise variance
        never falls below the error, isotropic data gets stuck where all latents are half open.

    most : float, default=inf
        Largest value between `settle` and `risen`.

    memory : float, default=0.02
        Weight of a batch in the running mean of the error.

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
    settle: float = 0.5
    risen: float = 0.6
    follow: float = 0.3
    most: float = math.inf
    learned: bool = True
    memory: float = MEMORY

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
            return (self.follow * self.running_error).clamp(level, self.first)
        share = (fraction_done - self.settle) / (self.risen - self.settle)
        if share >= 1:
            return self.running_error.clamp_min(self.floor)
        factor = self.follow + (1 - self.follow) * share
        return (factor * self.running_error).clamp(self.floor, self.most)

    def before_loss(self, model: Any, fraction_done: float) -> None:
        """Set the model's noise variance."""
        self.value = self.at(fraction_done)
        model.noise_variance = as_number(self.value)

    def after_step(self, x: torch.Tensor, terms: Terms, fraction_done: float) -> None:
        """Update the running error."""
        error = terms["error"] / x.shape[1]
        before = error if self.running_error is None else self.running_error
        self.running_error = before.lerp(error, self.memory)

    def values(self) -> dict[str, float]:
        """Return the noise variance of the last step."""
        return {"noise_variance": float(self.value)}


def annealed_noise(
    first: float, mean_eigenvalue: float, *, learned: bool, depth: int = 1
) -> NoiseSchedule:
    """Return the noise schedule of a random init: constant, then lowered to the error.

    Steps are shorter by the square root of the number of the decoder's layers. An error that falls
    to a share in some time falls to this root of the share with such steps, and the noise stays
    above that share of the error.
    """
    follow = NoiseSchedule.follow ** (1 / depth**0.5)
    floor = min(FINAL_NOISE * mean_eigenvalue, first)
    return NoiseSchedule(first, floor=floor, follow=follow, learned=learned)


def followed_noise(
    first: float, floor: float, *, learned: bool, most: float = math.inf, follow: float = 0.7
) -> NoiseSchedule:
    """Return the noise schedule of a continued training: the error from the start.

    Samples may have moved. So that latents stay open until the decoder has followed, the noise is
    at most that of a random init, or what it was, as long as it rises.
    """
    return NoiseSchedule(
        first,
        floor=min(floor, first),
        hold=0.0,
        settle=0.0,
        follow=follow,
        most=max(most, first),
        learned=learned,
    )


def validation_terms(model: Any, x: torch.Tensor) -> ELBOTerms:
    """Return the mean squared error and divergence of samples, in evaluation mode."""
    with evaluating(model):
        error, kl = model.elbo(x)
    return ELBOTerms(float(error.mean()), float(kl.mean()))


@dataclass(eq=False)
class Coefficient:
    """Raise the coefficient alpha of a penalty from 0, and then adapt it if there is a target.

    With a target for the mean number of active latents, alpha changes at every step after the
    rise. With the L0 of the batch and the fraction p done::

        log alpha <- log alpha + gain(p) * clip(log(L0 / target) + lead * (fast - slow), -1, 1)

    The gain rises from `gain` to `last_gain` with p^2, as the learning rate falls and codes respond
    less and less. Fast and slow are running means of log(L0 / target). Their difference stands for
    codes of the near future: with the defaults, for the change in the next 160 steps. Without it,
    codes of JumpReLU overshoot in short trainings; with twice of it, those of other penalties do.

    Attributes
    ----------
    alpha : float or torch.Tensor
        The coefficient, or its first value if there is a target; a tensor once it is adapted.

    target_l0 : float or None, default=None
        Wanted mean number of active latents; None keeps the coefficient constant.

    warmup : float, default=0.1
        Share of the training over which the coefficient rises from 0 to alpha.

    gain, last_gain : float, default=0.03 and 0.1
        Gain per step at first, and at the end.

    lead : float, default=4.0
        Factor on the difference of the running means.

    fast_memory, slow_memory : float, default=0.1 and 0.02
        Weights of a step in the two running means.

    value : float or torch.Tensor
        The coefficient in the current step.
    """

    alpha: float | torch.Tensor
    _: KW_ONLY
    target_l0: float | None = None
    warmup: float = WARMUP
    gain: float = 0.03
    last_gain: float = 0.1
    lead: float = 4.0
    fast_memory: float = 0.1
    slow_memory: float = MEMORY
    value: float | torch.Tensor = 0.0
    fast: torch.Tensor | None = None
    slow: torch.Tensor | None = None

    def before_loss(self, model: Any, fraction_done: float) -> None:
        """Set the model's coefficient."""
        is_rising = fraction_done < self.warmup
        self.value = self.alpha * (fraction_done / self.warmup if is_rising else 1.0)
        model.alpha = as_number(self.value)

    def after_step(self, x: torch.Tensor, terms: Terms, fraction_done: float) -> None:
        """Adapt the coefficient to the mean number of active latents of the batch."""
        is_rising = fraction_done < self.warmup
        if self.target_l0 is None or is_rising or "active_share" not in terms:
            return
        # Codes without any active latent have a logarithm of minus infinity.
        now = (terms["active_share"].sum() / self.target_l0).log().clamp(-10, 10)
        self.fast = now if self.fast is None else self.fast.lerp(now, self.fast_memory)
        self.slow = now if self.slow is None else self.slow.lerp(now, self.slow_memory)
        excess = (now + self.lead * (self.fast - self.slow)).clamp(-1, 1)
        gain = self.gain + (self.last_gain - self.gain) * fraction_done**2
        self.alpha = self.alpha * torch.exp(gain * excess)

    def values(self) -> dict[str, float]:
        """Return the coefficient of the last step."""
        return {"alpha": float(self.value)}


class DeadLatents:
    """Count the samples for which each latent has been silent, and tell the model who is dead.

    Parameters
    ----------
    model : SparseCoder
        The model.

    dead_after : int
        Number of samples in a row after which a silent latent is dead.
    """

    def __init__(self, model: Model, dead_after: int) -> None:
        device = next(model.parameters()).device
        self.dead_after = dead_after
        self.silent_for = torch.zeros(model.n_components, dtype=torch.int64, device=device)
        self.dead = self.silent_for.bool()
        self.n_dead = self.n_samples = 0

    def before_loss(self, model: Any, fraction_done: float) -> None:
        """Tell the model which latents are dead."""
        model.dead_latents = torch.nonzero(self.dead).ravel() if self.n_dead else None

    @torch.no_grad()
    def after_step(self, x: torch.Tensor, terms: Terms, fraction_done: float) -> None:
        """Update the counts."""
        if "active_share" not in terms:
            return
        n_samples = len(x)
        self.silent_for += n_samples
        self.silent_for.masked_fill_(terms["active_share"] > 0, 0)
        n_looks = self.n_samples // self.dead_after
        self.n_samples += n_samples
        # A look waits for the device. So looks are as far apart as a latent takes to die.
        if self.n_samples // self.dead_after > n_looks:
            self.dead = self.silent_for >= self.dead_after
            self.n_dead = int(self.dead.sum())

    @property
    def fraction(self) -> float:
        """Fraction of latents silent for the last `dead_after` samples, or all if fewer.

        It is 0 if the loss does not return which latents are active.
        """
        if self.n_samples == 0:
            return 0.0
        return float((self.silent_for >= min(self.dead_after, self.n_samples)).double().mean())

    def values(self) -> dict[str, float]:
        """Return the fraction of dead latents."""
        return {"dead_fraction": self.fraction}
