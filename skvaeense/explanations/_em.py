"""Expectation maximisation of gates."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from skvaeense.explanations._gates import NEW_LOOKS, Gates
from skvaeense.explanations._prices import find_price
from skvaeense.explanations._sums import (
    LEAST_PROBABILITY,
    Sums,
    maximise,
    mean_field_sums,
    pattern_sums,
)
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING, principal_directions
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import block_rows
from skvaeense.utils._torch import restore_generator

# Samples of a subset for each latent, and at least. The noise of small subsets leads out of bad
# optima; with fewer samples rare latents are lost.
SUBSET_ROWS, LEAST_SUBSET = 2, 512
# Latents at first, for each direction that holds the variance up to a hundredth: most of them are
# dropped later. At most as many as the third number, and one for so many samples.
SURPLUS, HELD, MOST_FIRST, ROWS_OF_FIRST = 6, 0.99, 384, 4
# Range of the noise in the steps, as a share of the variance. With less noise columns hardly turn,
# and with more, all gates can close for good. In rounds the noise falls by the third number at a
# time until it is the error, which is at least the last.
LEAST_STEP_NOISE, MOST_NOISE, FALL, LEAST_NOISE = 0.1, 0.3, 0.1, 1e-6
# Share of the gates that are open at first, at most, and number of them for each feature.
FIRST_SHARE, FIRST_OPEN = 0.05, 0.1
# Fractions done from which the prior is learned, and from which latents that cost more than they
# explain are dropped.
LEARN_PRIOR, DROP = 0.5, 0.7
# Cosine above which two columns are one latent.
SAME = 0.95
# Weight of a subset in running means; samples of earlier batches that count, for each latent.
MEMORY, ROWS_OF_MEMORY = 0.3, 64
# Largest number of entries of samples whose gates are fitted in double precision.
MOST_DOUBLE = 2**17
# With a target: samples of a subset, weight of all subsets before the last one in its sums, and
# gain with which prices follow the logarithm of (actual / wanted).
TARGET_SUBSET, TARGET_MEMORY, PRICE_GAIN = 1024, 0.95, 0.3
# With a target: number of gates that are open at first, unless a length is the target, largest
# share of the gates, and largest noise variance.
FIRST_LENGTH, MOST_SHARE, MOST_TARGET_NOISE = 2.0, 0.3, 0.5
# With a target: latents for each direction that holds the variance, at most; share of the samples
# on which a price is found, at most so many samples.
WIDTH, MOST_TARGET, APART, MOST_APART = 4, 384, 0.125, 1024


def start_gates(
    x: torch.Tensor,
    n_components: int | None = None,
    *,
    positive: bool = False,
    generator: torch.Generator,
) -> Gates:
    """Return the first gates of a fit: principal directions, then random ones.

    Random directions are drawn with the root of the spectrum as covariance. So they point where
    samples vary, but not only along the largest directions.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Centred samples, scaled to a mean square of 1.

    n_components : int or None, default=None
        Number of latents. None means several for each direction that holds the variance, of which
        most are dropped later.

    positive : bool, default=False
        Whether codes are not negative.

    generator : torch.Generator
        The source of randomness.

    Returns
    -------
    Gates
        Gates that are rarely open, and together explain the variance.
    """
    found = principal_directions(x.cpu().double().numpy())
    variances, V = (torch.tensor(a.copy()) for a in found)
    # The sign of a direction is a matter of rounding, but its skewness is not.
    skewness = (x.cpu().double() @ V.T).pow(3).sum(dim=0)
    V = V * torch.where(skewness < 0, -1.0, 1.0)[:, None]
    if n_components is None:
        most = min(MOST_FIRST, len(x) // ROWS_OF_FIRST)
        n_components = max(min(SURPLUS * _n_directions(found[0]), most), 1)
    drawn = torch.randn(n_components, len(V), generator=generator, device=generator.device)
    weight = (drawn.cpu().double() * variances.clamp_min(0).pow(0.25)) @ V
    weight[: len(V)] = V[:n_components]
    k, d = weight.shape
    return _first(weight.to(x), min(FIRST_SHARE * k, FIRST_OPEN * d), MOST_NOISE, positive)


def start_at_samples(
    x: torch.Tensor,
    n_components: int,
    *,
    length: float = FIRST_LENGTH,
    positive: bool = False,
    generator: torch.Generator,
) -> Gates:
    """Return the first gates of a fit with a target: directions of random samples.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Centred samples, scaled to a mean square of 1.

    n_components : int
        Number of latents.

    length : float, default=2.0
        Mean number of open gates at first.

    positive : bool, default=False
        Whether codes are not negative.

    generator : torch.Generator
        The source of randomness.

    Returns
    -------
    Gates
        Gates that together explain the variance.
    """
    device = generator.device
    order = torch.randperm(len(x), generator=generator, device=device)[:n_components]
    drawn = torch.randn(n_components, x.shape[1], generator=generator, device=device).to(x)
    # Samples at the centre have no direction, and there can be fewer samples than latents.
    weight = ROUNDING * drawn
    weight[: len(order)] += x[order.to(x.device)]
    return _first(weight, min(length, MOST_SHARE * n_components), MOST_TARGET_NOISE, positive)


def _first(weight: torch.Tensor, length: float, noise: float, positive: bool) -> Gates:
    """Return gates with columns of any norm, of which some number is open."""
    k, d = weight.shape
    p = length / k
    square = d / (p * k)
    one = weight.new_ones(k)
    mean = math.sqrt(2 / math.pi * square) if positive else 0.0
    return Gates(
        weight=F.normalize(weight, dim=1),
        bias=weight.new_zeros(d),
        probability=p * one,
        mean=mean * one,
        variance=(square - mean**2) * one,
        noise_variance=torch.tensor(noise, dtype=torch.float64),
        price=weight.new_tensor(0.0),
        positive=positive,
    )


class EM(ABC):
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
    """

    # Steps from subsets in a fit, rounds through many samples after them, and steps of an epoch.
    n_steps: int
    n_rounds: int
    steps_of_epoch: int

    def __init__(
        self,
        gates: Gates,
        n_samples: float,
        *,
        generator: torch.Generator,
        noise_variance: float | None = None,
    ) -> None:
        self.gates, self.n_samples, self.generator = gates, n_samples, generator
        self.noise_variance = noise_variance
        self.n_done = 0
        # Sums over earlier subsets, which fade.
        self.past: Sums | None = None

    @abstractmethod
    def subset_rows(self) -> int:
        """Return the number of samples for a step."""

    @abstractmethod
    def step(
        self,
        x: torch.Tensor,
        weights: torch.Tensor,
        fraction_done: float,
        processes: Processes = SINGLE_PROCESS,
    ) -> Sums:
        """Set the parameters to the best values for a subset of the samples.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            The subset, or the part of this process.

        weights : torch.Tensor of shape (n_samples,)
            How often each sample counts.

        fraction_done : float
            Share of the steps that are over after this one.

        processes : Processes, default=SINGLE_PROCESS
            The processes that fit together.

        Returns
        -------
        Sums
            Sums over the subset, with the parameters before the step.
        """

    def round(
        self, x: torch.Tensor, weights: torch.Tensor, processes: Processes = SINGLE_PROCESS
    ) -> Sums:
        """Set the parameters to the best values for many samples, the same in each round.

        Parameters and result are as in `step`.
        """
        raise NotImplementedError

    def absorb(
        self, x: torch.Tensor, weights: torch.Tensor, processes: Processes = SINGLE_PROCESS
    ) -> Sums:
        """Learn from a batch of samples: by a step, and after all steps from faded sums."""
        return self.step(x, weights, min((self.n_done + 1) / self.n_steps, 1.0), processes)

    @torch.no_grad()
    def fit(self, x: torch.Tensor, weights: torch.Tensor, least_nats: float = -math.inf) -> Gates:
        """Fit gates to samples in memory, and return them.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        weights : torch.Tensor of shape (n_samples,)
            How often each sample counts.

        least_nats : float, default=-inf
            Rounds end early if the noise is the error, and the mean bound below this number.

        Returns
        -------
        Gates
            The fitted gates.
        """
        left: list[torch.Tensor] = []
        device = self.generator.device
        # With much noise, single precision suffices.
        some, counts = x.float(), weights.float()
        self.gates = self.gates.to(some)
        for i in range(1, self.n_steps + 1):
            if not left:
                order = torch.randperm(len(x), generator=self.generator, device=device)
                n_subsets = max(len(x) // self.subset_rows(), 1)
                left = list(order.to(x.device).tensor_split(n_subsets))
            rows = left.pop()
            self.step(some[rows], counts[rows], i / self.n_steps)
            advance()
        self.gates = self.gates.to(x)
        for _ in range(self.n_rounds):
            noise = float(self.gates.noise_variance)
            nats = self._most_nats(self.round(x, weights), noise)
            has_fallen = float(self.gates.noise_variance) > noise / 2
            if has_fallen and nats < least_nats:
                break
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
        """Return the gates.

        Parameters
        ----------
        n_components : int or None, default=None
            Number of latents; missing ones never open. None means as many as there are.

        Returns
        -------
        Gates
            The gates.
        """
        gates = self.gates
        n_more = (n_components or 0) - len(gates.weight)
        if n_more <= 0:
            return gates
        p, mean, variance = (
            F.pad(values, (0, n_more), value=value)
            for values, value in (
                (gates.probability, LEAST_PROBABILITY),
                (gates.mean, 0.0),
                (gates.variance, 1.0),
            )
        )
        weight = F.pad(gates.weight, (0, 0, 0, n_more))
        return gates._replace(weight=weight, probability=p, mean=mean, variance=variance)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a fit can resume from: tensors, numbers and containers."""
        past = self.past and dict(self.past._asdict())
        state = dict(vars(self), gates=dict(self.gates._asdict()), past=past)
        return state | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        past = state["past"] and Sums(**state["past"])
        state = dict(state, gates=Gates(**state["gates"]), past=past)
        restore_generator(self.generator, state.pop("generator"))
        vars(self).update(state)


class GateEM(EM):
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
    gates : Gates
        The first parameters.

    n_samples : float
        Number of samples, or sum of their weights.

    generator : torch.Generator
        The source of randomness.

    noise_variance : float or None, default=None
        The noise variance, if it is given.

    max_components : int or None, default=None
        Largest number of latents that are kept.

    least_noise : float, default=1e-6
        Least noise variance, as a share of the variance.
    """

    n_steps, n_rounds, steps_of_epoch = 192, 6, 16

    def __init__(
        self,
        gates: Gates,
        n_samples: float,
        *,
        generator: torch.Generator,
        noise_variance: float | None = None,
        max_components: int | None = None,
        least_noise: float = LEAST_NOISE,
    ) -> None:
        super().__init__(gates, n_samples, generator=generator, noise_variance=noise_variance)
        self.max_components, self.least_noise = max_components, least_noise
        # Running means: the error in each feature, and the nats that a sample loses without each
        # latent.
        self.error: Any = None
        self.lost: Any = None
        # Open gates of the samples of the last round.
        self.is_open: Any = None
        self.n_rounds_done = 0

    def subset_rows(self) -> int:
        """Return the number of samples for a step."""
        return max(SUBSET_ROWS * len(self.gates.weight), LEAST_SUBSET)

    @torch.no_grad()
    def step(
        self,
        x: torch.Tensor,
        weights: torch.Tensor,
        fraction_done: float,
        processes: Processes = SINGLE_PROCESS,
    ) -> Sums:
        """Set the parameters to the best values for a subset, with gates inferred by mean field.

        Parameters and result are as in `EM.step`.
        """
        sums = mean_field_sums(self.gates, x, weights).reduced(processes)
        error, lost = self._error(sums), sums.lost / sums.n
        self.error = error if self.error is None else self.error + MEMORY * (error - self.error)
        self.lost = lost if self.lost is None else torch.lerp(self.lost, lost, MEMORY)
        self.gates, _ = maximise(self.gates, sums, learns_prior=fraction_done > LEARN_PRIOR)
        # One probability for all gates: else some latents take over the samples of others.
        p = self.gates.probability
        self.gates = self.gates._replace(probability=p.mean().expand_as(p))
        self._set_noise(min(max(self.error, LEAST_STEP_NOISE), MOST_NOISE))
        self.n_done += 1
        if self.n_done % self.steps_of_epoch == 0:
            self._merge()
            if fraction_done >= DROP:
                self._drop()
        return sums

    def _merge(self) -> None:
        """Merge latents whose columns are nearly the same into the one that explains more."""
        gates, order = self.gates, self.lost.argsort(descending=True)
        weight = gates.weight[order]
        kept = torch.ones(len(order), dtype=torch.bool, device=order.device)
        same = (weight @ weight.T).abs().triu(1) > SAME
        for i, j in same.nonzero().tolist():
            if kept[i]:
                kept[j] = False
        self._keep(order[kept])

    def _drop(self) -> None:
        """Drop latents that explain less than they cost, and the least useful of too many."""
        n_open = self.gates.probability * self.n_samples
        cost = 0.5 * len(self.gates.bias) * n_open.clamp_min(math.e).log()
        gain = self.lost * self.n_samples - cost
        order = gain.argsort(descending=True)[: self.max_components]
        # At least one latent stays.
        self._keep(order[: max(int((gain > 0).sum()), 1)])

    def _keep(self, latents: torch.Tensor) -> None:
        latents = latents.sort().values
        self.gates, self.lost = self.gates.at(latents), self.lost[latents]
        if self.is_open is not None:
            self.is_open = self.is_open[:, latents]

    @torch.no_grad()
    def round(
        self, x: torch.Tensor, weights: torch.Tensor, processes: Processes = SINGLE_PROCESS
    ) -> Sums:
        """Set the parameters to the best values for many samples, with searched gates.

        Parameters and result are as in `EM.round`.
        """
        if self.is_open is None:
            self.is_open = self._infer(x)
        sums, self.is_open = pattern_sums(self.gates, x, weights, self.is_open)
        sums = sums.reduced(processes)
        self._polish(sums)
        self._merge()
        self._drop()
        self.n_rounds_done += 1
        if self.n_rounds_done == self.n_rounds // 2:
            self._prune(x[:MOST_APART], weights[:MOST_APART], processes)
        return sums

    def _prune(self, x: torch.Tensor, weights: torch.Tensor, processes: Processes) -> None:
        """Drop latents that samples can do without, by the Bayesian information criterion.

        `_drop` asks what samples lose if a gate closes and nothing else changes. Here other gates
        open instead. Half of the latents are tried at once, those that explain least, then fewer.
        """

        def criterion(gates: Gates) -> float:
            sums = pattern_sums(gates, x, weights)[0].reduced(processes)
            n_open = (gates.probability * self.n_samples).clamp_min(math.e)
            cost = 0.5 * len(gates.bias) * float(n_open.log().sum())
            return float(sums.nats / sums.n) * self.n_samples - cost

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

    def _polish(self, sums: Sums) -> torch.Tensor:
        """Set all parameters to the best values for sums; return the growth of the codes."""
        self.gates, growth = maximise(self.gates, sums, learns_prior=True)
        self.lost = sums.lost / sums.n
        noise = max(self._error(sums), FALL * float(self.gates.noise_variance), self.least_noise)
        self._set_noise(noise)
        return growth

    @torch.no_grad()
    def absorb(
        self, x: torch.Tensor, weights: torch.Tensor, processes: Processes = SINGLE_PROCESS
    ) -> Sums:
        """Learn from a batch of samples: by a step, and after all steps by a round.

        Such a round has the sums over earlier batches, too, which fade. Parameters and result are
        as in `round`.
        """
        if self.n_done < self.n_steps:
            return super().absorb(x, weights, processes)
        self.n_done += 1
        new = pattern_sums(self.gates, x, weights, self._infer(x))[0].reduced(processes)
        sums = new
        if self.past is not None:
            room = ROWS_OF_MEMORY * len(self.gates.weight) / float(self.past.n)
            sums = new.plus(self.past.times(min(1.0, room)))
        self.past = sums.grown(self._polish(sums))
        return new


class TargetEM(EM):
    """Fit gates whose codes are no longer than they have to be.

    Codes must have a wanted mean length, or leave a share of the variance, which is then the noise
    variance. A price of open gates rises while codes leave less, or while more gates are open. Each
    step is from a new subset, whose open gates a search finds with all gates closed at first. Its
    sums are averaged with the sums of the subsets before. The first half of the steps has easier
    targets: roots of the wanted numbers, with fewer open gates. The number of latents does not
    change.

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

    length, share : float or None, default=None
        Wanted mean number of open gates, or share of the variance that codes leave. One of the two
        is None.
    """

    n_steps, n_rounds, steps_of_epoch = 64, 0, 4

    def __init__(
        self,
        gates: Gates,
        n_samples: float,
        *,
        generator: torch.Generator,
        noise_variance: float | None = None,
        length: float | None = None,
        share: float | None = None,
    ) -> None:
        super().__init__(gates, n_samples, generator=generator, noise_variance=noise_variance)
        self.length, self.share = length, share
        if share is None:
            # The noise variance has to be found, too.
            self.n_steps = 2 * self.n_steps

    def subset_rows(self) -> int:
        """Return the number of samples for a step."""
        return TARGET_SUBSET

    @torch.no_grad()
    def step(
        self,
        x: torch.Tensor,
        weights: torch.Tensor,
        fraction_done: float,
        processes: Processes = SINGLE_PROCESS,
    ) -> Sums:
        """Set the parameters to the best values for a subset and for the subsets before.

        Parameters and result are as in `EM.step`.
        """
        new = pattern_sums(self.gates, x, weights)[0].reduced(processes)
        part = min(1.0, 0.5 + fraction_done)
        price = float(self.gates.price) + PRICE_GAIN * self._excess(new, part)
        mean = new.times(1 / float(new.n))
        if self.past is not None:
            kept = min(TARGET_MEMORY * fraction_done, self.n_done / (self.n_done + 1))
            mean = self.past.times(kept).plus(mean.times(1 - kept))
        self.gates, growth = maximise(self.gates, mean.times(float(new.n)), learns_prior=True)
        self.past = mean.grown(growth)
        left = max(float(mean.left) / x.shape[1], LEAST_NOISE)
        self._set_noise(min(left, MOST_TARGET_NOISE) if self.share is None else self.share**part)
        self._set_price(price)
        self.n_done += 1
        return new

    def _set_price(self, price: float) -> None:
        self.gates = self.gates._replace(price=self.gates.weight.new_tensor(price))

    def _excess(self, sums: Sums, part: float = 1.0) -> float:
        """Return the logarithm of what codes have, as a share of a power of the target."""
        if self.share is None:
            length = max(float(sums.length / sums.n), ROUNDING)
            return math.log(length) - part * math.log(self.length or 1.0)
        left = max(float(sums.left / (sums.n * len(self.gates.bias))), ROUNDING)
        return part * math.log(self.share) - math.log(left)

    @torch.no_grad()
    def fit(self, x: torch.Tensor, weights: torch.Tensor, least_nats: float = -math.inf) -> Gates:
        """Fit gates to samples in random order, and find the price on the first of them.

        Parameters and result are as in `EM.fit`.
        """
        n_apart = int(APART * len(x))
        super().fit(x[n_apart:], weights[n_apart:], least_nats)
        n_some = min(n_apart or len(x), MOST_APART)
        some = x[:n_some], weights[:n_some]

        def excess(price: float) -> float:
            self._set_price(price)
            return self._excess(pattern_sums(self.gates, *some)[0])

        price = find_price(excess, float(self.gates.price), at_least=self.share is not None)
        self._set_price(price)
        return self.gates


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
    if length is None and share is None:
        if gates is None:
            gates = start_gates(x, positive=positive, generator=generator)
        return GateEM(
            gates.to(x),
            n_samples,
            generator=generator,
            noise_variance=noise_variance,
            max_components=n_components,
            least_noise=least_noise,
        )
    if gates is None:
        first = FIRST_LENGTH if length is None else length
        k = n_components or n_target(x, first)
        gates = start_at_samples(x, k, length=first, positive=positive, generator=generator)
    return TargetEM(
        gates.to(x),
        n_samples,
        generator=generator,
        noise_variance=noise_variance,
        length=length,
        share=share,
    )


def n_target(x: torch.Tensor, length: float = 1.0) -> int:
    """Return the number of latents of a fit with a target, whose codes may have some length.

    There are at least as many as principal directions, even for few samples.
    """
    n_directions = _n_directions(principal_directions(x.cpu().double().numpy())[0])
    k = min(max(min(WIDTH * n_directions, len(x) // 2), n_directions), MOST_TARGET)
    return max(k, math.ceil(length))


def _n_directions(variances: np.ndarray) -> int:
    """Return the number of principal directions that hold nearly all of the variance."""
    held = variances.cumsum()
    return int((held < HELD * held[-1:].max(initial=0.0)).sum()) + 1
