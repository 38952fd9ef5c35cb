"""The search for the most probable open gates, given a sample."""

import copy
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from skvaeense.networks._restricted import overlap
from skvaeense.priors import GatePosterior, GatePrior
from skvaeense.utils._blocks import block_rows
from skvaeense.utils._rounding import ROUNDING


def widest(x: torch.Tensor) -> torch.dtype:
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
    log_prob: torch.Tensor

    def or_better(self, other: "FoundGates") -> "FoundGates":
        """Return, for each sample, the more probable of the results of two searches."""
        is_better = (other.log_prob > self.log_prob)[:, None]
        pairs: Any = zip(self.posterior, other.posterior, strict=True)
        chosen = GatePosterior(*(torch.where(is_better, theirs, ours) for ours, theirs in pairs))
        return FoundGates(chosen, torch.maximum(self.log_prob, other.log_prob))


@torch.no_grad()
def search_gates(
    x: torch.Tensor,
    decoder: torch.nn.Linear,
    gates: GatePrior,
    is_open: torch.Tensor,
    *,
    positive: bool = False,
) -> FoundGates:
    """Open and close gates one by one, as long as the pattern gets more probable.

    With a linear decoder of columns A, noise variance g, and the slabs of the open gates S
    integrated out, the joint density of a sample and its pattern is ::

        p(x, S) = p(S) N(x - b; A_S m_S, A_S T_S A_S' + g I)

    A few products give the densities of all patterns that differ in one gate [1]_. The search
    starts from a given pattern, such as the one that an encoder proposes, and makes the best flip
    until no flip is an improvement. Given all other gates, each latent then has exact odds of being
    open, and a normal posterior.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples.

    decoder : torch.nn.Linear
        Map from codes to samples.

    gates : GatePrior
        Prior of the latents, and the noise variance.

    is_open : torch.Tensor of bool of shape (n_samples, n_components)
        The gates that are open at first.

    positive : bool, default=False
        Whether gates of latents that would be negative stay closed.

    Returns
    -------
    FoundGates
        The result, in the precision of x.

    References
    ----------
    .. [1] P. Schniter, L. C. Potter and J. Ziniel, "Fast Bayesian matching pursuit", Information
       Theory and Applications Workshop 2008.
    """
    wide = widest(x)
    weight = decoder.weight.to(wide)
    centred = x.to(wide) - (0 if decoder.bias is None else decoder.bias.to(wide))
    seen = centred @ weight
    prior = _Prior(weight, gates, positive)
    # Log-density of samples whose gates are all closed.
    log_volume = x.shape[1] * torch.log(2 * torch.pi * prior.noise)
    squares = torch.linalg.vecdot(centred, centred)
    log_prob = F.logsigmoid(-prior.odds).sum() - 0.5 * (log_volume + squares / prior.noise)
    logit, mean, variance = (torch.empty_like(seen) for _ in range(3))
    for rows in _chunks(is_open.sum(dim=1), is_open.shape[1]):
        patterns = _Patterns(seen[rows], is_open[rows], prior)
        patterns.climb()
        # With next to no noise, the errors of updates can add up. Then the first pattern stays.
        lost = ~(patterns.log_prob.isfinite() & patterns.place.isfinite().all(dim=1))
        if bool(lost.any()):
            patterns.put(lost, _Patterns(seen[rows][lost], is_open[rows][lost], prior))
        logit[rows], mean[rows], variance[rows], log_probs = patterns.answers()
        log_prob[rows] += log_probs
    found = GatePosterior(*(t.to(x.dtype) for t in (logit, mean, variance, seen)))
    return FoundGates(found, log_prob.to(x.dtype))


def _chunks(n_open: torch.Tensor, n_components: int) -> list[torch.Tensor]:
    """Return positions of samples, in chunks with similar numbers of open gates."""
    order = n_open.argsort()
    sizes = n_open[order].clamp_min(1).tolist()
    chunks, first = [], 0
    for i in range(1, len(sizes) + 1):
        is_whole = i < len(sizes) and (
            sizes[i] <= 1.5 * sizes[first] and i - first < block_rows(sizes[i] * n_components)
        )
        if not is_whole:
            chunks.append(order[first:i])
            first = i
    return chunks


class _Prior:
    """Columns of the decoder, noise variance, and prior of the latents, in one precision."""

    def __init__(self, weight: torch.Tensor, gates: GatePrior, positive: bool) -> None:
        self.weight, self.positive = weight, positive
        self.mean, self.variance = gates.mean.to(weight), gates.variance.to(weight)
        self.odds = gates.log_odds.to(weight).expand(weight.shape[1])
        # With less noise, for samples of unit variance, the gains of flips drown in rounding.
        least = math.sqrt(torch.finfo(weight.dtype).eps)
        self.noise = gates.noise_variance.to(weight.dtype).clamp_min(least)
        self.ridge = self.noise / self.variance
        # The part of the log-odds of open gates that is the same for all samples.
        constant = self.odds - 0.5 * (self.mean.square() / self.variance + self.variance.log())
        # The last column, of zeros, is for empty slots, where a flip gains nothing.
        self.columns, gram = F.pad(weight.T, (0, 0, 0, 1)), overlap(weight)
        self.gram = None if gram is None else F.pad(gram, (0, 1, 0, 1))
        self.squares = torch.linalg.vecdot(self.columns, self.columns)
        self.constant = F.pad(constant, (0, 1))
        # The least and the greatest variance of a latent, given all others.
        self.least = F.pad(self.noise / (self.squares[:-1] + self.ridge), (0, 1), value=1.0)
        self.most = F.pad(self.variance, (0, 1), value=1.0)


class _Patterns:
    """Patterns of open gates of some samples, and each latent's posterior given all other gates.

    Each open gate of a sample is in a slot. With the open gates S, ``M = A_S' A_S + g T_S^-1``::

        inverse = M^-1,   place = M^-1 (A_S' x + g T_S^-1 m_S),
        own_j = |a_j|^2 - a_j' A_S M^-1 A_S' a_j,   left_j = a_j' (x - A_S place)

    A gate that opens or closes changes all four by one vector. Entries of empty slots are 0.
    """

    # Attributes with a row for each sample.
    OF_SAMPLES = ("slots", "place", "inverse", "own", "left", "log_prob")

    def __init__(self, seen: torch.Tensor, is_open: torch.Tensor, prior: _Prior) -> None:
        self.prior, self.n_components = prior, seen.shape[1]
        n_slots = max(int(is_open.sum(dim=1).max()), 1)
        order = (~is_open).to(torch.uint8).argsort(dim=1, stable=True)[:, :n_slots]
        is_on = is_open.gather(1, order)
        self.slots = order.masked_fill(~is_on, self.n_components)
        if prior.gram is None:
            products = F.pad(prior.columns[self.slots] @ prior.weight, (0, 1))
        else:
            products = prior.gram[self.slots]
        overlaps = products[:, :, :-1]
        products = products.gather(2, self.slots[:, None].expand(-1, n_slots, -1))
        products.diagonal(dim1=1, dim2=2).add_(torch.where(is_on, prior.ridge[order], 1.0))
        factor = torch.linalg.cholesky(products)
        both = (is_on[:, :, None] & is_on[:, None, :]).to(seen)
        self.inverse = torch.cholesky_inverse(factor) * both
        aim = (seen + prior.ridge * prior.mean).gather(1, order) * is_on
        # The inverse is symmetric, and products with rows are faster than with columns.
        self.place = (aim[:, None] @ self.inverse)[:, 0]
        halves = torch.linalg.solve_triangular(factor, overlaps, upper=False)
        self.own = prior.squares[:-1] - halves.square_().sum(dim=1)
        self.left = seen - (self.place[:, None] @ overlaps)[:, 0]
        logs = torch.log(prior.noise) - 2 * factor.diagonal(dim1=1, dim2=2).log()
        self.log_prob = 0.5 * torch.linalg.vecdot(aim, self.place) / prior.noise
        self.log_prob += (is_on * (prior.constant[order] + 0.5 * logs)).sum(dim=1)

    def climb(self) -> None:
        """Make the best flip of each sample until no flip gains anything."""
        for _ in range(2 * self.n_components):
            gain, latents = self.gains(*self.closed(), self.open()).max(dim=1)
            # A smaller gain can be a rounding error.
            continues = gain > ROUNDING
            n_left = int(continues.sum())
            if 2 * n_left < len(gain):
                # Go on with the unfinished samples alone.
                if n_left:
                    self._climb_some(continues)
                break
            self.log_prob += gain * continues
            # The best column of a finished sample can be the last one, which is no latent.
            self.flip(latents * continues, continues)

    def _climb_some(self, rows: torch.Tensor) -> None:
        some = copy.copy(self)
        for name in self.OF_SAMPLES:
            setattr(some, name, getattr(self, name)[rows])
        some.climb()
        self.put(rows, some)

    def put(self, rows: torch.Tensor, some: "_Patterns") -> None:
        """Replace the patterns of some rows."""
        n_more = some.slots.shape[1] - self.slots.shape[1]
        self._add_slots(max(n_more, 0))
        some._add_slots(max(-n_more, 0))
        for name in self.OF_SAMPLES:
            getattr(self, name)[rows] = getattr(some, name)

    def closed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return precisions of latents if their gates were to open, and precisions times means."""
        prior = self.prior
        precision = torch.addcdiv(1 / prior.variance, self.own.clamp_min(0), prior.noise)
        along = torch.addcdiv(prior.mean / prior.variance, self.left, prior.noise)
        return precision, along

    def open(self) -> torch.Tensor:
        """Return the variances of the latents in slots, and 1 for empty slots."""
        spread = self.prior.noise * self.inverse.diagonal(dim1=1, dim2=2)
        # Between the variance given all other latents and the slab's, in spite of rounding.
        return spread.clamp(self.prior.least[self.slots], self.prior.most[self.slots])

    def gains(
        self, precision: torch.Tensor, along: torch.Tensor, spread: torch.Tensor
    ) -> torch.Tensor:
        """Return the nats that flips of gates gain; the last column, for empty slots, is 0."""
        prior, constant = self.prior, self.prior.constant
        gain = torch.addcdiv(precision.log().neg_(), along.square(), precision).mul_(0.5)
        gain.add_(constant[:-1])
        if prior.positive:
            gain.masked_fill_(along <= 0, -torch.inf)
        closing = -constant[self.slots] - 0.5 * (self.place.square() / spread + spread.log())
        return F.pad(gain, (0, 1)).scatter_(1, self.slots, closing)

    def flip(self, latents: torch.Tensor, continues: torch.Tensor) -> None:
        """Open or close one gate of each sample that goes on."""
        prior, k = self.prior, self.n_components
        if bool(((self.slots < k).all(dim=1) & continues).any()):
            self._add_slots(min(self.slots.shape[1] // 2 + 1, k))
        slots, each = self.slots, torch.arange(len(latents), device=latents.device)
        is_there = slots == latents[:, None]
        closes = is_there.any(dim=1)
        slot = torch.where(closes[:, None], is_there, slots == k).to(torch.uint8).argmax(dim=1)
        opening = (self._products(latents, slots)[:, None] @ self.inverse)[:, 0]
        opening[each, slot] = -1.0
        closing = self.inverse[each, :, slot]
        own = self.own[each, latents].clamp_min(0) + prior.ridge[latents]
        along = self.left[each, latents] + (prior.noise * prior.mean / prior.variance)[latents]
        kept = closing[each, slot].clamp_min(prior.least[latents] / prior.noise)
        by = torch.where(closes[:, None], closing, opening)
        scale = torch.where(closes, -1 / kept, 1 / own) * continues
        step = torch.where(closes, self.place[each, slot] / kept, along / own) * continues
        slots[each, slot] = torch.where(continues, latents, slots[each, slot])
        change = self._along(slots, by)
        self.own -= scale[:, None] * change.square()
        self.left += step[:, None] * change
        self.place -= step[:, None] * by
        self.inverse.addcmul_((scale[:, None] * by)[:, :, None], by[:, None])
        closes &= continues
        gone = each[closes], slot[closes]
        self.place[gone], slots[gone] = 0.0, k
        self.inverse[gone[0], gone[1]] = 0.0
        self.inverse[gone[0], :, gone[1]] = 0.0

    def _products(self, latents: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Return products of one latent's column for each sample with the columns of slots."""
        columns, gram = self.prior.columns, self.prior.gram
        if gram is not None:
            return gram[latents].gather(1, slots)
        return (columns[slots] @ columns[latents][:, :, None])[:, :, 0]

    def _along(self, slots: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        """Return products of all columns with weighted sums of the columns of slots."""
        if self.prior.gram is not None:
            weights = by.new_zeros(len(by), self.n_components + 1).scatter_(1, slots, by)
            return (weights @ self.prior.gram)[:, :-1]
        return (by[:, None] @ self.prior.columns[slots])[:, 0] @ self.prior.weight

    def _add_slots(self, n: int) -> None:
        self.slots = F.pad(self.slots, (0, n), value=self.n_components)
        self.place = F.pad(self.place, (0, n))
        self.inverse = F.pad(self.inverse, (0, n, 0, n))

    def answers(self) -> tuple[torch.Tensor, ...]:
        """Return gate logits, means, variances, and log-densities of patterns and neighbours."""
        (precision, along), spread, slots = self.closed(), self.open(), self.slots
        gain = self.gains(precision, along, spread)
        signs = torch.ones_like(gain).scatter(1, slots, -1.0)[:, :-1]
        both = (along / precision, self.place), (1 / precision, spread)
        mean, variance = (
            F.pad(of_closed, (0, 1)).scatter(1, slots, of_open)[:, :-1]
            for of_closed, of_open in both
        )
        gain = gain[:, :-1]
        logit = signs * gain
        if self.prior.positive:
            # Gates that opened later can have changed the sign of a latent.
            logit = torch.where(mean > 0, logit, -logit.abs())
        log_prob = self.log_prob + F.pad(gain, (1, 0)).logsumexp(dim=1)
        return logit, mean, variance, log_prob
