"""The E-step, sums over samples, and the M-step, which sets parameters by these sums."""

from itertools import repeat
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from skvaeense.explanations._gates import FIT_LOOKS, LEAST_OPEN, Gates
from skvaeense.explanations._search import FoundCodes, search_codes, widest
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._processes import Processes

# Probabilities stay this far from 0 and 1: single precision cannot tell closer ones from 1.
LEAST_PROBABILITY = torch.finfo(torch.float32).eps
# The parameters of gates and slabs.
SLABS = "probability", "mean", "variance"


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
        Expected squared error, and squared error with each gate open or closed.

    length : torch.Tensor without dimensions
        Number of gates that are more probably open than closed.

    nats : torch.Tensor without dimensions
        Bound of the log-density.
    """

    n: torch.Tensor
    codes: torch.Tensor
    cross: torch.Tensor
    n_open: torch.Tensor
    lost: torch.Tensor
    error: torch.Tensor
    left: torch.Tensor
    length: torch.Tensor
    nats: torch.Tensor

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums over the samples of both."""
        return Sums(*map(torch.add, self, other))

    def times(self, factor: float) -> "Sums":
        """Return the sums over samples that count more or less."""
        return Sums(*map(torch.mul, self, repeat(factor)))

    def grown(self, growth: torch.Tensor) -> "Sums":
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


def mean_field_sums(gates: Gates, x: torch.Tensor, weights: torch.Tensor) -> Sums:
    """Return the sums over samples whose gates are inferred by mean field.

    Parameters
    ----------
    gates : Gates
        The parameters.

    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    weights : torch.Tensor of shape (n_samples,)
        How often each sample counts.

    Returns
    -------
    Sums
        The sums, in double precision.
    """
    posterior = gates.infer(x, FIT_LOOKS)
    q = posterior.probability
    q = torch.where(q > LEAST_OPEN, q, 0.0)
    if gates.positive:
        q = q * (posterior.mean > 0)
    code = q * posterior.mean
    spread = q * (posterior.variance + posterior.mean.square()) - code.square()
    lost = weights @ F.softplus(posterior.gate_logit)
    found = FoundCodes(code, q, lost, torch.diag(weights @ spread), -gates.divergence(posterior))
    sums = _sums(gates, x, weights, found, posterior.mean * posterior.is_open)
    log_volume = sums.n * x.shape[1] * torch.log(2 * torch.pi * gates.noise_variance)
    return sums._replace(nats=sums.nats - 0.5 * (sums.error / gates.noise_variance + log_volume))


def pattern_sums(
    gates: Gates, x: torch.Tensor, weights: torch.Tensor, is_open: torch.Tensor | None = None
) -> tuple[Sums, torch.Tensor]:
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
    return _sums(gates, x, weights, found, found.code), found.openness > 0


def _sums(
    gates: Gates, x: torch.Tensor, weights: torch.Tensor, found: FoundCodes, hard: torch.Tensor
) -> Sums:
    """Return the sums, given codes, and hard codes, whose gates are open or closed."""
    wide, n = widest(x), weights.sum()
    weight, covariance = gates.weight.to(wide), found.covariance.to(wide)

    def error_of(code: torch.Tensor) -> torch.Tensor:
        residual = x - gates.bias - code @ gates.weight
        return (weights @ torch.linalg.vecdot(residual, residual)).to(wide)

    both = F.pad(found.code, (0, 1), value=1.0)
    weighted = (weights[:, None] * both).T
    codes = (weighted @ both).to(wide)
    codes[:-1, :-1] += covariance
    left = error_of(hard)
    error = left if hard is found.code else error_of(found.code)
    values = (
        n,
        codes,
        weighted @ x,
        weights @ found.openness,
        found.lost + n * F.logsigmoid(-gates.log_odds),
        error + ((covariance @ weight) * weight).sum(),
        left,
        (weights @ (hard != 0).to(x)).sum(),
        weights @ found.log_prob,
    )
    return Sums(*map(torch.Tensor.to, values, repeat(wide)))


def maximise(
    gates: Gates, sums: Sums, *, learns_prior: bool, least_use: float = 3
) -> tuple[Gates, torch.Tensor]:
    """Return the parameters that are best for given sums, and the growth of the codes.

    Columns and bias solve one system of linear equations. Columns are brought back to norm 1, and
    codes grow by their former norms. Columns of latents that are hardly ever open stay. Gates and
    slabs are moments::

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

    least_use : float, default=3
        A column stays if its latent is open for fewer samples.

    Returns
    -------
    gates : Gates
        The parameters, with the same noise variance and price.

    growth : torch.Tensor of shape (n_components,)
        Norms that columns had before they were brought back to 1.
    """
    k, n, q = len(gates.weight), sums.n, sums.n_open
    hold = F.pad(ROUNDING**2 + (q < least_use) * n, (0, 1))
    before = torch.cat([gates.weight, gates.bias[None]]).to(hold)
    system = sums.codes + torch.diag(hold), sums.cross + hold[:, None] * before
    # No error if the fit has diverged: the result is not finite then.
    after = torch.linalg.solve_ex(*system).result
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
        slabs: Any = map(torch.Tensor.to, (p, mean, variance), repeat(gates.weight))
        gates = gates._replace(**dict(zip(SLABS, slabs, strict=True)))
    return gates, growth.to(gates.weight)
