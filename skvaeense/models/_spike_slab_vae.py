"""The variational autoencoder whose gates are open with learned probabilities."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import brentq

from skvaeense.models._gate_search import FoundGates, search_gates, widest
from skvaeense.models._vae import VAE
from skvaeense.networks import MeanField
from skvaeense.networks._base import Network
from skvaeense.networks._restricted import restricted_code
from skvaeense.priors import GatePosterior, GatePrior, SpikeSlab
from skvaeense.utils._budget import SHARES, Lengths
from skvaeense.utils._rounding import ROUNDING

# Largest absolute value of the logarithm of a latent's noise, as a share of its slab, that the
# encoder can give: single precision cannot tell smaller shares from rounding.
MOST_LOG_NOISE = -math.log(ROUNDING)
# Largest number of prices of gates that are tried, and number of prices that are kept: one for each
# step of `SHARES`.
N_PRICES = len(SHARES) - 1
# Largest number of entries of the rows on which a price is found, and the tolerance with which it
# meets a target: as a share of the target, or in nats where the length jumps.
PRICED_ENTRIES, PRICE_TOLERANCE = 2**17, 0.005


class SpikeSlabVAE(VAE):
    """A variational autoencoder whose latents are exactly 0 unless their gate is open.

    With gate probabilities q, means m and variances v of open latents from the encoder, decoder
    ``b + A e`` with columns of norm 1, and noise variance g, for d features::

        -2 ELBO(x) = E / g + d log(2 pi g) + 2 KL,
        E = |x - b - A (q m)|^2 + sum_j [q_j (v_j + m_j^2) - q_j^2 m_j^2]

    with the divergence of `priors.SpikeSlab`. This is exact: nothing is sampled. A price lowers the
    log-odds of all gates, so that codes get shorter.

    Other networks are possible, too. Their two heads are an estimate y of each latent, in units of
    its slab, and the logarithm l of the noise of y, as a share of the slab's variance t. With
    ``u = y sqrt(t + mean^2)`` and ``n = t exp(l)`` the posterior is computed as in `MeanField`.
    Slabs keep their first mean and variance, since nothing else gives these codes a unit. With a
    nonlinear decoder f the error is::

        E = E |x - f(c)|^2,    c_j ~ N(q_j m_j, q_j (v_j + m_j^2) - q_j^2 m_j^2)

    for normal codes, with the moments that follow from gates and slabs. The error is taken at one
    draw in training, and otherwise at 16 draws that are the same for all samples.

    Parameters
    ----------
    network : Network
        `networks.MeanField`, which uses its decoder to infer gates, or another one with two heads.

    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    positive : bool, default=False
        Whether codes are not negative.

    prior : SpikeSlab or None, default=None
        How the distribution of the latents is learned; None means its defaults.

    target_l0 : float, sequence of float or None, default=None
        Mean number of open latents. With several numbers, each holds for an equal part of a batch
        in training, and the largest afterwards. None lets the bound decide on the number.

    target_explained_variance : float, sequence of float or None, default=None
        Share of the variance that codes keep; they are no longer than this share requires.

    generator : torch.Generator or None, default=None
        The source of the random weights; None if they will be loaded.

    Attributes
    ----------
    gate_probability, slab_mean, slab_variance : torch.Tensor of shape (n_components,)
        Learned parameters of the prior.

    noise_variance : torch.Tensor without dimensions
        Variance of the noise in each feature, in squared units of the scaled samples.

    is_settled : torch.Tensor without dimensions
        Whether, since training, the gates of a search have set decoder, noise and prior, or the
        price that meets the target.

    first_prices : torch.Tensor of shape (n_targets,)
        Price of an open gate in training, in nats, for each target.

    prices, lengths : torch.Tensor of shape (16,)
        Prices after training, ascending, and the mean numbers of open latents at these prices.
        Until `calibrate` is called, they are the price of training, and 0.

    left_of_lengths : torch.Tensor of shape (16,)
        Share of the variance that codes of these lengths leave unexplained.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.models import SpikeSlabVAE
    >>> from skvaeense.networks import MeanField
    >>> model = SpikeSlabVAE(MeanField(), 5, 3, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(4, 5)
    >>> model.decode(model.code(model.posterior(x))).shape, model.elbo(x).kl.shape
    (torch.Size([4, 5]), torch.Size([4]))
    """

    has_prices = True
    gate_probability: torch.Tensor
    slab_mean: torch.Tensor
    slab_variance: torch.Tensor
    is_settled: torch.Tensor
    first_prices: torch.Tensor
    left_of_lengths: torch.Tensor
    prices: torch.Tensor
    lengths: torch.Tensor

    def __init__(
        self,
        network: Network,
        n_features: int,
        n_components: int,
        *,
        positive: bool = False,
        prior: SpikeSlab | None = None,
        target_l0: Lengths | None = None,
        target_explained_variance: Lengths | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        prior = SpikeSlab() if prior is None else prior
        super().__init__(
            network,
            n_features,
            n_components,
            positive=positive,
            prior=prior,
            generator=generator,
        )
        del self.config["gated"]
        self.config |= {
            "target_l0": target_l0,
            "target_explained_variance": target_explained_variance,
        }
        self.targets = () if target_l0 is None else tuple(np.unique(target_l0)[::-1].tolist())
        shares = () if target_explained_variance is None else target_explained_variance
        # Unexplained shares of the variance, with the longest codes first.
        self.left_shares = tuple((1 - np.unique(shares)[::-1]).tolist())
        self.share = 1.0
        probability = self._first_share
        # Samples have a squared norm of n_features, which open latents share equally.
        square = n_features / (probability * n_components)
        # Codes that are not negative have a half-normal distribution.
        mean = math.sqrt(2 / math.pi * square) if positive else 0.0
        self.register_buffer("gate_probability", torch.full((n_components,), probability))
        self.register_buffer("slab_mean", torch.full((n_components,), mean))
        self.register_buffer("slab_variance", torch.full((n_components,), square - mean**2))
        self.register_buffer("is_settled", torch.tensor(False))
        self.register_buffer(
            "first_prices", torch.zeros(max(len(self.targets), len(self.left_shares), 1))
        )
        for name in ("prices", "lengths", "left_of_lengths"):
            self.register_buffer(name, torch.zeros(N_PRICES))

    @property
    def learns_slabs(self) -> bool:
        """Whether the network infers gates by a linear decoder whose columns have norm 1.

        Slabs of other decoders would have no unit.
        """
        return hasattr(self.network, "infer_gates")

    @property
    def has_patterns(self) -> bool:
        """Whether two samples differ in at least one gate on average, by the learned probabilities.

        Otherwise the model is one normal distribution, or nearly.
        """
        p = self.gate_probability
        return float((2 * p * (1 - p)).sum()) >= 1

    @property
    def _first_share(self) -> float:
        share = self.config["prior"].first_share
        if share == "auto":
            share = min(self.targets[0] / self.n_components, 0.5) if self.targets else 0.05
        # The share must differ from 0 and from 1 in single precision.
        least = torch.finfo(torch.float32).eps
        return float(min(max(share, least), 1 - least))

    def initialize(self, x: torch.Tensor) -> None:
        """Point the columns of the decoder at principal directions of samples."""
        if self.learns_slabs:
            self.network.initialize(x, self._first_share)
        else:
            super().initialize(x)

    # --- the posterior ------------------------------------------------------------------------

    def gates(self, n_samples: int) -> GatePrior:
        """Return the prior of some samples, with the price of the wanted length.

        Parameters
        ----------
        n_samples : int
            Number of samples, which training divides among the targets.

        Returns
        -------
        GatePrior
            The prior.
        """
        if self.training and len(self.first_prices) > 1:
            parts = torch.arange(n_samples).tensor_split(len(self.first_prices))
            sizes = torch.tensor([len(part) for part in parts], device=self.first_prices.device)
            price = self.first_prices.repeat_interleave(sizes)[:, None]
        else:
            price = self.first_prices[:1] if self.training else self.price
        slabs = self.slab_mean, self.slab_variance
        return GatePrior(self.gate_probability, *slabs, price, self.noise_variance)

    @property
    def price(self) -> torch.Tensor:
        """The current price, interpolated linearly in the logarithm of the length."""
        if self.share == 1:
            return self.prices[:1]
        lengths = self.lengths.double().log()
        wanted = lengths[:1] + math.log(self.share)
        i = (lengths > wanted).sum().clamp(1, N_PRICES - 1)[None]
        (above, below), (low, high) = ((t[i - 1], t[i]) for t in (lengths, self.prices))
        place = (above - wanted) / (above - below)
        return low.lerp(high, place.to(low))

    def posterior(self, x: torch.Tensor) -> GatePosterior:  # type: ignore[override]
        """Return the posterior of gates and of the latents behind them.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        GatePosterior
            The posterior.
        """
        return self._encoded(x, self.gates(x.shape[0]))

    def _encoded(self, x: torch.Tensor, gates: GatePrior) -> GatePosterior:
        network, decoder = self.network, self.linear_decoder
        if self.learns_slabs:
            return GatePosterior(*network.infer_gates(x, gates))
        place, log_noise = network.encode(x)
        u = (gates.mean.square() + gates.variance).sqrt() * place
        u = u.relu() if self.positive else u
        r = torch.exp(-log_noise.clamp(-MOST_LOG_NOISE, MOST_LOG_NOISE)) / gates.variance
        p, mean, logit = gates.update()(u, r)
        seen = None if decoder is None else (x - decoder.bias) @ decoder.weight
        return GatePosterior(logit, mean, 1 / p, seen)

    @property
    def _first_price(self) -> torch.Tensor:
        """The price at which the encoder opens the gates that a search starts from."""
        return self.prices[:1] if self.is_settled else self.first_prices[:1]

    @property
    def searches(self) -> bool:
        """Whether outputs come from a search for the most probable gates."""
        return self.config["prior"].search and self.linear_decoder is not None

    def _searched(self, x: torch.Tensor, is_open: torch.Tensor | None = None) -> FoundGates:
        """Return the result of a search from given gates, or from the gates that the encoder opens.

        The encoder opens gates at the price of training, or at the price of the longest codes once
        the model is settled, even if the search is for shorter codes. With more columns than
        features, several patterns can explain a sample almost equally well, and a search ends at
        one of them. So a second search starts with all gates closed.
        """
        gates: GatePrior = self.gates(len(x))
        decoder: Any = self.linear_decoder
        search = partial(search_gates, x, decoder, gates, positive=self.positive)
        are_many = self.n_components > x.shape[1]
        if is_open is None:
            first = self._encoded(x, gates._replace(price=self._first_price))
            is_open = self._likely(first, x.shape[1]) if are_many else first.is_open
        found = search(is_open)
        return found.or_better(search(torch.zeros_like(is_open))) if are_many else found

    def _likely(self, posterior: GatePosterior, n_features: int) -> torch.Tensor:
        """Return the open gates of a posterior, or the most probable ones if they are many.

        If there is little noise, the encoder opens too many gates. So at most the expected number
        under the prior plus two standard deviations stay open, and no more than there are features.
        """
        p = self.gate_probability
        most = p.sum() + 2 * (p * (1 - p)).sum().sqrt()
        # The probabilities of a diverged model are NaN.
        k = int(most.nan_to_num(n_features).ceil().clamp(max=n_features))
        ranked = posterior.gate_logit.topk(k, dim=1, sorted=False).values
        return posterior.is_open & (posterior.gate_logit >= ranked.min(dim=1, keepdim=True).values)

    def inferred(self, x: torch.Tensor) -> GatePosterior:
        """Return the posterior from which outputs for samples are computed.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        GatePosterior
            Posterior of each latent, given all other gates that a search has found; with a
            nonlinear decoder, or without a search, the posterior from the encoder.
        """
        return self._searched(x).posterior if self.searches else self.posterior(x)

    def close_unused(self, x: torch.Tensor) -> None:
        """Do nothing: gates of unused latents are closed already.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled training samples.
        """

    def is_open(self, posterior: Any) -> torch.Tensor:
        """Return the mask of the gates that are more probably open than closed.

        Parameters
        ----------
        posterior : GatePosterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of bool of shape (n_samples, n_components)
            Mask of the open gates.
        """
        return posterior.is_open

    def soft_code(self, posterior: GatePosterior) -> torch.Tensor:
        """Return the posterior means of the latents, gates included, which are never exactly 0.

        Parameters
        ----------
        posterior : GatePosterior
            Posterior of some samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            The means ``q m``.
        """
        return posterior.probability * posterior.mean

    @torch.no_grad()
    def code(self, posterior: Any, eps: torch.Tensor | None = None) -> torch.Tensor:
        """Return the codes with the smallest residuals, given the open gates of the posterior.

        Conjugate gradient steps, one for each look of the encoder, start from the posterior means.
        With a nonlinear decoder, codes are the posterior means.

        Parameters
        ----------
        posterior : GatePosterior
            Posterior of some samples.

        eps : None
            Ignored.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Codes, exactly 0 where a gate is closed.
        """
        mean, is_open = posterior.mean, posterior.is_open
        if self.linear_decoder is None:
            return mean.masked_fill(~is_open, 0.0)
        weight = self.linear_decoder.weight
        n_steps = len(self.network.steps) if self.learns_slabs else MeanField().n_looks
        return restricted_code(
            mean, is_open, posterior.seen, weight, n_steps, positive=self.positive
        )

    # --- the bound ----------------------------------------------------------------------------

    def bound(self, x: torch.Tensor) -> torch.Tensor:
        """Return a lower bound of the log-density of each sample.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Bounds in nats, in units of the scaled samples, from `elbo`. With a search, the bounds
            from the patterns that it has found, where these bounds are greater.
        """
        bound = super().bound(x)
        if not self.searches:
            return bound
        return torch.maximum(bound, self._searched(x).log_prob)

    def _kl(self, posterior: Any) -> torch.Tensor:
        return self.prior.divergence(posterior, self.gates(len(posterior.mean)))

    def _column_squares(self, decoder: torch.nn.Linear) -> torch.Tensor:
        squares = super()._column_squares(decoder)
        return squares.detach() if self.learns_slabs else squares

    def _decoded(self, posterior: Any) -> tuple[torch.Tensor, torch.Tensor]:
        q, mean = posterior.probability, posterior.mean
        code = q * mean
        return code, q * (posterior.variance + mean.square()) - code.square()

    @torch.no_grad()
    def batch_statistics(self, x: torch.Tensor, posterior: Any) -> dict[str, torch.Tensor]:
        """Return the statistics of a batch that training needs besides the bound.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            The batch.

        posterior : GatePosterior
            Posterior of the batch.

        Returns
        -------
        dict of torch.Tensor
            Of shape (n_components,): "active_share", the share of open gates, and the means of the
            gate probabilities ("probability"), of ``q m`` ("first_moment") and of ``q (m^2 + v)``
            ("second_moment"). Of shape (n_targets,): "l0", mean numbers of open latents. With the
            second moments S of residuals: "left", tr S, and "left_square", tr S^2, from products of
            the residuals of consecutive samples. With a `target_explained_variance`, "unexplained"
            of shape (n_targets,): mean squared residuals with each gate fully open or closed.
        """
        code = self.soft_code(posterior)
        return self.statistics(x, posterior, code, x - self.decode(code))

    def statistics(
        self, x: torch.Tensor, posterior: GatePosterior, code: torch.Tensor, residual: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the output of `batch_statistics` for a batch whose codes are known.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            The batch.

        posterior : GatePosterior
            Posterior of the batch.

        code : torch.Tensor of shape (n_samples, n_components)
            Output of `soft_code`.

        residual : torch.Tensor of shape (n_samples, n_features)
            Residual of the batch with these codes.

        Returns
        -------
        dict of torch.Tensor
            Statistics, as from `batch_statistics`.
        """
        q, mean, is_open = posterior.probability, posterior.mean, posterior.is_open
        parts = is_open.tensor_split(len(self.first_prices))
        probability = q.mean(dim=0)
        statistics = {
            "active_share": is_open.to(q).mean(dim=0),
            "probability": probability,
            "first_moment": code.mean(dim=0),
            "second_moment": torch.linalg.vecdot(code, mean, dim=0) / len(q)
            + (posterior.variance * q).mean(dim=0),
            "l0": torch.stack([part.to(q).sum() / max(len(part), 1) for part in parts]),
            "left": torch.linalg.vecdot(residual, residual).mean(),
            "left_square": torch.linalg.vecdot(residual, residual.roll(1, dims=0)).square().mean(),
        }
        if self.left_shares:
            left = (x - self.decode(mean * is_open)).square()
            parts = left.tensor_split(len(self.first_prices))
            statistics["unexplained"] = torch.stack(
                [part.sum() / max(part.numel(), 1) for part in parts]
            )
        return statistics

    @torch.no_grad()
    def settle(
        self,
        x: torch.Tensor,
        is_open: torch.Tensor | None = None,
        prices: Sequence[float] | None = None,
    ) -> torch.Tensor:
        """Set decoder, noise and learned parameters of the prior to the best values for samples.

        This is one step of expectation maximisation with the gates that a search finds. Training
        has only the gates of the encoder, which are right less often, and counts their residuals as
        noise. With a target of explained variance, the noise stays: it is the unexplained share.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled training samples.

        is_open : torch.Tensor of bool of shape (n_samples, n_components) or None, default=None
            The gates that the search starts from: the result of the previous step. None means the
            gates that the encoder opens.

        prices : sequence of float or None, default=None
            Prices of gates, each of which holds for an equal part of the samples. None means the
            current price.

        Returns
        -------
        torch.Tensor of bool of shape (n_samples, n_components)
            The gates that the search has found.
        """
        found, code, spread = self._found_codes(x, is_open, prices)
        lengths = self._turn_columns(x, code, spread)
        code, spread = code * lengths, spread * lengths.square()
        left = self._left(x, code) + float(spread.to(widest(x)).sum())
        n_open = found.to(x).sum(dim=0)
        # The previous prior counts as two more open gates.
        mean = (2 * self.slab_mean + code.sum(dim=0)) / (2 + n_open)
        square = 2 * (self.slab_mean.square() + self.slab_variance)
        square = (square + (code.square() + spread).sum(dim=0)) / (2 + n_open)
        share = n_open / len(x)
        share = torch.lerp(share, share.mean(), self.config["prior"].pooling)
        least = torch.finfo(share.dtype).eps
        if not self.left_shares:
            self.noise_variance.fill_(left / x.numel())
        self.gate_probability.copy_(share.clamp(least, 1 - least))
        self.slab_mean.copy_(mean)
        self.slab_variance.copy_(square - mean.square())
        return found

    def _found_codes(
        self, x: torch.Tensor, is_open: torch.Tensor | None, prices: Sequence[float] | None
    ) -> tuple[torch.Tensor, ...]:
        """Return the open gates that the search finds, and means and variances of their latents."""
        prices = [float(self.prices[0])] if prices is None else prices
        n, parts = len(prices), []
        first = [None] * n if is_open is None else is_open.tensor_split(n)
        for price, part, own in zip(prices, x.tensor_split(n), first, strict=True):
            self.prices.fill_(price)
            posterior = self._searched(part, own).posterior
            closed = ~posterior.is_open
            if not self.has_target:
                closed |= ~self._are_missed(posterior)
            moments = posterior.mean, posterior.variance
            parts.append((~closed, *(values.masked_fill(closed, 0.0) for values in moments)))
        self.prices.fill_(prices[0])
        return tuple(torch.cat(values) for values in zip(*parts, strict=True))

    def _are_missed(self, posterior: GatePosterior) -> torch.Tensor:
        """Return a mask of latents without which samples lose ``log(n) / 2`` nats or more.

        This is the cost of one weight. Otherwise all gates of a latent with a slab far narrower
        than the noise could stay open, and its code would be noise.
        """
        n = len(posterior.gate_logit)
        lost = posterior.gate_logit.clamp_min(0) + F.logsigmoid(-self.gates(n).log_odds)
        return lost.sum(dim=0) >= 0.5 * math.log(n)

    def _left(self, x: torch.Tensor, code: torch.Tensor) -> float:
        """Return the squared error of codes.

        Errors are summed in the widest type. Rounding, which depends on the place of samples in
        memory, must not decide on prices.
        """
        decoder, wide = self.linear_decoder, widest(x)
        if decoder is None:
            return float((x - self.decode(code)).to(wide).square().sum())
        decoded = code.to(wide) @ decoder.weight.to(wide).T
        if decoder.bias is not None:
            decoded += decoder.bias.to(wide)
        return float((x.to(wide) - decoded).square().sum())

    def _turn_columns(
        self, x: torch.Tensor, code: torch.Tensor, spread: torch.Tensor
    ) -> torch.Tensor:
        """Set the decoder by least squares, and return the factors by which codes grow.

        Columns do not change if at most two samples open their latent, or if the model diverged.
        """
        decoder: Any = self.linear_decoder
        wide = widest(x)
        ones = code.new_ones((len(code), 1))
        both = torch.cat([code, ones], dim=1).to(wide)
        moments = both.T @ both
        moments.diagonal()[:-1] += spread.to(wide).sum(dim=0)
        is_known = torch.cat([(code != 0).sum(dim=0) > 2, ones[0] > 0])
        known = torch.nonzero(is_known).ravel()
        weight = torch.cat([decoder.weight, decoder.bias[:, None]], dim=1).to(wide)
        fixed = x.to(wide) - both[:, ~is_known] @ weight[:, ~is_known].T
        if not (moments.isfinite().all() and fixed.isfinite().all()):
            return code.new_ones(code.shape[1])
        solved = torch.linalg.lstsq(moments[known][:, known], both[:, known].T @ fixed).solution
        weight[:, known] = solved.T
        lengths = weight[:, :-1].norm(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
        decoder.weight.copy_(weight[:, :-1] / lengths)
        decoder.bias.copy_(weight[:, -1])
        return lengths.to(x)

    # --- lengths ------------------------------------------------------------------------------

    @property
    def has_target(self) -> bool:
        """Whether a price of gates must meet a length, or an unexplained share of the variance."""
        return bool(self._wanted)

    @property
    def _wanted(self) -> tuple[float, ...]:
        """Wanted lengths, or unexplained shares of the variance, with the longest codes first."""
        return self.targets or self.left_shares

    @torch.no_grad()
    def meet_targets(
        self, x: torch.Tensor, is_open: torch.Tensor | None = None
    ) -> tuple[float, list[float], torch.Tensor]:
        """Find the prices that meet the targets, and keep the price of the longest codes.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        is_open : torch.Tensor of bool or None, default=None
            The gates that searches start from, as this method has returned them for the same
            samples. None means the gates that the encoder opens.

        Returns
        -------
        cost : float
            The quantity to minimise: the mean number of open gates, or, if that is the target, the
            unexplained share of the variance. With several targets, their sum.

        prices : list of float
            A price for each target.

        is_open : torch.Tensor of bool of shape (n_rows, n_components)
            The gates of the longest codes of the first samples, on which prices were found.
        """
        tried = _Prices(self, x, is_open)
        prices = [tried.meeting(target) for target in self._wanted]
        lengths, left = zip(*map(tried.at, prices), strict=True)
        self.prices.fill_(prices[0])
        self.is_settled.fill_(True)
        return sum(left if self.targets else lengths), prices, tried.opened[prices[0]]

    @property
    def length(self) -> float | None:
        """The mean number of open latents; before it is known, an upper bound."""
        if self.targets:
            return self.targets[0]
        return float(self.lengths[0]) or float(self.n_components)

    def _calibrate(self, x: torch.Tensor, n_new: int) -> None:
        """Find the price that meets the target, and the prices of shorter codes."""
        super()._calibrate(x, n_new)
        tried = _Prices(self, x, n_new=n_new)
        price = tried.meeting(self._wanted[0]) if self._wanted else tried.first
        tried.continues = True
        shortest, step = max(tried.length(price), ROUNDING) * SHARES[-1], 1.0
        prices = [price]
        while tried.length(prices[-1]) > shortest and len(prices) < N_PRICES:
            prices.append(prices[-1] + step)
            step *= 4
        while len(prices) < N_PRICES:
            # Insert a price between two others, where the length falls most.
            logs = [math.log(max(tried.length(price), shortest)) for price in prices]
            i = int(np.argmin(np.diff(logs))) if len(prices) > 1 else 0
            prices.insert(i + 1, float(np.mean(prices[i : i + 2])))
        lengths, left = (np.array(values) for values in zip(*map(tried.at, prices), strict=True))
        # Interpolation needs lengths that differ.
        lengths = np.minimum.accumulate(np.maximum(lengths, ROUNDING))
        lengths = lengths * (1 - ROUNDING) ** np.arange(N_PRICES)
        left = np.maximum.accumulate(left)
        self.prices.copy_(torch.tensor(prices))
        self.lengths.copy_(torch.from_numpy(lengths))
        self.left_of_lengths.copy_(torch.from_numpy(left))

    def length_that_keeps(self, share: float) -> float:
        """Return the mean number of open latents that keeps a share of the variance.

        Parameters
        ----------
        share : float
            The share, limited to the range from the shortest to the longest codes.

        Returns
        -------
        float
            The number, interpolated between the lengths that `calibrate` has found.
        """
        left, lengths = (t.cpu().double().numpy() for t in (self.left_of_lengths, self.lengths))
        return float(np.exp(np.interp(np.log(1 - share), np.log(left), np.log(lengths))))

    def with_targets(
        self, *, target_l0: Lengths | None, target_explained_variance: Lengths | None
    ) -> Self:
        """Return a model with the same weights and other targets.

        Each target starts at the price of the old target in its place, or of the last old one.

        Parameters
        ----------
        target_l0, target_explained_variance : float, sequence of float or None
            As for the class.

        Returns
        -------
        SpikeSlabVAE
            The model.
        """
        targets = {"target_l0": target_l0, "target_explained_variance": target_explained_variance}
        n_prices = max(len(np.unique(some)) for some in (*targets.values(), 0) if some is not None)
        place = torch.arange(n_prices).clamp(max=len(self.first_prices) - 1)
        state = self.state_dict() | {"first_prices": self.first_prices[place]}
        return type(self).from_state(self.config | targets, state)

    def shortened(self, length: float) -> Self:
        """Return a model with the same weights whose codes have fewer active latents.

        Parameters
        ----------
        length : float
            Mean number of active latents, at most this model's `length` and at least 1/256 of it.

        Returns
        -------
        SpikeSlabVAE
            A model that shares all tensors with this one.
        """
        model = type(self).__new__(type(self))
        vars(model).update(vars(self))
        model.share = length / (self.length or length)
        return model

    # --- draws --------------------------------------------------------------------------------

    def _draw(self, n_samples: int, generator: torch.Generator) -> torch.Tensor:
        """Return draws of latents: of gates, and of the slabs behind open gates."""
        gates = self.gates(n_samples)
        shape = n_samples, self.n_components
        probability = torch.sigmoid(gates.log_odds).cpu().double()
        is_open = torch.rand(shape, generator=generator, dtype=torch.float64) < probability
        z = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (self.slab_mean.cpu() + self.slab_variance.sqrt().cpu() * z) * is_open


class _Prices:
    """Lengths and residuals of codes at different prices of gates.

    Parameters
    ----------
    model : SpikeSlabVAE
        The model, whose price is set to each price that is tried.

    x : torch.Tensor of shape (n_samples, n_features)
        Centred and scaled samples; only the first ones are used.

    is_open : torch.Tensor of bool or None, default=None
        The gates that the first search starts from. None means that each search starts from the
        gates that the encoder opens, as later searches for other samples do.

    n_new : int or None, default=None
        Number of held-out samples, which come first. None means all samples.

    Attributes
    ----------
    continues : bool
        Whether a search starts from the gates found at the nearest price, which are close.
    """

    def __init__(
        self,
        model: SpikeSlabVAE,
        x: torch.Tensor,
        is_open: torch.Tensor | None = None,
        n_new: int | None = None,
    ) -> None:
        self.model, self.n_new = model, n_new
        self.x = x[: max(PRICED_ENTRIES // model.n_components, 1)]
        self.total = float((self.x - self.x.mean(dim=0)).square().sum())
        self.first = float(model._first_price)
        self.continues = is_open is not None
        self.opened = {} if is_open is None else {self.first: is_open}
        self.found: dict[float, tuple[float, float]] = {}

    def at(self, price: float) -> tuple[float, float]:
        """Return the mean number of open gates of new samples, and the unexplained share."""
        # Gates that are all open do not change at lower prices.
        full = next((p for p, o in self.opened.items() if p > price and bool(o.all())), None)
        if full in self.found:
            self.opened[price], self.found[price] = self.opened[full], self.found[full]
        if price not in self.found:
            model, x = self.model, self.x
            model.prices.fill_(price)
            if self.continues and self.opened and model.searches:
                near = min(self.opened, key=lambda other: abs(other - price))
                posterior = model._searched(x, self.opened[near]).posterior
            else:
                posterior = model.inferred(x)
            self.opened[price] = posterior.is_open
            left = model._left(x, model.code(posterior))
            left = max(left / (self.total or 1.0), ROUNDING)
            n_open = posterior.is_open.sum(dim=1).to(widest(x))
            self.found[price] = _mean_of_new(n_open, self.n_new or len(x)), left
        return self.found[price]

    def length(self, price: float) -> float:
        """Return the mean number of open gates."""
        return self.at(price)[0]

    def meeting(self, target: float) -> float:
        """Return the price that meets one of the targets of the model.

        Lengths and explained shares fall as the price rises. Where shares jump across the target,
        codes keep more than the target. A bracket grows by steps that quadruple. Brent's method
        then finds the price in it: Brent, "Algorithms for minimization without derivatives", 1973.
        """
        has_lengths = bool(self.model.targets)
        if self.total == 0 and not has_lengths:
            return self.first
        tried: dict[float, float] = {}

        def excess(price: float) -> float:
            if price not in tried:
                length, left = self.at(price)
                value, wanted = (length, target) if has_lengths else (1 / left, 1 / target)
                tried[price] = math.log(max(value, ROUNDING) / wanted)
            return tried[price] if abs(tried[price]) >= PRICE_TOLERANCE else 0.0

        low, high, step = self.first, self.first, 0.1
        for _ in range(N_PRICES):
            if excess(low) >= 0 >= excess(high):
                break
            price = high + step if excess(high) > 0 else low - step
            low, high = (high, price) if price > high else (price, low)
            step *= 4
        if excess(low) > 0 > excess(high):
            brentq(excess, low, high, xtol=PRICE_TOLERANCE)
        enough = [price for price in tried if tried[price] >= -PRICE_TOLERANCE]
        allowed = enough if enough and not has_lengths else tried
        return min(allowed, key=lambda price: abs(tried[price]))


def _mean_of_new(values: torch.Tensor, n_new: int) -> float:
    """Return the mean over new samples, which come first, with the help of training samples.

    New samples have more open gates than training samples or, rarely, fewer, if codes explain new
    samples badly. So the result is the mean over training samples plus the observed gap, shrunk
    according to its standard error, which is doubled if new samples have fewer open gates: James
    and Stein, "Estimation with quadratic loss", 1961.
    """
    new, old = values[:n_new], values[n_new:]
    if min(len(new), len(old)) < 2:
        return float(values.mean())
    gap = float(new.mean() - old.mean())
    error = math.sqrt(float(new.var() / len(new) + old.var() / len(old)))
    error *= 1 if gap > 0 else 2
    return float(old.mean()) + (gap * max(1 - (error / gap) ** 2, 0.0) if gap else 0.0)
