"""Expectation maximisation of gates."""

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from skvaeense.explanations._gates import NEW_LOOKS, Gates
from skvaeense.explanations._start import start_anew, start_at_samples, start_gates
from skvaeense.explanations._sums import (
    LEAST_PROBABILITY,
    Sums,
    maximise,
    mean_field_sums,
    pattern_sums,
)
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import block_rows

# Largest number of entries of samples whose gates are fitted in double precision.
MOST_DOUBLE = 2**17
# Number of samples that suffice for a step with a target, for its price, and to compare gates.
SOME_SAMPLES = 1024
# Least noise variance, as a share of the variance.
LEAST_NOISE = 1e-6


@dataclass(eq=False, repr=False)
class EM(ABC):  # numpydoc ignore=PR02
    """Fit gates by expectation maximisation: the state and the schedule that all ways share.

    Parameters
    ----------
    gates : Gates
        The first parameters.

    n_samples : float
        Number of samples, or sum of their weights.

    generator : torch.Generator
        The source of randomness.

    noise_variance : float or None, default=None
        The noise variance, if it is given.

    processes : Processes, default=SINGLE_PROCESS
        The processes that fit together, each to its part of the samples.
    """

    gates: Gates
    n_samples: float
    _: KW_ONLY
    generator: torch.Generator
    noise_variance: float | None = None
    processes: Processes = SINGLE_PROCESS
    n_done: int = field(default=0, init=False)
    # Sums over earlier subsets, which fade.
    past: Sums | None = field(default=None, init=False)

    # Steps from subsets in a fit, rounds through many samples after them, and steps of an epoch.
    n_steps = n_rounds = steps_of_epoch = 0

    @abstractmethod
    def subset_rows(self) -> int:
        """Return the number of samples for a step."""

    @abstractmethod
    def step(self, x: torch.Tensor, weights: torch.Tensor, fraction_done: float) -> Sums:
        """Set the parameters to the best values for a subset of the samples.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            The subset, or the part of this process.

        weights : torch.Tensor of shape (n_samples,)
            How often each sample counts.

        fraction_done : float
            Share of the steps that are over after this one.

        Returns
        -------
        Sums
            Sums over the subset, with the parameters before the step.
        """

    def round(self, x: torch.Tensor, weights: torch.Tensor) -> Sums:
        """Set the parameters to the best values for many samples, the same in each round.

        Parameters and result are as in `step`.
        """
        raise NotImplementedError

    def absorb(self, x: torch.Tensor, weights: torch.Tensor) -> Sums:
        """Learn from a batch of samples: by a step, and after all steps from faded sums."""
        return self.step(x, weights, min((self.n_done + 1) / self.n_steps, 1.0))

    @torch.no_grad()
    def fit(
        self,
        x: torch.Tensor,
        weights: torch.Tensor,
        least_nats: float = -math.inf,
        *,
        begun: float = 0.0,
    ) -> Gates:
        """Fit gates to samples in memory, and return them.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        weights : torch.Tensor of shape (n_samples,)
            How often each sample counts.

        least_nats : float, default=-inf
            Rounds end early if the noise is the error, and the mean bound below this number.

        begun : float, default=0.0
            Share of the steps that count as done, because the first gates are good.

        Returns
        -------
        Gates
            The fitted gates.
        """
        left: list[torch.Tensor] = []
        device = self.generator.device
        # With much noise, single precision suffices.
        some, counts = x.float(), weights.float()
        first = round(begun * self.n_steps)
        if first < self.n_steps:
            self.gates = self.gates.to(some)
        for i in range(first + 1, self.n_steps + 1):
            if not left:
                order = torch.randperm(len(x), generator=self.generator, device=device)
                n_subsets = max(len(x) // self.subset_rows(), 1)
                left = list(order.to(x.device).tensor_split(n_subsets))
            rows = left.pop()[self.processes.rank :: self.processes.world_size]
            self.step(some[rows], counts[rows], i / self.n_steps)
            advance()
        self.gates = self.gates.to(x)
        own = slice(self.processes.rank, None, self.processes.world_size)
        n_left = self.n_rounds
        while n_left > 0:
            noise = float(self.gates.noise_variance)
            nats = self._most_nats(self.round(x[own], weights[own]), noise)
            falls = float(self.gates.noise_variance) <= noise / 2
            if not falls and nats < least_nats:
                break
            # Without noise, the noise variance falls on, and parameters follow.
            n_left -= 1 if n_left > 1 or not falls else 0
        return self.gates

    def _most_nats(self, sums: Sums, noise: float) -> float:
        """Return the mean bound if the noise fell to the error, and nothing else changed."""
        d, error = len(self.gates.bias), self._error(sums)
        gain = error / noise - 1 - math.log(error / noise) if error > 0 else math.inf
        return float(sums.nats / sums.n) + 0.5 * d * gain

    def _set_noise(self, noise: float) -> None:
        noise = noise if self.noise_variance is None else self.noise_variance
        self.gates = self.gates._replace(noise_variance=torch.tensor(noise, dtype=torch.float64))

    def _error(self, sums: Sums) -> float:
        return float(sums.error / (sums.n * len(self.gates.bias)))

    def result(self, n_components: int | None = None) -> Gates:
        """Return the gates, followed by latents that never open up to a number of latents.

        Columns of latents that never open are 0: they have learned nothing, and may still be the
        samples that they started from.
        """
        gates = self.gates
        n_more = max((n_components or 0) - len(gates.weight), 0)
        weight = gates.weight * (gates.probability > LEAST_PROBABILITY)[:, None]
        return gates._replace(
            weight=F.pad(weight, (0, 0, 0, n_more)),
            probability=F.pad(gates.probability, (0, n_more), value=LEAST_PROBABILITY),
            mean=F.pad(gates.mean, (0, n_more)),
            variance=F.pad(gates.variance, (0, n_more), value=1.0),
        )


@dataclass(eq=False, repr=False)
class GateEM(EM):  # numpydoc ignore=PR01,PR02
    """Fit gates, their number and the noise: steps from subsets, then rounds with a search.

    In the *steps*, gates are inferred by mean field, for a new random subset each time, with all
    gates closed at first. The noise of subsets leads out of bad optima. There are more latents than
    needed: columns that have become equal are merged, and in the end a latent is dropped if the
    samples lose fewer nats without it than its column costs, by the Bayesian information criterion:
    half of ``d log n`` for d weights that n samples determine. The noise variance is the error, but
    stays large: with little noise, posteriors of open latents are narrow, and columns hardly turn.

    In the *rounds*, a search finds the gates, and the noise variance falls until it is the error.

    Parameters
    ----------
    max_components : int or None, default=None
        Largest number of latents that are kept.

    least_noise : float, default=1e-6
        Least noise variance, as a share of the variance.
    """

    max_components: int | None = None
    least_noise: float = LEAST_NOISE
    # Running means: the error in each feature, and the nats that a sample loses without each
    # latent.
    error: Any = field(default=None, init=False)
    lost: Any = field(default=None, init=False)
    # Open gates of the samples of the last round.
    is_open: Any = field(default=None, init=False)
    n_rounds_done: int = field(default=0, init=False)

    n_steps, n_rounds, steps_of_epoch = 192, 6, 16
    # Samples of a subset for each latent, and at least: with fewer, rare latents are lost.
    rows_of_latent, least_rows = 2, 512
    # Weight of a subset in running means; samples of earlier batches that count, for each latent.
    memory, remembered_rows = 0.3, 64
    # Range of the noise in the steps. With less, columns hardly turn; with more, all gates close.
    least_step_noise, most_step_noise = 0.1, 0.3
    # Fractions done from which the prior is learned, and from which latents are dropped.
    learn_prior, drop = 0.5, 0.7

    def subset_rows(self) -> int:
        """Return the number of samples for a step."""
        return max(self.rows_of_latent * len(self.gates.weight), self.least_rows)

    @torch.no_grad()
    def step(self, x: torch.Tensor, weights: torch.Tensor, fraction_done: float) -> Sums:
        """Set the parameters to the best values for a subset, with gates inferred by mean field."""
        sums = mean_field_sums(self.gates, x, weights).reduced(self.processes)
        error, lost = self._error(sums), sums.lost / sums.n
        before = error if self.error is None else self.error
        self.error = before + self.memory * (error - before)
        self.lost = lost if self.lost is None else torch.lerp(self.lost, lost, self.memory)
        self.gates, _ = maximise(self.gates, sums, learns_prior=fraction_done > self.learn_prior)
        # One probability for all gates: else some latents take over the samples of others.
        p = self.gates.probability
        self.gates = self.gates._replace(probability=p.mean().expand_as(p))
        self._set_noise(min(max(self.error, self.least_step_noise), self.most_step_noise))
        self.n_done += 1
        if self.n_done % self.steps_of_epoch == 0:
            self._merge()
            if fraction_done >= self.drop:
                self._drop()
        return sums

    def _merge(self, least_cosine: float = 0.95) -> None:
        """Merge latents whose columns are nearly the same into the one that explains more."""
        gates, order = self.gates, self.lost.argsort(descending=True)
        weight = gates.weight[order]
        kept = torch.ones(len(order), dtype=torch.bool, device=order.device)
        same = (weight @ weight.T).abs().triu(1) > least_cosine
        for i, j in same.nonzero().tolist():
            if kept[i]:
                kept[j] = False
        self._keep(order[kept])

    def _costs(self, gates: Gates) -> torch.Tensor:
        """Return the nats that the column of each latent costs."""
        n_open = (gates.probability * self.n_samples).clamp_min(math.e)
        return 0.5 * len(gates.bias) * n_open.log()

    def _drop(self) -> None:
        """Drop latents that explain less than they cost, and the least useful of too many."""
        gain = self.lost * self.n_samples - self._costs(self.gates)
        order = gain.argsort(descending=True)[: self.max_components]
        # At least one latent stays.
        self._keep(order[: max(int((gain > 0).sum()), 1)])

    def _keep(self, latents: torch.Tensor) -> None:
        latents = latents.sort().values
        self.gates, self.lost = self.gates.at(latents), self.lost[latents]
        if self.is_open is not None:
            self.is_open = self.is_open[:, latents]

    @torch.no_grad()
    def round(self, x: torch.Tensor, weights: torch.Tensor) -> Sums:
        """Set the parameters to the best values for many samples, with searched gates."""
        if self.is_open is None:
            self.is_open = self._infer(x)
        sums, self.is_open = pattern_sums(self.gates, x, weights, self.is_open)
        sums = sums.reduced(self.processes)
        self._polish(sums)
        self._merge()
        self._drop()
        self.n_rounds_done += 1
        if self.n_rounds_done == self.n_rounds // 2:
            self._prune(x[:SOME_SAMPLES], weights[:SOME_SAMPLES])
        return sums

    def _prune(self, x: torch.Tensor, weights: torch.Tensor) -> None:
        """Drop latents that samples can do without, by the Bayesian information criterion.

        `_drop` asks what samples lose if a gate closes and nothing else changes. Here other gates
        open instead. Half of the latents are tried at once, those that explain least, then fewer.
        """

        def criterion(gates: Gates) -> float:
            sums = pattern_sums(gates, x, weights)[0].reduced(self.processes)
            return float(sums.nats / sums.n) * self.n_samples - float(self._costs(gates).sum())

        best, n_fewer = criterion(self.gates), len(self.gates.weight) // 2
        while n_fewer:
            kept = self.lost.argsort()[n_fewer:]
            now = criterion(self.gates.at(kept))
            if now > best:
                best = now
                self._keep(kept)
            n_fewer = min(n_fewer if now >= best else n_fewer // 2, len(self.gates.weight) // 2)

    def _infer(self, x: torch.Tensor) -> torch.Tensor:
        blocks = x.split(block_rows(max(len(self.gates.weight), x.shape[1])))
        return torch.cat([self.gates.infer(block, NEW_LOOKS).is_open for block in blocks])

    def _polish(self, sums: Sums, fall: float = 0.1) -> torch.Tensor:
        """Set all parameters to the best values for sums; return the growth of the codes.

        The noise falls by at most a factor.
        """
        self.gates, growth = maximise(self.gates, sums, learns_prior=True)
        self.lost = sums.lost / sums.n
        least = max(fall * float(self.gates.noise_variance), self.least_noise)
        self._set_noise(max(self._error(sums), least))
        return growth

    @torch.no_grad()
    def absorb(self, x: torch.Tensor, weights: torch.Tensor) -> Sums:
        """Learn from a batch of samples: by a step, and after all steps by a round.

        Such a round has the sums over earlier batches, too, which fade.
        """
        if self.n_done < self.n_steps:
            return super().absorb(x, weights)
        self.n_done += 1
        sums = new = pattern_sums(self.gates, x, weights, self._infer(x))[0].reduced(self.processes)
        if self.past is not None:
            room = self.remembered_rows * len(self.gates.weight) / float(self.past.n)
            sums = new.plus(self.past.times(min(1.0, room)))
        self.past = sums.grown(self._polish(sums))
        return new


@dataclass(eq=False, repr=False)
class TargetEM(EM):  # numpydoc ignore=PR01,PR02
    """Fit gates whose codes are no longer than they have to be.

    Codes must have a wanted mean length, or leave a share of the variance, which is then the noise
    variance. A price of open gates rises while codes leave less, or while more gates are open. Each
    step is from a new subset, whose open gates a search finds with all gates closed at first. Its
    sums are averaged with the sums of the subsets before. The first half of the steps has easier
    targets: roots of the wanted numbers, with fewer open gates. The number of latents does not
    change.

    Parameters
    ----------
    length, share : float or None, default=None
        Wanted mean number of open gates, or share of the variance that codes leave. One of the two
        is None.
    """

    length: float | None = None
    share: float | None = None

    n_steps, steps_of_epoch = 64, 4
    # Weight of all subsets before the last one, and gain with which prices follow the logarithm of
    # (actual / wanted).
    memory, price_gain = 0.95, 0.3
    # Largest noise variance, unless it is the target.
    most_noise = 0.5

    def __post_init__(self) -> None:
        if self.share is None:
            # The noise variance has to be found, too.
            self.n_steps = 2 * self.n_steps

    def subset_rows(self) -> int:
        """Return the number of samples for a step."""
        return SOME_SAMPLES

    @torch.no_grad()
    def step(self, x: torch.Tensor, weights: torch.Tensor, fraction_done: float) -> Sums:
        """Set the parameters to the best values for a subset and for the subsets before."""
        new = pattern_sums(self.gates, x, weights)[0].reduced(self.processes)
        part = min(1.0, 0.5 + fraction_done)
        price = float(self.gates.price) + self.price_gain * self._excess(new, part)
        mean = new.times(1 / float(new.n))
        if self.past is not None:
            kept = min(self.memory * fraction_done, self.n_done / (self.n_done + 1))
            mean = self.past.times(kept).plus(mean.times(1 - kept))
        self.gates, growth = maximise(self.gates, mean.times(float(new.n)), learns_prior=True)
        self.past = mean.grown(growth)
        left = max(float(mean.left) / x.shape[1], LEAST_NOISE)
        self._set_noise(min(left, self.most_noise) if self.share is None else self.share**part)
        self._set_price(price)
        self.n_done += 1
        return new

    def _set_price(self, price: float) -> None:
        self.gates = self.gates._replace(price=self.gates.weight.new_tensor(price))

    def _excess(self, sums: Sums, part: float = 1.0) -> float:
        """Return the logarithm of what codes have, as a share of a power of the target."""
        left = max(float(sums.left / (sums.n * len(self.gates.bias))), ROUNDING)
        if self.share is None:
            length = max(float(sums.length / sums.n), ROUNDING)
            if length == left == ROUNDING:
                # All samples are equal, so that there is nothing to code.
                return 0.0
            return math.log(length) - part * math.log(self.length or 1.0)
        return part * math.log(self.share) - math.log(left)


def make_em(
    x: torch.Tensor,
    n_samples: float,
    *,
    generator: torch.Generator,
    n_components: int | None = None,
    positive: bool = False,
    length: float | None = None,
    share: float | None = None,
    noise_variance: float | None = None,
    least_noise: float = LEAST_NOISE,
    gates: Gates | None = None,
) -> EM:
    """Return the fit of gates that parameters ask for.

    Parameters
    ----------
    x : torch.Tensor of shape (n_rows, n_features)
        Some centred and scaled samples.

    n_samples : float
        Number of samples, or sum of their weights.

    generator : torch.Generator
        The source of randomness.

    n_components : int or None, default=None
        Number of latents, which without a target is the largest number. None means a number that
        follows from the samples.

    positive : bool, default=False
        Whether codes are not negative.

    length, share : float or None, default=None
        The target: mean number of open gates, or share of the variance that codes leave.

    noise_variance : float or None, default=None
        The noise variance, if it is given.

    least_noise : float, default=1e-6
        Least noise variance of a fit without a target.

    gates : Gates or None, default=None
        The first gates, if they are known.

    Returns
    -------
    EM
        The fit.
    """
    shared: Any = {"generator": generator, "noise_variance": noise_variance}
    if length is None and share is None:
        gates = gates or start_gates(x, generator=generator, positive=positive)
        shared |= {"max_components": n_components, "least_noise": least_noise}
        return GateEM(gates.to(x), n_samples, **shared)
    if gates is None:
        gates = start_at_samples(x, n_components, length, generator=generator, positive=positive)
    gates = start_anew(gates)
    return TargetEM(gates.to(x), n_samples, **shared, length=length, share=share)
