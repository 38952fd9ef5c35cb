"""What is learned of gates, slabs and noise in closed form; and latents that have fallen silent."""

import math
from typing import TYPE_CHECKING

import torch

from skvaeense.losses import Terms
from skvaeense.models._base import as_number
from skvaeense.training._hooks import Hook, Step
from skvaeense.training._noise import LEAST_NOISE

if TYPE_CHECKING:
    from skvaeense.models import SpikeSlabVAE
    from skvaeense.training._trainer import Trainer

# Probabilities stay this far from 0 and 1.
LEAST_PROBABILITY = 1e-5
# How fast the price of gates follows the logarithm of (what there is / what is wanted).
PRICE_GAIN = 0.1
# How far the noise variance falls at most below the share that is to be left, as a factor.
LEAST_OF_SHARE = 0.1
# Share of the training in which the noise variance falls to what suits the error. Prices begin to
# follow halfway.
ANNEALED = 0.5
# When silent latents begin anew, as shares of the training.
RESEED_AT = tuple(i / 20 for i in range(4, 13))
# Latents are silent whose mean square is under this share of the median; at most this share of all
# latents begins anew at a time.
SILENT, MOST_RESEEDED = 0.15, 0.05


class ClosedForms(Hook):
    """Follow what is best for gates, slabs and noise of a `SpikeSlabVAE`, given its encoder.

    With the expected squared error E of a batch of n samples with d features, as running means::

        p_j <- mean q_j,   m_j <- sum q_j mean_j / sum q_j,
        t_j <- sum q_j [(mean_j - m_j)^2 + v_j] / sum q_j,   g <- a max(E / (n d), r)

    Slabs are learned where the network infers gates by columns of norm 1; elsewhere m and t stay,
    and g is at most its first value before half of the training.

    The factor a falls from `first_noise` to 1 by half of the training. From then on r counts,
    unless there is a `target_l0`. With the second moments S of what codes leave, it is ``tr S^2 /
    tr S``, the mean of their eigenvalues that is weighted by themselves. Noise has the same
    variance in all directions, and then r is that variance. What is left in few directions is no
    noise, and stands out from noise of the variance r. If it counted as little as the mean of all
    directions, g would run to 0 on data without noise, and latents would open for what is only the
    error of the encoder.

    **Targets.** A price of open gates rises while more are open than `target_l0` asks for, and
    falls while less are. With a `target_explained_variance` of 1 - s it rises while less is left
    than a share that falls from 1 to s by half of the training, and so does g, to the least s of
    several. Were s wanted from the start, gates would open early that nothing closes later. Where a
    price would have to be less than 0, g falls further instead, to a tenth at most: behind less
    noise more gates open, and what they hold is learned. Nor does r count then.

    Parameters
    ----------
    model : SpikeSlabVAE
        The model before training.

    learned : bool, default=True
        Whether the noise variance is learned.

    goes_on : bool, default=False
        Whether the model was trained before: nothing is held or annealed then.

    is_known : bool, default=False
        Whether gates, slabs and noise are as they should be: they all stay.
    """

    def __init__(
        self,
        model: "SpikeSlabVAE",
        *,
        learned: bool = True,
        goes_on: bool = False,
        is_known: bool = False,
    ) -> None:
        prior = model.prior
        self.learned = learned and not is_known
        self.hold = math.inf if is_known else 0.0 if goes_on else prior.hold
        self.annealed = 0.0 if goes_on else ANNEALED
        self.first_noise, self.memory, self.pooling = prior.first_noise, prior.memory, prior.pooling
        self.targets = model.first_prices.new_tensor(model.targets)
        self.shares = model.first_prices.new_tensor(model.left_shares)
        # What prices are, where nothing keeps them above 0.
        self.steering = model.first_prices.clone()
        # Latents of random weights would close for good behind more noise than at first.
        self.most = None if model.learns_slabs or goes_on else float(model.noise_variance)
        self.left: Terms = {}
        self.value = model.noise_variance.to(model.first_prices.device, copy=True)

    def before_loss(self, trainer: "Trainer", fraction_done: float) -> None:
        """Set the model's noise variance."""
        trainer.model.noise_variance = as_number(self.value)

    @torch.no_grad()
    def after_step(self, trainer: "Trainer", step: Step) -> None:
        """Follow a batch."""
        model, terms = trainer.model, step.terms
        if "probability" not in terms:
            raise ValueError(
                f"{trainer.loss!r} does not return what prior='spike_slab' learns from; let its "
                "terms have those of model.batch_statistics(x, posterior)."
            )
        done = min(1.0, step.fraction_done / self.annealed) if self.annealed else 1.0
        if done >= 0.5:
            self._steer(model, terms, done)
        if self.learned:
            self._follow_noise(model, terms, step, done)
        if step.fraction_done >= self.hold:
            self._follow(model, terms, len(step.x) * trainer.processes.world_size)

    def _steer(self, model: "SpikeSlabVAE", terms: Terms, done: float) -> None:
        """Let prices follow the target."""
        excess = None
        if len(self.targets):
            excess = terms["l0"].clamp_min(LEAST_PROBABILITY) / self.targets
        elif len(self.shares):
            excess = self.shares**done / terms["unexplained"].clamp_min(LEAST_PROBABILITY)
        if excess is not None:
            self.steering += PRICE_GAIN * excess.log()
            self.steering.clamp_(min=math.log(LEAST_OF_SHARE))
            model.first_prices.copy_(self.steering.clamp_min(0.0))
        # Until others are known these hold outside training, too.
        model.prices.fill_(model.first_prices[0])

    def _follow_noise(self, model: "SpikeSlabVAE", terms: Terms, step: Step, done: float) -> None:
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

    def _follow(self, model: "SpikeSlabVAE", terms: Terms, n_samples: int) -> None:
        q = terms["probability"]
        model.gate_probability.lerp_(q, self.memory)
        pooled = torch.lerp(model.gate_probability, model.gate_probability.mean(), self.pooling)
        model.gate_probability.copy_(pooled.clamp_(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
        if not model.learns_slabs:
            return
        # A latent that is open for fewer than one sample of a batch says less of its slab.
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
    """Let latents that explain next to nothing begin anew, at samples that are explained badly.

    Parameters
    ----------
    model : SpikeSlabVAE
        The model before training.

    goes_on : bool, default=False
        Whether the model was trained before: none begins anew then.
    """

    def __init__(self, model: "SpikeSlabVAE", *, goes_on: bool = False) -> None:
        self.use = torch.zeros_like(model.slab_mean)
        self.memory = model.prior.memory
        self.to_come = [] if goes_on else list(RESEED_AT)

    @torch.no_grad()
    def after_step(self, trainer: "Trainer", step: Step) -> None:
        """Take note of what latents explain, and let some begin anew if it is time to."""
        self.use.lerp_(step.terms["second_moment"], self.memory)
        if self.to_come and step.fraction_done >= self.to_come[0]:
            self.to_come.pop(0)
            self._reseed(trainer, step)
            trainer.processes.broadcast([trainer.parameters.values])

    def _reseed(self, trainer: "Trainer", step: Step) -> None:
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
        memories = trainer.optimizer.state[trainer.parameters.values]
        for name, memory in memories.items():
            if not isinstance(memory, torch.Tensor) or not memory.ndim:
                continue
            for parameter in parameters:
                part = trainer.parameters.part(memory, parameter)
                # What stands for the size of steps stays that of the others.
                part[:, silent] = 0.0 if name == "exp_avg" else part.mean()
