"""Closed-form updates of gates, slabs and noise, and restarts of silent latents."""

import math

import torch

from skvaeense.losses import Terms
from skvaeense.models import SpikeSlabVAE
from skvaeense.models._base import as_number
from skvaeense.training._noise import LEAST_NOISE
from skvaeense.training._trainer import Hook, Step, Trainer

# Probabilities stay this far from 0 and 1. Single precision cannot tell closer ones from 1.
LEAST_PROBABILITY = torch.finfo(torch.float32).eps
# Gain with which the price of gates follows the logarithm of (actual / wanted).
PRICE_GAIN = 0.1
# If a price would have to be negative, the noise variance falls instead, at most by this factor.
LEAST_OF_SHARE = 0.1
# Share of the training in which the noise variance falls to the value that suits the error. Prices
# start to move halfway through this share.
ANNEALED = 0.5
# Shares of the training at which silent latents are restarted.
RESEED_AT = tuple(i / 20 for i in range(4, 13))
# A latent is silent if its mean square is under the first share of the median. At most the second
# share of all latents is restarted at a time.
SILENT, MOST_RESEEDED = 0.15, 0.05


class ClosedForms(Hook):
    """Move gates, slabs and noise of a `SpikeSlabVAE` to the best values for its encoder.

    With the expected squared error E of a batch of n samples with d features, as running means::

        p_j <- mean q_j,   m_j <- sum q_j mean_j / sum q_j,
        t_j <- sum q_j [(mean_j - m_j)^2 + v_j] / sum q_j,   g <- a max(E / (n d), r)

    Slabs are learned if the network infers gates by columns of norm 1. Otherwise m and t stay
    fixed, and g is at most its first value before half of the training.

    The factor a falls from `first_noise` to 1 over the first half of the training. After that, g is
    at least r, unless there is a target. With the second moments S of the residual, r is ``tr S^2 /
    tr S``: the mean of the eigenvalues of S, each weighted by itself. If the residual is noise,
    with the same variance in all directions, r is this variance. A residual in few directions is no
    noise, and r is its variance in these directions. With its mean variance over all directions, g
    would run to 0 on data without noise, and latents would open for mere errors of the encoder.

    **Targets.** The price of open gates rises while more gates are open than `target_l0`, and falls
    while fewer are open. With a `target_explained_variance` of 1 - s, the price rises while codes
    leave less than a share of the variance that falls from 1 to s over the first half of the
    training. g is equal to this share, for the least s if there are several. If codes had to reach
    s from the start, gates would open early, and nothing would close them later. If a price would
    have to be negative, g falls further instead, to a tenth at most: with less noise more gates
    open, and their latents are learned.

    Parameters
    ----------
    model : SpikeSlabVAE
        The model before training.

    learned : bool, default=True
        Whether the noise variance is learned.

    continues : bool, default=False
        Whether the model was trained before. If so, nothing is held or annealed.

    is_known : bool, default=False
        Whether gates, slabs and noise are known. If so, they all stay fixed.
    """

    def __init__(
        self,
        model: SpikeSlabVAE,
        *,
        learned: bool = True,
        continues: bool = False,
        is_known: bool = False,
    ) -> None:
        prior = model.prior
        self.learned = learned and not is_known
        self.hold = math.inf if is_known else 0.0 if continues else prior.hold
        self.annealed = 0.0 if continues else ANNEALED
        self.first_noise, self.memory, self.pooling = prior.first_noise, prior.memory, prior.pooling
        self.targets = model.first_prices.new_tensor(model.targets)
        self.shares = model.first_prices.new_tensor(model.left_shares)
        # The prices before they are clipped at 0.
        self.steering = model.first_prices.clone()
        # With more noise than at first, latents with random weights would close for good.
        self.most = None if model.learns_slabs or continues else float(model.noise_variance)
        self.left: Terms = {}
        self.value = model.noise_variance.to(model.first_prices.device, copy=True)

    def before_loss(self, trainer: Trainer, fraction_done: float) -> None:
        """Set the model's noise variance."""
        trainer.model.noise_variance = as_number(self.value)

    @torch.no_grad()
    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Update prices, noise, gates and slabs from a batch."""
        model, terms = trainer.model, step.terms
        if "probability" not in terms:
            raise ValueError(
                f"prior='spike_slab' needs terms that {trainer.loss!r} does not return. Add the "
                "terms of model.batch_statistics(x, posterior)."
            )
        done = min(1.0, step.fraction_done / self.annealed) if self.annealed else 1.0
        if done >= 0.5:
            self._steer(model, terms, done)
        if self.learned:
            self._follow_noise(model, terms, step, done)
        if step.fraction_done >= self.hold:
            self._follow(model, terms, len(step.x) * trainer.processes.world_size)

    def _steer(self, model: SpikeSlabVAE, terms: Terms, done: float) -> None:
        """Move the prices towards their targets."""
        excess = None
        if len(self.targets):
            excess = terms["l0"].clamp_min(LEAST_PROBABILITY) / self.targets
        elif len(self.shares):
            excess = self.shares**done / terms["unexplained"].clamp_min(LEAST_PROBABILITY)
        if excess is not None:
            self.steering += PRICE_GAIN * excess.log()
            self.steering.clamp_(min=math.log(LEAST_OF_SHARE))
            model.first_prices.copy_(self.steering.clamp_min(0.0))
        # This price also holds outside training, until prices are calibrated.
        model.prices.fill_(model.first_prices[0])

    def _follow_noise(self, model: SpikeSlabVAE, terms: Terms, step: Step, done: float) -> None:
        if len(self.shares):
            self.value = self.shares[0] ** done * self.steering[0].clamp_max(0.0).exp()
            return
        best = terms["error"] / step.x.shape[1]
        for name in ("left", "left_square"):
            self.left[name] = torch.lerp(self.left.get(name, terms[name]), terms[name], self.memory)
        if done == 1 and not len(self.targets):
            left = self.left["left"].clamp_min(torch.finfo(best.dtype).tiny)
            best = torch.maximum(best, self.left["left_square"] / left)
        if len(self.targets):
            best = best * self.steering[0].clamp_max(0.0).exp()
        best = self.first_noise ** (1 - done) * best.to(self.value)
        if done < 1 and self.most is not None:
            best = best.clamp_max(self.most)
        self.value = torch.lerp(self.value, best, self.memory).clamp_min(LEAST_NOISE)

    def _follow(self, model: SpikeSlabVAE, terms: Terms, n_samples: int) -> None:
        q = terms["probability"]
        model.gate_probability.lerp_(q, self.memory)
        pooled = torch.lerp(model.gate_probability, model.gate_probability.mean(), self.pooling)
        model.gate_probability.copy_(pooled.clamp_(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
        if not model.learns_slabs:
            return
        # A latent that is open for less than one sample of a batch tells little about its slab.
        n_open = n_samples * q
        weight = self.memory * n_open / (1 + n_open)
        some = q.clamp_min(torch.finfo(q.dtype).tiny)
        mean, square = terms["first_moment"] / some, terms["second_moment"] / some
        now = model.slab_mean.lerp_(mean, weight)
        variance = (square - 2 * now * mean + now.square()).clamp_min(0.0)
        model.slab_variance.lerp_(variance, weight).clamp_min_(LEAST_PROBABILITY * self.value)

    def values(self) -> dict[str, float]:
        """Return the noise variance of the last step."""
        return {"noise_variance": float(self.value)}


class SilentLatents(Hook):
    """Restart latents that explain almost nothing, from the residuals of badly explained samples.

    Parameters
    ----------
    model : SpikeSlabVAE
        The model before training.

    continues : bool, default=False
        Whether the model was trained before. If so, no latent is restarted.
    """

    def __init__(self, model: SpikeSlabVAE, *, continues: bool = False) -> None:
        self.use = torch.zeros_like(model.slab_mean)
        self.memory = model.prior.memory
        self.to_come = [] if continues else list(RESEED_AT)

    @torch.no_grad()
    def after_step(self, trainer: Trainer, step: Step) -> None:
        """Track what latents explain, and restart silent ones when it is time."""
        self.use.lerp_(step.terms["second_moment"], self.memory)
        if self.to_come and step.fraction_done >= self.to_come[0]:
            self.to_come.pop(0)
            self._reseed(trainer, step)
            trainer.processes.broadcast([trainer.parameters.values])

    def _reseed(self, trainer: Trainer, step: Step) -> None:
        model, network = trainer.model, trainer.model.network
        silent = torch.nonzero(self.use < SILENT * self.use.median()).ravel()
        n_most = max(1, int(MOST_RESEEDED * model.n_components))
        silent = silent[self.use[silent].argsort()][:n_most]
        posterior = model.posterior(step.x)
        residual = step.x - model.decode(model.soft_code(posterior))
        error = residual.square().sum(dim=1).square()
        if len(silent) == 0 or not 0 < float(error.sum()) < float("inf"):
            return
        drawn = torch.multinomial(error, len(silent), replacement=True, generator=step.generator)
        parameters = network.begin_anew(silent, residual[drawn].T)
        self.use[silent] = self.use.median()
        for state in (model.gate_probability, model.slab_mean, model.slab_variance):
            state[silent] = state.median()
        if not model.positive:
            model.slab_mean[silent] = 0.0
        for parameter in parameters:
            for name, memory in trainer.memories(parameter):
                # The second moments, which set the size of steps, get a typical value.
                memory[:, silent] = 0.0 if name == "exp_avg" else memory.mean()
