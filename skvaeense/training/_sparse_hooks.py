"""Hooks of sparse autoencoders: coefficient, unit norms, dead latents."""

from dataclasses import KW_ONLY, dataclass

import torch

from skvaeense.models._base import Model, as_number
from skvaeense.networks._base import normalize_columns
from skvaeense.training._trainer import Hook, Step, Trainer
from skvaeense.utils._kept import set_share

# Gain per step with which the logarithm of an adapted coefficient follows the logarithm of
# (active / wanted): at first, and at the end, when the learning rate falls and the code responds
# less and less. The logarithm of (active / wanted) is clipped at MOST_EXCESS.
GAIN = 0.03
LAST_GAIN = 0.1
MOST_EXCESS = 1.0
# Weights of a step in a fast and a slow running mean of this logarithm, and how many times their
# difference is added to it: codes of the near future count, so that they do not overshoot.
FAST, SLOW, LEAD = 0.1, 0.02, 4.0
# Codes without any active latent count as if the logarithm were this far below 0.
FARTHEST = 10.0
# A latent is dead once it was inactive for this many training samples in a row.
DEAD_AFTER = 10_000


@dataclass(eq=False)
class Coefficient(Hook):
    """Raise the coefficient alpha of a penalty from 0, and then adapt it if there is a target.

    With a target for the mean number of active latents, alpha changes at every step after the
    rise. With the L0 of the batch and the fraction p done::

        log alpha <- log alpha + gain(p) * clip(log(L0 / target) + lead, -1, 1)

    The gain rises from 0.03 to 0.1 with p^2. The lead is 4 times the difference of two running
    means of log(L0), a fast one and a slow one: about its change in the next 160 steps.

    Attributes
    ----------
    alpha : float or torch.Tensor
        The coefficient, or its first value if there is a target; a tensor once it is adapted.

    target_l0 : float or None, default=None
        Wanted mean number of active latents; None keeps the coefficient constant.

    warmup : float, default=0.1
        Share of the training over which the coefficient rises from 0 to alpha.

    value : float or torch.Tensor
        The coefficient in the current step.
    """

    alpha: float | torch.Tensor
    _: KW_ONLY
    target_l0: float | None = None
    warmup: float = 0.1

    def __post_init__(self) -> None:
        self.value: float | torch.Tensor = 0.0
        self.fast: torch.Tensor | None = None
        self.slow: torch.Tensor | None = None

    def at(self, fraction_done: float) -> float | torch.Tensor:
        """Return the coefficient: a tensor once it is adapted, to avoid device waits."""
        if self.warmup == 0:
            return self.alpha
        return min(1.0, fraction_done / self.warmup) * self.alpha

    def observe(self, l0: torch.Tensor, fraction_done: float) -> None:
        """Adapt the coefficient to the mean number of active latents of a batch."""
        if self.target_l0 is None or fraction_done < self.warmup:
            return
        now = (l0 / self.target_l0).log().clamp(-FARTHEST, FARTHEST)
        if self.fast is None or self.slow is None:
            self.fast = self.slow = now
        self.fast, self.slow = self.fast.lerp(now, FAST), self.slow.lerp(now, SLOW)
        excess = (now + LEAD * (self.fast - self.slow)).clamp(-MOST_EXCESS, MOST_EXCESS)
        gain = GAIN + (LAST_GAIN - GAIN) * fraction_done**2
        self.alpha = self.alpha * torch.exp(gain * excess)

    def before_loss(self, trainer: Trainer, fraction_done: float) -> None:
        """Set the model's coefficient."""
        self.value = self.at(fraction_done)
        trainer.model.alpha = as_number(self.value)

    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Adapt the coefficient to the batch."""
        if "active_share" in step.terms:
            self.observe(step.terms["active_share"].sum(), step.fraction_done)

    def values(self) -> dict[str, float]:
        """Return the coefficient of the last step."""
        return {"alpha": float(self.value)}


class AnnealedLength(Hook):
    """Let codes keep all latents at first, then fewer by a factor in each step, down to k.

    Parameters
    ----------
    model : SparseCoder
        The model, whose `length` is k.

    anneal : float
        Share of the training over which the number of kept latents falls, above 0.
    """

    def __init__(self, model: Model, anneal: float) -> None:
        self.first_share = model.n_components / (model.length or model.n_components)
        self.anneal = anneal

    def before_loss(self, trainer: Trainer, fraction_done: float) -> None:
        """Set how many entries this step keeps."""
        left = max(0.0, 1 - fraction_done / self.anneal)
        set_share(trainer.model, self.first_share**left)

    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Let codes keep k entries again, as validation expects."""
        set_share(trainer.model, 1.0)


class UnitNorm(Hook):
    """Keep the columns of a linear decoder at norm 1, and their gradients orthogonal to them."""

    @torch.no_grad()
    def before_step(self, trainer: Trainer) -> None:
        """Remove the part of the gradients that would change the norms."""
        weight = trainer.model.linear_decoder.weight
        weight.grad -= weight * (weight * weight.grad).sum(dim=0)

    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Bring the columns back to norm 1."""
        normalize_columns(trainer.model.linear_decoder.weight)


class DeadLatents(Hook):
    """Count the samples for which each latent has been silent, and tell the model who is dead.

    Parameters
    ----------
    model : SparseCoder
        The model.

    dead_after : int, default=10_000
        Number of samples in a row after which a silent latent is dead.
    """

    def __init__(self, model: Model, dead_after: int = DEAD_AFTER) -> None:
        device = next(model.parameters()).device
        self.dead_after = dead_after
        self.silent_for = torch.zeros(model.n_components, dtype=torch.int64, device=device)
        self.dead = self.silent_for.bool()
        self.n_dead = self.n_samples = 0

    def before_loss(self, trainer: Trainer, fraction_done: float) -> None:
        """Tell the model which latents are dead."""
        trainer.model.dead_latents = torch.nonzero(self.dead).ravel() if self.n_dead else None

    @torch.no_grad()
    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Update the counts."""
        if "active_share" not in step.terms:
            return
        n_samples = len(step.x) * trainer.processes.world_size
        self.silent_for += n_samples
        self.silent_for.masked_fill_(step.terms["active_share"] > 0, 0)
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
