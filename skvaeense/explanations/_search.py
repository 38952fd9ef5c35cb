"""The search for the most probable open gates, given a sample."""

import math
from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skvaeense.explanations._gates import NEW_LOOKS, GatePosterior, Gates
from skvaeense.utils._linalg import ROUNDING

# Largest number of latents whose inner products are kept.
MOST_PRODUCTS = 4096


def widest(x: Tensor) -> torch.dtype:
    """Return the most precise floating-point type that the device of a tensor supports."""
    return torch.float64 if x.device.type != "mps" else x.dtype


class FoundGates(NamedTuple):
    """The result of a search.

    Attributes
    ----------
    posterior : GatePosterior
        Posterior of each latent, given the gates of all other latents.

    log_prob : torch.Tensor of shape (n_samples,)
        Logarithm of the joint density of each sample and a pattern of open gates, summed over the
        pattern that was found and all patterns that differ from it in one gate. It is a lower bound
        of the log-density of the sample.
    """

    posterior: GatePosterior
    log_prob: Tensor


class FoundCodes(NamedTuple):
    """Codes of samples, and what a fit needs besides.

    Attributes
    ----------
    code : torch.Tensor of shape (n_samples, n_components)
        Posterior means of the codes.

    openness : torch.Tensor of shape (n_samples, n_components)
        Probabilities that gates are open; 0 or 1 if a search has found the gates.

    lost : torch.Tensor of shape (n_components,)
        Weighted sum of the nats that samples would lose if the gate of a latent closed.

    covariance : torch.Tensor of shape (n_components, n_components)
        Weighted sum of the posterior covariances of the codes.

    log_prob : torch.Tensor of shape (n_samples,)
        Logarithm of the joint density of each sample and its pattern; 0 by mean field.
    """

    code: Tensor
    openness: Tensor
    lost: Tensor
    covariance: Tensor
    log_prob: Tensor


@torch.no_grad()
def search_gates(x: Tensor, gates: Gates, is_open: Tensor | None = None) -> FoundGates:
    """Open gates one by one, then close them, as long as the pattern gets more probable.

    With decoder columns A, noise variance g, and the slabs of the open gates S integrated out, the
    joint density of a sample and its pattern is ::

        p(x, S) = p(S) N(x - b; A_S m_S, A_S T_S A_S' + g I)

    A few products give the densities of all patterns that differ in one gate [1]_. The gate that
    gains most opens, until no opening is a gain. Then the gate whose closing gains most closes,
    until no closing is a gain. Given all other gates, each latent then has exact odds of being
    open, and a normal posterior.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    gates : Gates
        Decoder, prior of the latents, and noise variance; one price for all samples.

    is_open : torch.Tensor of bool of shape (n_samples, n_components) or None, default=None
        The gates that are open at first; None means none.

    Returns
    -------
    FoundGates
        The result, in the precision of x.

    References
    ----------
    .. [1] P. Schniter, L. C. Potter and J. Ziniel, "Fast Bayesian matching pursuit", Information
       Theory and Applications Workshop 2008.
    """
    prior = _Prior(x, gates)
    logit, mean, variance = prior.seen.new_empty((3, *prior.seen.shape))
    log_prob = prior.closed.clone()
    for rows, patterns in _found(prior, is_open, n_turns=2):
        logit[rows], mean[rows], variance[rows], log_prob[rows] = patterns.answers()
    given = logit, mean, variance, prior.seen
    found = GatePosterior(*map(Tensor.to, given, repeat(x.dtype)))
    return FoundGates(found, log_prob.to(x.dtype))


@torch.no_grad()
def search_codes(
    x: Tensor, gates: Gates, weights: Tensor, is_open: Tensor | None = None
) -> FoundCodes:
    """Return the codes of patterns as `search_gates` finds them, and sums over samples.

    Here no gate opens after others have closed, which takes less time.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    gates : Gates
        Decoder, prior of the latents, and noise variance; one price for all samples.

    weights : torch.Tensor of shape (n_samples,)
        How often each sample counts.

    is_open : torch.Tensor of bool of shape (n_samples, n_components) or None, default=None
        The gates that are open at first; None means none.

    Returns
    -------
    FoundCodes
        The result, in the precision of x.
    """
    prior, k = _Prior(x, gates), len(gates.weight)
    code = prior.seen.new_zeros(len(x), k + 1)
    log_prob, lost = prior.closed.clone(), code.new_zeros(k + 1)
    covariance = code.new_zeros((k + 1) ** 2)
    for rows, patterns in _found(prior, is_open, n_turns=0):
        slots, own = patterns.slots, weights[rows].to(code)[:, None]
        code[rows] = code[rows].scatter(1, slots, patterns.place)
        lost.index_add_(0, slots.flatten(), (own * -patterns.closings()).flatten())
        places = slots[:, :, None] * (k + 1) + slots[:, None]
        spread = own[:, :, None] * prior.noise * patterns.inverse
        covariance.index_add_(0, places.flatten(), spread.flatten())
        log_prob[rows] = patterns.log_prob
    code, covariance = code[:, :k], covariance.view(k + 1, -1)[:k, :k]
    found = code, code != 0, lost[:k], covariance, log_prob
    return FoundCodes(*map(Tensor.to, found, repeat(x.dtype)))


@torch.no_grad()
def search_log_prob(x: Tensor, gates: Gates, never: Tensor) -> Tensor:
    """Return the logarithm of the joint density of samples and patterns, as of `search_codes`.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    gates : Gates
        Decoder, prior of the latents, and noise variance; one price for all samples.

    never : torch.Tensor of bool of shape (n_samples, n_components)
        Gates that stay closed.

    Returns
    -------
    torch.Tensor of shape (n_samples,)
        The result, in the precision of x.
    """
    prior = _Prior(x, gates)
    prior.never, log_prob = never, prior.closed.clone()
    for rows, patterns in _found(prior, None, n_turns=0):
        log_prob[rows] = patterns.log_prob
    return log_prob.to(x.dtype)


@torch.no_grad()
def find_gates(x: Tensor, gates: Gates, is_open: Tensor | None = None) -> FoundGates:
    """Return the better result of two searches for each sample.

    One search starts from the gates that mean field opens, and the other with all gates closed.
    With more columns than features several patterns can explain a sample almost equally well, and a
    search ends at one of them.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    gates : Gates
        Decoder, prior of the latents, and noise variance; one price for all samples.

    is_open : torch.Tensor of bool of shape (n_samples, n_components) or None, default=None
        The gates that mean field opens, if they are known.

    Returns
    -------
    FoundGates
        The result.
    """
    is_open = gates.infer(x, NEW_LOOKS).is_open if is_open is None else is_open
    found, other = search_gates(x, gates, is_open), search_gates(x, gates)
    is_better = (other.log_prob > found.log_prob)[:, None]
    parts: Any = map(torch.where, repeat(is_better), other.posterior, found.posterior)
    return FoundGates(GatePosterior(*parts), torch.maximum(found.log_prob, other.log_prob))


class _Prior:
    """Columns of the decoder, noise variance, prior of the latents, and products with samples."""

    def __init__(self, x: Tensor, gates: Gates) -> None:
        noise, eps = float(gates.noise_variance), torch.finfo(x.dtype).eps
        # Rounding changes a gain by about this part of a squared norm of about d, in nats.
        error = eps * x.shape[1] / noise
        is_precise = error < 0.01 and noise > eps**0.5
        wide = x.dtype if is_precise else widest(x)
        # A smaller gain can be a rounding error.
        self.least_gain = max(error if is_precise else 0.0, ROUNDING)
        # With less noise, for samples of unit variance, the gains of flips drown in rounding.
        self.noise = max(noise, torch.finfo(wide).eps ** 0.5)
        given = gates.weight, gates.bias, gates.mean, gates.variance, gates.log_odds
        weight, bias, mean, variance, odds = map(Tensor.to, given, repeat(wide))
        self.weight, self.positive, centred = weight, gates.positive, x.to(wide) - bias
        self.seen = centred @ weight.T
        # Gates of each sample that stay closed, if any do.
        self.never: Tensor | None = None
        self.ridge = self.noise / variance
        self.shift = self.ridge * mean
        # The part of the log-odds of open gates that is the same for all samples.
        self.constant = odds - 0.5 * (mean.square() / variance + variance.log())
        self.squares = torch.linalg.vecdot(weight, weight)
        # The last column, of zeros, is for empty slots.
        self.padded = F.pad(weight, (0, 0, 0, 1))
        self.gram = self.padded @ self.padded.T if len(weight) <= MOST_PRODUCTS else None
        # Log-density of samples whose gates are all closed.
        log_volume = x.shape[1] * torch.log(2 * torch.pi * centred.new_tensor(self.noise))
        power = torch.linalg.vecdot(centred, centred)
        self.closed = F.logsigmoid(-odds).sum() - 0.5 * (log_volume + power / self.noise)

    def gains(self, along: Tensor, power: Tensor) -> Tensor:
        """Return the nats that opening gates gains, which is -inf for infinite power."""
        gain = (along * along).div_(power).div_(self.noise).sub_(power.log())
        gain.add_(math.log(self.noise)).mul_(0.5).add_(self.constant)
        return gain.masked_fill_(along <= 0, -torch.inf) if self.positive else gain

    def products(self, latents: Tensor) -> Tensor:
        """Return the inner products of some columns with all columns."""
        if self.gram is not None:
            return self.gram[latents][..., :-1]
        return self.padded[latents] @ self.weight.T

    def among(self, slots: Tensor) -> Tensor:
        """Return the inner products of the columns in the slots of each sample."""
        if self.gram is not None:
            return self.gram[slots[:, :, None], slots[:, None]]
        columns = self.padded[slots]
        return columns @ columns.mT


def _found(
    prior: _Prior, is_open: Tensor | None, *, n_turns: int
) -> Iterator[tuple[Tensor, "_Patterns"]]:
    """Yield positions of samples, and the patterns that are found for them.

    The working matrices of a chunk of samples stay in the caches.
    """
    n, k = prior.seen.shape
    latents = torch.arange(k, device=prior.seen.device)
    if is_open is None:
        slots = latents.new_empty((n, 0))
    else:
        slots = _trimmed(torch.where(is_open, latents, k), k)
    size = min(max(2**16 // k, 32), 512)
    # Samples with few open gates need smaller matrices.
    for rows in (slots < k).sum(dim=1).argsort().split(size) if n else ():
        opened = _opened(prior, rows, slots[rows])
        for some in (opened < k).sum(dim=1).argsort().split(max(size // 4, 32)):
            yield from _closed(prior, rows[some], opened[some], n_turns)


def _closed(
    prior: _Prior, rows: Tensor, slots: Tensor, n_turns: int
) -> Iterator[tuple[Tensor, "_Patterns"]]:
    """Close gates, and open others if this is a gain now; yield rows and their patterns.

    Gates open after others have closed for a number of turns.
    """
    k = prior.seen.shape[1]
    patterns = _Patterns(prior, rows, slots)
    closed = patterns.close()
    if n_turns and bool(closed.any()):
        before = patterns.slots[closed]
        again = _opened(prior, rows[closed], before)
        more = (again < k).sum(dim=1) > (before < k).sum(dim=1)
        if bool(more.any()):
            stays = ~closed.masked_scatter(closed, more)
            yield from _closed(prior, rows[closed][more], again[more], n_turns - 1)
            rows = rows[stays]
            patterns = _Patterns(prior, rows, patterns.slots[stays])
    yield rows, patterns


def _trimmed(slots: Tensor, k: int) -> Tensor:
    """Return slots in the order of latents, without columns that are empty for all samples."""
    n_slots = int((slots < k).sum(dim=1).max()) if slots.numel() else 0
    return slots.sort(dim=1).values[:, :n_slots]


def _opened(prior: _Prior, rows: Tensor, slots: Tensor) -> Tensor:
    """Open the gate of each sample that gains most until none gains, and return the slots.

    The state of `_Patterns.context` follows a gate that opens by one more row of V. Slots for more
    gates are added 16 at a time.
    """
    patterns = _Patterns(prior, rows, slots)
    slots, (V, along, power) = patterns.slots, patterns.context()
    k, filled = prior.seen.shape[1], slots.shape[1]
    each = torch.arange(len(rows), device=rows.device)
    # Gates that are open, or stay closed, do not open.
    power = F.pad(power, (0, 1)).scatter_(1, slots, torch.inf)[:, :k].contiguous()
    if prior.never is not None:
        power.masked_fill_(prior.never[rows], torch.inf)
    place, active = each, torch.ones_like(rows, dtype=torch.bool)
    while True:
        gain = prior.gains(along, power)
        best, latents = gain.max(dim=1)
        active = best > prior.least_gain
        n_left = int(active.sum())
        if n_left == 0:
            break
        if 2 * n_left < len(active):
            # Go on with the unfinished samples alone.
            V, along, power = V[active], along[active], power[active]
            latents, place = latents[active], place[active]
            each, active = each[:n_left], active[active]
        if filled == slots.shape[1]:
            slots = F.pad(slots, (0, 16), value=k)
        if filled == V.shape[1]:
            V = F.pad(V, (0, 0, 0, 16))
        v = prior.products(latents)
        if filled:
            known = V[each, :filled, latents][:, None]
            v = torch.baddbmm(v[:, None], known, V[:, :filled], alpha=-1)[:, 0]
        scale = power[each, latents].rsqrt() * active
        v = v * scale[:, None]
        V[:, filled] = v
        along.addcmul_(v, (along[each, latents] * scale)[:, None], value=-1)
        power = torch.maximum(power.addcmul_(v, v, value=-1), prior.ridge)
        own = each[active], latents[active]
        power[own] = torch.inf
        slots[place[active], filled] = latents[active]
        filled += 1
    return slots


class _Patterns:
    """Patterns of open gates of some samples, and each latent's posterior given all other gates.

    Each open gate of a sample is in a slot. With the open gates S, ``M = A_S'A_S + g T_S^-1``::

        inverse = M^-1,   place = M^-1 (A_S'x + g T_S^-1 m_S)

    Entries of empty slots are 0, except for 1 on the diagonal of `inverse`. All of these follow as
    gates close, but for the factor of M.
    """

    def __init__(self, prior: _Prior, rows: Tensor, slots: Tensor) -> None:
        self.prior, self.rows, self.k = prior, rows, prior.seen.shape[1]
        self.slots = slots = _trimmed(slots, self.k)
        self.seen = prior.seen[rows]
        products = prior.among(slots)
        products.diagonal(dim1=1, dim2=2).add_(F.pad(prior.ridge, (0, 1), value=1.0)[slots])
        # No error if a fit has diverged: the result is not finite then.
        self.factor = torch.linalg.cholesky_ex(products).L
        aim = F.pad(self.seen + prior.shift, (0, 1)).gather(1, slots)
        self.inverse = torch.cholesky_inverse(self.factor)
        # The inverse is symmetric, and products with rows are faster than with columns.
        self.place = (aim[:, None] @ self.inverse)[:, 0]
        # Logarithm of the joint densities of samples and patterns.
        logs = math.log(prior.noise) - 2 * self.factor.diagonal(dim1=1, dim2=2).log()
        constant = F.pad(prior.constant, (0, 1))[slots] + 0.5 * logs
        self.log_prob = prior.closed[rows] + 0.5 * (aim * self.place).sum(dim=1) / prior.noise
        self.log_prob += constant.masked_fill(slots == self.k, 0.0).sum(dim=1)
        self.changed = torch.zeros_like(rows, dtype=torch.bool)

    def close(self) -> Tensor:
        """Close the gate that gains most until none gains; return the mask of changed samples."""
        each = torch.arange(len(self.rows), device=self.rows.device)
        for _ in range(self.slots.shape[1]):
            gain, i = self.closings().max(dim=1)
            goes = gain > self.prior.least_gain
            if not bool(goes.any()):
                break
            self.changed |= goes
            self.log_prob += gain * goes
            column = self.inverse[each, :, i] * goes[:, None]
            kept = self.inverse[each, i, i]
            self.place -= (self.place[each, i] / kept)[:, None] * column
            self.inverse.baddbmm_(column[:, :, None], (column / kept[:, None])[:, None], alpha=-1)
            r, i = each[goes], i[goes]
            self.slots[r, i], self.place[r, i], self.inverse[r, i, i] = self.k, 0.0, 1.0
        return self.changed

    def closings(self) -> Tensor:
        """Return the nats that closing the gates in slots gains; no gain for empty slots."""
        prior, spread = self.prior, self.spread()
        constant = F.pad(prior.constant, (0, 1))[self.slots]
        gain = -constant - 0.5 * (self.place.square() / spread + spread.log())
        if prior.positive:
            # Gates that opened later can have changed the sign of a latent.
            gain = torch.where(self.place <= 0, gain.abs() + ROUNDING, gain)
        return gain.masked_fill(self.slots == self.k, 0.0)

    def spread(self) -> Tensor:
        """Return the variances of the latents in slots."""
        return self.prior.noise * self.inverse.diagonal(dim1=1, dim2=2)

    def context(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the gains of opening gates depend on.

        These are whitened products V, with ``V'V = A'A_S M^-1 A_S'A``, and ::

            along_j = a_j'(x - A_S place) + g m_j / t_j,   power_j = |a_j|^2 + g / t_j - |V_j|^2
        """
        prior = self.prior
        products = prior.products(self.slots)
        V = torch.linalg.solve_triangular(self.factor, products, upper=False)
        along = self.seen + prior.shift - (self.place[:, None] @ products)[:, 0]
        power = prior.squares + prior.ridge - V.square().sum(dim=1)
        return V, along, torch.maximum(power, prior.ridge)

    def answers(self) -> tuple[Tensor, ...]:
        """Return gate logits, means, variances, and log-densities of patterns and neighbours."""
        if bool(self.changed.any()):
            return _Patterns(self.prior, self.rows, self.slots).answers()
        prior = self.prior
        _, along, power = self.context()
        spread, slots = self.spread(), self.slots
        both = (
            (prior.gains(along, power), -self.closings()),
            (along / power, self.place),
            (prior.noise / power, spread),
        )
        logit, mean, variance = (
            F.pad(of_closed, (0, 1)).scatter(1, slots, of_open)[:, :-1]
            for of_closed, of_open in both
        )
        flips = -logit.abs()
        log_prob = self.log_prob + F.pad(flips, (1, 0)).logsumexp(dim=1)
        return logit, mean, variance, log_prob
