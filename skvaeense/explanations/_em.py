"""Expectation maximisation of gates: sums over samples, the M-step, first gates and schedules."""

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field
from itertools import repeat
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skvaeense.explanations._gates import (
    FIT_FALL,
    FIT_LOOKS,
    HEAT,
    LEAST_OPEN,
    NEW_LOOKS,
    SLABS,
    GatePosterior,
    Gates,
)
from skvaeense.explanations._search import FoundCodes, search_codes, search_log_prob, widest
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING, principal_directions
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import block_rows
from skvaeense.utils._torch import make_generator

# Number of samples that suffice for a step with a target, for its price, and to compare gates.
SOME_SAMPLES = 1024
# Largest number of latents at first, unless their number is given.
MOST_LATENTS = 384
# Noise variance that a fit with a target starts from, as a share of the variance.
TARGET_NOISE = 0.5
# Probabilities stay this far from 0 and 1: single precision cannot tell closer ones from 1.
LEAST_PROBABILITY = torch.finfo(torch.float32).eps
# Largest number of latents, unless it is given.
MAX_LATENTS = 256
# Share of the variance that codes keep by default if nothing explains the samples.
DEFAULT_SHARE = 0.95


class Wanted(NamedTuple):
    """What codes are wanted to be.

    Attributes
    ----------
    n_components : int or None, default=None
        Number of latents; None means as many as the samples need.

    length : float or None, default=None
        Mean number of active latents.

    share : "auto", float or None, default="auto"
        Share of the variance that codes keep; "auto" applies if nothing explains the samples.

    positive : bool, default=False
        Whether codes are not negative.

    model : {"auto", "mixture", "gates"}, default="auto"
        Which laws are tried.

    seed : int, default=0
        Seed of the first atoms and of the subsets of samples.

    device : torch.device or str, default="cpu"
        Device on which gates are fitted.
    """

    n_components: int | None = None
    length: float | None = None
    share: Any = "auto"
    positive: bool = False
    model: str = "auto"
    seed: int = 0
    device: Any = "cpu"

    @property
    def most(self) -> int:
        """Largest number of latents."""
        return self.n_components or MAX_LATENTS

    @property
    def left(self) -> float | None:
        """Share of the variance that codes may leave, if it is given."""
        return None if self.share in ("auto", None) else 1 - float(self.share)

    @property
    def has_target(self) -> bool:
        """Whether the length of codes is given, by itself or by a share of the variance."""
        return self.length is not None or self.left is not None

    def checked(self, n_features: int) -> Self:
        """Return what is wanted, or raise an error if it is impossible."""
        if self.length is not None and self.left is not None:
            raise ValueError(
                "target_l0 and target_explained_variance cannot both be set. Leave one of them "
                "None."
            )
        most = self.n_components or n_features
        if (self.length or 0) > most:
            shown = f"n_components={self.n_components}"
            if self.n_components is None:
                shown = f"the number of features, {most}, unless n_components is given"
            raise ValueError(f"target_l0={self.length!r} must be at most {shown}.")
        return self

    def for_codes(self, name: str) -> Self:
        """Return what is wanted once it is known what gives the codes: with a target, or none."""
        if name not in ("share", "length"):
            return self._replace(length=None, share=None)
        return self if self.has_target else self._replace(share=DEFAULT_SHARE)


# --- sums over samples, and the M-step ----------------------------------------------------------


class Sums(NamedTuple):
    """Sums over samples, on which all parameters depend.

    Attributes
    ----------
    n : torch.Tensor without dimensions
        Number of samples, or sum of their weights.

    codes : torch.Tensor of shape (n_components + 1, n_components + 1)
        Second moments of the codes and a one, with the posterior covariances of the codes.

    cross : torch.Tensor of shape (n_components + 1, n_features)
        Products of the codes and a one with the samples.

    n_open : torch.Tensor of shape (n_components,)
        Expected number of open gates of each latent.

    lost : torch.Tensor of shape (n_components,)
        Nats that the samples would lose without each latent.

    error, left : torch.Tensor without dimensions
        Expected squared error, and squared error of the expected codes.

    length : torch.Tensor without dimensions
        Number of open gates.

    nats : torch.Tensor without dimensions
        Bound of the log-density.
    """

    n: Annotated[Tensor, ">0"]
    codes: Annotated[Tensor, "m m"]
    cross: Annotated[Tensor, "m d"]
    n_open: Annotated[Tensor, "k"]
    lost: Annotated[Tensor, "k"]
    error: Annotated[Tensor, ""]
    left: Annotated[Tensor, ""]
    length: Annotated[Tensor, ""]
    nats: Annotated[Tensor, ""]

    @property
    def mean_error(self) -> float:
        """Expected squared error per feature."""
        return float(self.error / (self.n * self.cross.shape[1]))

    @property
    def mean_left(self) -> float:
        """Squared error of the expected codes per feature."""
        return float(self.left / (self.n * self.cross.shape[1]))

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums over the samples of both."""
        return Sums(*map(torch.add, self, other))

    def times(self, factor: float) -> "Sums":
        """Return the sums over samples that count more or less."""
        return Sums(*map(torch.mul, self, repeat(factor)))

    def grown(self, growth: Tensor) -> "Sums":
        """Return the sums after the codes of each latent have grown by a factor."""
        factor = F.pad(growth.to(self.codes), (0, 1), value=1.0)
        codes = self.codes * factor * factor[:, None]
        return self._replace(codes=codes, cross=self.cross * factor[:, None])

    def reduced(self, processes: Processes) -> "Sums":
        """Return the sums over the samples of all processes."""
        if processes.world_size == 1:
            return self
        processes.all_reduce_mean(self)
        return self.times(processes.world_size)


def expected_sums(gates: Gates, n: float) -> Sums:
    """Return the sums that gates expect over a number of samples, with all gates independent.

    Parameters
    ----------
    gates : Gates
        The parameters.

    n : float
        Number of samples.

    Returns
    -------
    Sums
        The sums, in double precision.
    """
    wide = gates.to(gates.weight.to(widest(gates.weight)))
    # Probabilities are shares of open gates, whatever the price.
    p = wide.probability
    mean = F.pad(p * wide.mean, (0, 1), value=1.0)
    codes = torch.outer(mean, mean)
    codes.diagonal()[:-1] = p * (wide.variance + wide.mean.square())
    cross = codes @ torch.cat([wide.weight, wide.bias[None]])
    one = mean.new_tensor(1.0)
    left = len(wide.bias) * wide.noise_variance.to(one)
    found = Sums(one, codes, cross, p, 0 * p, left, left, p.sum(), 0 * one)
    return found.times(n)


def mean_field_sums(
    gates: Gates, x: Tensor, weights: Tensor, posterior: GatePosterior | None = None
) -> Sums:
    """Return the sums over samples whose gates are inferred by mean field, but no bound.

    Parameters
    ----------
    gates : Gates
        The parameters.

    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    weights : torch.Tensor of shape (n_samples,)
        How often each sample counts.

    posterior : GatePosterior or None, default=None
        The posterior, if it is known.

    Returns
    -------
    Sums
        The sums, in double precision.
    """
    posterior = posterior or gates.infer(x, FIT_LOOKS)
    q = posterior.probability
    q = torch.where(q > LEAST_OPEN, q, 0.0)
    if gates.positive:
        q = q * (posterior.mean > 0)
    code = q * posterior.mean
    spread = q * (posterior.variance + posterior.mean.square()) - code.square()
    lost = weights @ F.softplus(posterior.gate_logit)
    covariance, no_bound = torch.diag(weights @ spread), torch.zeros_like(weights)
    return _sums(gates, x, weights, FoundCodes(code, q, lost, covariance, no_bound))


def pattern_sums(
    gates: Gates, x: Tensor, weights: Tensor, is_open: Tensor | None = None
) -> tuple[Sums, Tensor]:
    """Return the sums over samples with the gates that a search finds, and these gates.

    Parameters
    ----------
    gates : Gates
        The parameters.

    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    weights : torch.Tensor of shape (n_samples,)
        How often each sample counts.

    is_open : torch.Tensor of bool of shape (n_samples, n_components) or None, default=None
        The gates that the search starts from; None means none.

    Returns
    -------
    sums : Sums
        The sums, in double precision.

    is_open : torch.Tensor of bool of shape (n_samples, n_components)
        The gates that are open.
    """
    found = search_codes(x, gates, weights, is_open)
    return _sums(gates, x, weights, found), found.openness > 0


def _sums(gates: Gates, x: Tensor, weights: Tensor, found: FoundCodes) -> Sums:
    """Return the sums, given codes."""
    wide, n = widest(x), weights.sum()
    weight, covariance = gates.weight.to(wide), found.covariance.to(wide)
    residual = x - gates.bias - found.code @ gates.weight
    left = (weights @ torch.linalg.vecdot(residual, residual)).to(wide)
    both = F.pad(found.code, (0, 1), value=1.0)
    weighted = (weights[:, None] * both).T
    codes = (weighted @ both).to(wide)
    codes[:-1, :-1] += covariance
    lost = found.lost + n * F.logsigmoid(-gates.log_odds)
    error, n_open = left + ((covariance @ weight) * weight).sum(), weights @ found.openness
    nats = weights @ found.log_prob
    values = n, codes, weighted @ x, n_open, lost, error, left, n_open.sum(), nats
    return Sums(*map(Tensor.to, values, repeat(wide)))


def maximise(gates: Gates, sums: Sums, *, learns_prior: bool) -> tuple[Gates, Tensor]:
    """Return the parameters that are best for given sums, and the growth of the codes.

    Columns and bias solve one system of linear equations. Columns are brought back to norm 1, and
    codes grow by their former norms. Columns of latents that are open for fewer than 3 samples
    stay. Gates and slabs are moments::

        p_j = sum q_j / n,   m_j = sum q_j z_j / sum q_j,   t_j = sum q_j (z_j - m_j)^2 / sum q_j

    where m_j and t_j of latents that are rarely open are drawn to 0 and to their former values.

    Parameters
    ----------
    gates : Gates
        The parameters before.

    sums : Sums
        The sums.

    learns_prior : bool
        Whether gates and slabs change.

    Returns
    -------
    gates : Gates
        The parameters, with the same noise variance and price.

    growth : torch.Tensor of shape (n_components,)
        Norms that columns had before they were brought back to 1.
    """
    k, n, q = len(gates.weight), sums.n, sums.n_open
    hold = F.pad(ROUNDING**2 + (q < 3) * n, (0, 1))
    before = torch.cat([gates.weight, gates.bias[None]]).to(hold)
    system = sums.codes + torch.diag(hold), sums.cross + hold[:, None] * before
    # No error if the fit has diverged: the result is not finite then.
    # In rows, as in a file: products of other layouts round otherwise.
    after = torch.linalg.solve_ex(*system).result.clone(memory_format=torch.contiguous_format)
    growth = after[:k].norm(dim=1).clamp_min(ROUNDING)
    gates = gates._replace(
        weight=(after[:k] / growth[:, None]).to(gates.weight), bias=after[k].to(gates.bias)
    )
    if learns_prior:
        q = q.clamp_min(ROUNDING)
        trust = q / (q + 2)
        first = sums.codes[:k, k] / q * growth
        second = sums.codes.diagonal()[:k] / q * growth.square()
        mean = trust * first
        variance = (second - 2 * mean * first + mean.square()).clamp_min(
            ROUNDING * gates.noise_variance
        )
        variance = trust * variance + (1 - trust) * gates.variance
        p = (q / n).clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        slabs: Any = map(Tensor.to, (p, mean, variance), repeat(gates.weight))
        gates = gates._replace(**dict(zip(SLABS, slabs, strict=True)))
    return gates, growth.to(gates.weight)


def _pooled(gates: Gates) -> Gates:
    """Return the gates with one prior, that of all latents together."""
    p, m, t = gates.probability, gates.mean, gates.variance
    mean = (p * m).sum() / p.sum()
    variance = (p * (t + m.square())).sum() / p.sum() - mean.square()
    slabs: Any = zip(SLABS, (p.mean(), mean, variance), strict=True)
    return gates._replace(**{name: one.expand_as(p) for name, one in slabs})


# --- first gates --------------------------------------------------------------------------------


def start_gates(
    x: Tensor, wanted: Wanted, generator: torch.Generator, *, surplus: int = 6
) -> Gates:
    """Return the first gates of a fit: principal directions, then random ones.

    Random directions are drawn with the root of the spectrum as covariance. So they point where
    samples vary, but not only along the largest directions. There are `surplus` latents for each
    direction that holds the variance, most of which are dropped later, and at most one latent for
    four samples. Gates are rarely open, and together explain the variance.
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
    return _first(weight.to(x), min(0.05 * k, 0.1 * x.shape[1]), 0.3, wanted.positive)


def start_at_samples(x: Tensor, wanted: Wanted, generator: torch.Generator) -> Gates:
    """Return the first gates of a fit with a target: directions of random samples.

    The number of latents is given, or as from `n_target`. As many gates are open as the target
    says, or two, but less than a third; together they explain the variance.
    """
    length = 2.0 if wanted.length is None else wanted.length
    k, device = wanted.n_components or n_target(x, length), generator.device
    order = torch.randperm(len(x), generator=generator, device=device)[:k]
    drawn = torch.randn(k, x.shape[1], generator=generator, device=device).to(x)
    # Samples at the centre have no direction, and there can be fewer samples than latents.
    weight = ROUNDING * drawn
    weight[: len(order)] += x[order.to(x.device)]
    return _first(weight, min(length, 0.3 * k), TARGET_NOISE, wanted.positive)


def n_target(x: Tensor, length: float, *, width: int = 4) -> int:
    """Return the number of latents of a fit with a target, whose codes may have some length.

    There are at most `width` for each principal direction, and half the number of samples, but at
    least one for each direction.
    """
    n_directions = _n_directions(principal_directions(x.cpu().double().numpy())[0])
    k = min(max(min(width * n_directions, len(x) // 2), n_directions), MOST_LATENTS)
    return max(k, math.ceil(length))


def _n_directions(variances: np.ndarray) -> int:
    """Return the number of principal directions that hold 99 % of the variance."""
    held = variances.cumsum()
    return int((held < 0.99 * held[-1:].max(initial=0.0)).sum()) + 1


def _first(weight: Tensor, length: float, noise: float, positive: bool) -> Gates:
    """Return gates with columns of any norm, of which some number is open."""
    k, d = weight.shape
    p, one = length / k, weight.new_ones(k)
    square = d / (p * k)
    mean = math.sqrt(2 / math.pi * square) if positive else 0.0
    slabs = p * one, mean * one, (square - mean**2) * one
    numbers = torch.tensor(noise, dtype=torch.float64), weight.new_tensor(0.0)
    return Gates(F.normalize(weight, dim=1), weight.new_zeros(d), *slabs, *numbers, positive)


# --- schedules ----------------------------------------------------------------------------------


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

    wanted : Wanted
        What codes should be like.

    processes : Processes, default=SINGLE_PROCESS
        The processes that fit together, each to its part of the samples.
    """

    gates: Gates
    n_samples: float
    generator: torch.Generator
    wanted: Wanted
    _: KW_ONLY
    processes: Processes = SINGLE_PROCESS
    n_done: int = field(default=0, init=False)
    n_started: int = field(default=0, init=False)
    # Sums over earlier subsets, which fade.
    past: Sums | None = field(default=None, init=False)

    # Steps from subsets in a fit, and rounds through many samples after them.
    n_steps = n_rounds = 0
    # Samples of a subset, and earlier samples that count in a round, for each latent.
    rows_of_latent, remembered_rows = 0, 64

    # A subset is this share of the samples, within limits.
    subset_share, subset_limits = 0.0, (SOME_SAMPLES, SOME_SAMPLES)

    @property
    def subset_rows(self) -> int:
        """Number of samples for a step."""
        least, most = self.subset_limits
        share = min(max(int(self.subset_share * self.n_samples), least), most)
        k = len(self.gates.weight)
        # As latents are dropped, a step of the same time takes more samples.
        return max(self.rows_of_latent * k, share * (self.n_started or k) // k)

    @property
    def work_of_step(self) -> int:
        """Number of multiplications in the products of a step's samples and all columns."""
        return self.subset_rows * self.gates.weight.numel()

    @abstractmethod
    def step(self, x: Tensor, weights: Tensor, fraction_done: float) -> Sums:
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

    def round(self, x: Tensor, weights: Tensor) -> Sums:
        """Set the parameters to the best values for many samples, the same in each round."""
        raise NotImplementedError

    @abstractmethod
    def absorb(self, x: Tensor, weights: Tensor) -> None:
        """Learn from one more batch of samples after all steps, with sums that fade."""

    @torch.no_grad()
    def fit(
        self, x: Tensor, weights: Tensor, least_nats: float = -math.inf, *, begun: float = 0.0
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
        left: list[Tensor] = []
        device = self.generator.device
        own = slice(self.processes.rank, None, self.processes.world_size)
        # With much noise, single precision suffices.
        some, counts = x.float(), weights.float()
        first = round(begun * self.n_steps)
        self.n_started = self.n_started or len(self.gates.weight)
        if first < self.n_steps:
            self.gates = self.gates.to(some)
        for i in range(first + 1, self.n_steps + 1):
            if not left:
                order = torch.randperm(len(x), generator=self.generator, device=device)
                n_subsets = math.ceil(len(x) / self.subset_rows)
                left = list(order.to(x.device).tensor_split(n_subsets))
            rows = left.pop()[own]
            self.step(some[rows], counts[rows], i / self.n_steps)
            advance()
        self.gates = self.gates.to(x)
        n_left = self.n_rounds
        while n_left > 0:
            noise = float(self.gates.noise_variance)
            nats = _most_nats(self.round(x[own], weights[own]), noise)
            falls = float(self.gates.noise_variance) <= noise / 2
            if not falls and nats < least_nats:
                break
            # Without noise, the noise variance falls on, and parameters follow.
            n_left -= 1 if n_left > 1 or not falls else 0
        return self.gates

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


def _most_nats(sums: Sums, noise: float) -> float:
    """Return the mean bound if the noise fell to the error, and nothing else changed."""
    d, ratio = sums.cross.shape[1], sums.mean_error / noise
    gain = ratio - 1 - math.log(ratio) if ratio > 0 else math.inf
    return float(sums.nats / sums.n) + 0.5 * d * gain


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
    least_noise : float, default=ROUNDING
        Least noise variance, as a share of the variance.
    """

    least_noise: float = ROUNDING
    # Running means: the error in each feature, and the nats that a sample loses without each
    # latent.
    error: Any = field(default=None, init=False)
    lost: Any = field(default=None, init=False)
    # Open gates of the samples of the last round.
    is_open: Any = field(default=None, init=False)
    n_rounds_done: int = field(default=0, init=False)

    n_steps, n_rounds, steps_of_epoch = 192, 6, 16
    rows_of_latent = 2
    # With smaller subsets, a rare latent is open for too few samples to turn its column.
    subset_share, subset_limits = 1 / 8, (SOME_SAMPLES // 2, 4 * SOME_SAMPLES)
    # Weight of a subset in running means.
    memory = 0.3
    # Range of the noise in the steps. With less, columns hardly turn; with more, all gates close.
    step_noise = 0.1, 0.3
    # Least number of samples on which a group of latents is tried.
    n_tried = 32
    # Fraction done from which latents are dropped; the prior is learned in the second half.
    drop = 0.7

    @torch.no_grad()
    def step(self, x: Tensor, weights: Tensor, fraction_done: float) -> Sums:
        """Set the parameters to the best values for a subset, with gates inferred by mean field."""
        sums = mean_field_sums(self.gates, x, weights).reduced(self.processes)
        lost = sums.lost / sums.n
        before = sums.mean_error if self.error is None else self.error
        self.error = before + self.memory * (sums.mean_error - before)
        self.lost = lost if self.lost is None else torch.lerp(self.lost, lost, self.memory)
        gates, _ = maximise(self.gates, sums, learns_prior=2 * fraction_done > 1)
        # One probability for all gates: else some latents take over the samples of others.
        p = gates.probability
        self.gates = gates._replace(probability=p.mean().expand_as(p))
        self.gates = self.gates.with_noise(float(np.clip(self.error, *self.step_noise)))
        self.n_done += 1
        if self.n_done % self.steps_of_epoch == 0:
            self._merge()
            if fraction_done >= self.drop:
                self._drop()
        return sums

    def _merge(self) -> None:
        """Merge latents whose columns are nearly the same into the one that explains more."""
        order = self.lost.argsort(descending=True)
        weight = self.gates.weight[order]
        kept = torch.ones(len(order), dtype=torch.bool, device=order.device)
        same = (weight @ weight.T).abs().triu(1) > 0.95
        for i, j in same.nonzero().tolist():
            if kept[i]:
                kept[j] = False
        self._keep(order[kept])

    def _costs(self, gates: Gates) -> Tensor:
        """Return the nats that the column of each latent costs."""
        n_open = (gates.probability * self.n_samples).clamp_min(math.e)
        return 0.5 * len(gates.bias) * n_open.log()

    def _drop(self) -> None:
        """Drop latents that explain less than they cost, and the least useful of too many."""
        gain = self.lost * self.n_samples - self._costs(self.gates)
        order = gain.argsort(descending=True)[: self.wanted.n_components]
        # At least one latent stays.
        self._keep(order[: max(int((gain > 0).sum()), 1)])

    def _keep(self, latents: Tensor) -> None:
        latents = latents.sort().values
        self.gates, self.lost = self.gates.at(latents), self.lost[latents]
        if self.is_open is not None:
            self.is_open = self.is_open[:, latents]

    @torch.no_grad()
    def round(self, x: Tensor, weights: Tensor) -> Sums:
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
            self._prune(x, weights)
        return sums

    def _prune(self, x: Tensor, weights: Tensor) -> None:
        """Drop latents that samples can do without, by the Bayesian information criterion.

        `_drop` asks what samples lose if a gate closes and nothing else changes. Here other gates
        open instead. The half of the latents that explain least is tried at once; a group that is
        needed is tried in halves. Only samples in which one of a group is open lose anything, and
        some of them are searched. Groups are searched together, and twice as many each time, until
        one is dropped, which changes what samples lose without the others.
        """
        saved = self._costs(self.gates) - self.n_samples * F.logsigmoid(-self.gates.log_odds)
        is_kept, n_groups = torch.ones_like(self.lost, dtype=torch.bool), 1
        groups = [self.lost.argsort()[: len(is_kept) // 2]]
        # Log-densities of samples with the latents that are kept, as far as they are known.
        before = torch.full_like(x[:, 0], torch.nan)
        while groups:
            groups, tried = groups[:-n_groups], groups[-n_groups:]
            lost = self._lost_without(tried, is_kept, before, x, weights)
            needed: list[Tensor] = []
            n_groups *= 2
            while tried:
                one = tried.pop()
                if saved[one].sum() > lost[len(tried)]:
                    is_kept[one], before[:], n_groups = False, torch.nan, 1
                    break
                needed += one.tensor_split(2) if len(one) > 1 else ()
            groups += [*tried, *needed]
        self._keep(is_kept.nonzero()[:, 0])

    def _lost_without(
        self, groups: list[Tensor], is_kept: Tensor, before: Tensor, x: Tensor, weights: Tensor
    ) -> list[float]:
        """Return the nats that samples lose if the gates of each group of latents stay closed."""
        n_tried = max(4 * SOME_SAMPLES // len(is_kept), self.n_tried)
        users = [self.is_open[:, group].any(dim=1).nonzero()[:, 0] for group in groups]
        rows = torch.cat([own[:n_tried] for own in users])
        never = torch.zeros(len(rows), len(is_kept), dtype=torch.bool, device=x.device)
        parts = [len(own[:n_tried]) for own in users]
        for closed, group in zip(never.split(parts), groups, strict=True):
            closed[:, group] = True
        gates, never = self.gates.at(is_kept), never[:, is_kept]
        new = rows[before[rows].isnan()].unique()
        before[new] = search_log_prob(x[new], gates, torch.zeros_like(never[: len(new)]))
        gaps = before[rows] - search_log_prob(x[rows], gates, never)
        sums = []
        for own, its_gaps in zip(users, gaps.split(parts), strict=True):
            counts = weights[own]
            some = counts[:n_tried]
            sums.append(some @ its_gaps * (counts.sum() / some.sum() if len(own) else 0.0))
        self.processes.all_reduce_mean(sums)
        return [self.processes.world_size * float(total) for total in sums]

    def _infer(self, x: Tensor) -> Tensor:
        blocks = x.split(block_rows(max(len(self.gates.weight), x.shape[1])))
        return torch.cat([self.gates.infer(block, NEW_LOOKS).is_open for block in blocks])

    def _polish(self, sums: Sums) -> Tensor:
        """Set all parameters to the best values for sums; return the growth of the codes.

        The noise falls by at most a factor of 10.
        """
        noise = max(sums.mean_error, 0.1 * float(self.gates.noise_variance), self.least_noise)
        gates, growth = maximise(self.gates, sums, learns_prior=True)
        self.gates, self.lost = gates.with_noise(noise), sums.lost / sums.n
        return growth

    @torch.no_grad()
    def absorb(self, x: Tensor, weights: Tensor) -> None:
        """Learn from one more batch of samples by a round, with the sums over earlier batches."""
        sums = pattern_sums(self.gates, x, weights, self._infer(x))[0].reduced(self.processes)
        if self.past is not None:
            room = self.remembered_rows * len(self.gates.weight) / float(self.past.n)
            sums = sums.plus(self.past.times(min(1.0, room)))
        self.past = sums.grown(self._polish(sums))


@dataclass(eq=False, repr=False)
class TargetEM(EM):  # numpydoc ignore=PR01,PR02
    """Fit gates whose codes are no longer than they have to be.

    Codes must have a wanted mean length, or leave a share of the variance, which is then the noise
    variance. A price of open gates rises while codes leave less, or while more gates are open. Each
    step is from a new subset, whose gates are inferred by annealed mean field, at temperatures that
    fall to 1. Its sums are averaged with the sums of the subsets before. The first half of the
    steps has easier targets: roots of the wanted numbers, with fewer open gates. The number of
    latents does not change, and until the last step all have the same prior: else some would take
    over the samples of others.
    """

    n_steps, n_rounds = 128, 1
    subset_limits = 2 * SOME_SAMPLES, 2 * SOME_SAMPLES
    # Weight of all subsets before the last one, and gain with which prices follow the logarithm of
    # (actual / wanted).
    memory, price_gain = 0.95, 0.3
    # Fraction done from which gates are inferred at temperature 1 in the end.
    annealed = 0.8

    @torch.no_grad()
    def step(self, x: Tensor, weights: Tensor, fraction_done: float) -> Sums:
        """Set the parameters to the best values for a subset and for the subsets before."""
        last = HEAT ** max(1 - fraction_done / self.annealed, 0.0)
        found = self.gates.anneal(x, FIT_FALL, last)
        new = mean_field_sums(self.gates, x, weights, found).reduced(self.processes)
        kept = min(self.memory * fraction_done, self.n_done / (self.n_done + 1))
        gates = self._learned(new, kept, min(1.0, 0.5 + fraction_done), new.mean_error)
        self.gates = gates if fraction_done == 1 else _pooled(gates)
        self.n_done += 1
        return new

    @torch.no_grad()
    def round(self, x: Tensor, weights: Tensor) -> Sums:
        """Set the parameters to the best values for some samples, with searched gates."""
        some = torch.randperm(len(x), generator=self.generator, device=self.generator.device)
        some = some[:SOME_SAMPLES].to(x.device)
        x, weights = x[some], weights[some]
        is_open = self.gates.anneal(x, FIT_FALL).is_open
        new = pattern_sums(self.gates, x, weights, is_open)[0].reduced(self.processes)
        # More gates than are wanted do not lower the noise.
        is_long = self.wanted.length is not None and self._excess(new, 1.0) > 0
        error = max(new.mean_left, is_long * float(self.gates.noise_variance))
        room = self.remembered_rows * len(self.gates.weight)
        self.gates = self._learned(new, max(1 - float(new.n) / room, 0.0), 1.0, error)
        return new

    def _learned(self, new: Sums, kept: float, part: float, error: float) -> Gates:
        """Return the gates that are best for new sums, and for a share of the sums before."""
        # What an open gate costs, in nats.
        cost = max(float(-F.logsigmoid(self.gates.log_odds).mean()), 1.0)
        price = float(self.gates.price) + self.price_gain * cost * self._excess(new, part)
        mean = new.times(1 / float(new.n))
        if self.past is not None:
            mean = self.past.times(kept).plus(mean.times(1 - kept))
        gates, growth = maximise(self.gates, mean.times(float(new.n)), learns_prior=True)
        self.past, left = mean.grown(growth), self.wanted.left
        noise = min(max(error, ROUNDING), TARGET_NOISE) if left is None else left**part
        return gates.with_noise(noise).with_price(price)

    def absorb(self, x: Tensor, weights: Tensor) -> None:
        """Learn from one more batch of samples by a last step."""
        self.n_done = self.n_steps
        self.step(x, weights, 1.0)

    def _excess(self, sums: Sums, part: float) -> float:
        """Return the logarithm of what codes have, as a share of a power of the target."""
        left = max(sums.mean_left, ROUNDING)
        if self.wanted.left is not None:
            return part * math.log(self.wanted.left) - math.log(left)
        length = max(float(sums.length / sums.n), ROUNDING)
        if length == left == ROUNDING:
            # All samples are equal, so that there is nothing to code.
            return 0.0
        return math.log(length) - part * math.log(self.wanted.length or 1.0)


def make_em(
    x: Tensor,
    weights: Tensor,
    wanted: Wanted,
    *,
    gates: Gates | None = None,
    least_noise: float = ROUNDING,
) -> EM:
    """Return the fit of gates that parameters ask for.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples.

    weights : torch.Tensor of shape (n_samples,)
        How often each sample counts.

    wanted : Wanted
        What codes should be like. Without a target, the number of latents is the largest number.

    gates : Gates or None, default=None
        The first gates, if they are known.

    least_noise : float, default=ROUNDING
        Least noise variance of a fit without a target.

    Returns
    -------
    EM
        The fit.
    """
    generator = make_generator(wanted.seed, x.device)
    start = start_at_samples if wanted.has_target else start_gates
    gates = (gates or start(x, wanted, generator)).to(x)
    given = gates, float(weights.sum()), generator, wanted
    return TargetEM(*given) if wanted.has_target else GateEM(*given, least_noise=least_noise)
