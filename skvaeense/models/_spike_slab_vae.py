"""The model whose gates are open with learned probabilities."""

import math
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from skvaeense.explanations._gates import (
    FIT_LOOKS,
    NEW_LOOKS,
    GatePosterior,
    Gates,
    restricted_code,
)
from skvaeense.explanations._prices import PRICED_ENTRIES, find_price
from skvaeense.explanations._search import FoundGates, find_gates, search_gates, widest
from skvaeense.models._base import arguments, as_number
from skvaeense.models._vae import VAE
from skvaeense.networks._base import Autoencoder
from skvaeense.priors import SpikeSlab
from skvaeense.utils._kept import SHARES
from skvaeense.utils._linalg import ROUNDING

# Largest number of prices of gates that are tried, and number of prices that are kept: one for each
# step of `SHARES`.
N_PRICES = len(SHARES) - 1


class Dictionary(Autoencoder):
    """A linear decoder alone: gates need no encoder.

    Parameters
    ----------
    n_features : int
        Number of features.

    n_components : int
        Number of columns.
    """

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__()
        self.decoder = nn.utils.skip_init(nn.Linear, n_components, n_features)


class SpikeSlabVAE(VAE):
    """A linear decoder whose latents are exactly 0 unless their gate is open.

    A sample is ``x = b + sum_j s_j z_j w_j + noise`` with columns w_j of norm 1. Gate j is open,
    s_j = 1, with probability p_j, and an open latent z_j is drawn from N(m_j, t_j). There is no
    encoder: a few looks of mean-field inference, and a search from their result, find the open
    gates of a sample. A price lowers the log-odds of all gates, so that codes get shorter.

    With gate probabilities q, means m and variances v of open latents, and noise variance g, for d
    features, the evidence lower bound is exact, nothing is sampled::

        -2 ELBO(x) = E / g + d log(2 pi g) + 2 KL,
        E = |x - b - A (q m)|^2 + sum_j [q_j (v_j + m_j^2) - q_j^2 m_j^2]

    Parameters
    ----------
    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    positive : bool, default=False
        Whether codes are not negative.

    prior : SpikeSlab or None, default=None
        The specification of the prior; None means its defaults.

    target_l0 : float or None, default=None
        Mean number of open latents.

    target_explained_variance : float or None, default=None
        Share of the variance that codes keep; they are no longer than it requires.

    generator : None
        Ignored: there are no random weights.

    Attributes
    ----------
    gate_probability, slab_mean, slab_variance : torch.Tensor of shape (n_components,)
        Parameters of the prior.

    noise_variance : torch.Tensor without dimensions
        Variance of the noise in each feature, in squared units of the scaled samples.

    prices, lengths : torch.Tensor of shape (16,)
        Prices, ascending, and the mean numbers of open latents at these prices. Until `calibrate`
        is called, they are the price of training, and 0.

    left_of_lengths : torch.Tensor of shape (16,)
        Share of the variance that codes of these lengths leave unexplained.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.explanations import Gates
    >>> from skvaeense.models import SpikeSlabVAE
    >>> x, half, one = torch.ones(4, 5), torch.full((3,), 0.5), torch.ones(3)
    >>> numbers = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.0)
    >>> gates = Gates(torch.eye(5)[:3], torch.zeros(5), half, 0 * one, one, *numbers)
    >>> model = SpikeSlabVAE.of(gates)
    >>> model.decode(model.code(model.posterior(x))).shape, model.elbo(x).kl.shape
    (torch.Size([4, 5]), torch.Size([4]))
    """

    has_prices = True
    gate_probability: torch.Tensor
    slab_mean: torch.Tensor
    slab_variance: torch.Tensor
    left_of_lengths: torch.Tensor
    prices: torch.Tensor
    lengths: torch.Tensor

    def __init__(
        self,
        n_features: int,
        n_components: int,
        *,
        positive: bool = False,
        prior: SpikeSlab | None = None,
        target_l0: float | None = None,
        target_explained_variance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        prior = SpikeSlab() if prior is None else prior
        super().__init__(None, n_features, n_components, positive=positive, prior=prior)
        self.config = arguments(locals())
        self.share = 1.0
        for name in ("gate_probability", "slab_mean", "slab_variance"):
            self.register_buffer(name, torch.ones(n_components))
        for name in ("prices", "lengths", "left_of_lengths"):
            self.register_buffer(name, torch.zeros(N_PRICES))

    def _build_network(self, generator: torch.Generator | None) -> Any:
        return Dictionary(self.n_features, self.n_components)

    @classmethod
    def of(
        cls,
        gates: Gates,
        *,
        prior: SpikeSlab | None = None,
        target_l0: float | None = None,
        target_explained_variance: float | None = None,
    ) -> Self:
        """Return the model of fitted gates.

        Parameters
        ----------
        gates : Gates
            Decoder, prior, noise variance and price.

        prior : SpikeSlab or None, default=None
            The specification of the prior; None means its defaults.

        target_l0, target_explained_variance : float or None, default=None
            As for the class.

        Returns
        -------
        SpikeSlabVAE
            The model, with copies of the tensors.
        """
        k, d = gates.weight.shape
        model = cls(
            d,
            k,
            positive=gates.positive,
            prior=prior,
            target_l0=target_l0,
            target_explained_variance=target_explained_variance,
        ).to(gates.weight)
        with torch.no_grad():
            model.network.decoder.weight.copy_(gates.weight.T)
            model.network.decoder.bias.copy_(gates.bias)
        model.gate_probability.copy_(gates.probability)
        model.slab_mean.copy_(gates.mean)
        model.slab_variance.copy_(gates.variance)
        model.noise_variance = as_number(float(gates.noise_variance))
        model.prices.fill_(float(gates.price))
        return model.eval()

    @property
    def gates(self) -> Gates:
        """Decoder, prior and noise variance, with the price of the wanted length."""
        decoder = self.network.decoder
        slabs = self.gate_probability, self.slab_mean, self.slab_variance
        weight, bias = decoder.weight.detach().T, decoder.bias.detach()
        return Gates(weight, bias, *slabs, self.noise_variance, self.price, self.positive)

    # --- the posterior ------------------------------------------------------------------------

    @property
    def price(self) -> torch.Tensor:
        """The current price, interpolated linearly in the logarithm of the length."""
        if self.share == 1:
            return self.prices[0]
        lengths = self.lengths.double().log()
        wanted = lengths[:1] + math.log(self.share)
        i = (lengths > wanted).sum().clamp(1, N_PRICES - 1)[None]
        (above, below), (low, high) = ((t[i - 1], t[i]) for t in (lengths, self.prices))
        place = (above - wanted) / (above - below)
        return low.lerp(high, place.to(low))[0]

    def posterior(self, x: torch.Tensor) -> GatePosterior:  # type: ignore[override]
        """Return the posterior of gates and of the latents behind them, by mean field.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        GatePosterior
            The posterior.
        """
        return self.gates.infer(x, NEW_LOOKS)

    @property
    def searches(self) -> bool:
        """Whether outputs come from a search for the most probable gates."""
        return bool(self.config["prior"].search)

    def _searched(self, x: torch.Tensor) -> FoundGates:
        """Return the result of the searches that suit the model.

        With a target the search starts with all gates closed, as in the fit. Without one, another
        search starts from the gates that mean field opens.
        """
        if self.has_target:
            return search_gates(x, self.gates)
        return find_gates(x, self.gates, self.prices[0])

    def inferred(self, x: torch.Tensor) -> GatePosterior:
        """Return the posterior from which outputs for samples are computed.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        GatePosterior
            Posterior of each latent, given all other gates that a search has found; without a
            search, the posterior by mean field.
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

        A few conjugate gradient steps start from the posterior means.

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
        mean, is_open, weight = posterior.mean, posterior.is_open, self.network.decoder.weight
        return restricted_code(
            mean, is_open, posterior.seen, weight, FIT_LOOKS, positive=self.positive
        )

    @torch.no_grad()
    def bound(self, x: torch.Tensor) -> torch.Tensor:
        """Return a lower bound of the log-density of each sample.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Bounds in nats, in units of the scaled samples: of the pattern of gates that a search
            has found, with the patterns that differ in one gate; without a search, from `elbo`.
        """
        return self._searched(x).log_prob if self.searches else super().bound(x)

    def _kl(self, posterior: Any) -> torch.Tensor:
        return self.gates.divergence(posterior)

    def _decoded(self, posterior: Any) -> tuple[torch.Tensor, torch.Tensor]:
        q, mean = posterior.probability, posterior.mean
        code = q * mean
        return code, q * (posterior.variance + mean.square()) - code.square()

    @property
    def has_target(self) -> bool:
        """Whether a price of gates must meet a length, or an unexplained share of the variance."""
        return self._wanted is not None

    @property
    def _wanted(self) -> float | None:
        """Wanted length, or unexplained share of the variance, of the longest codes."""
        if self.config["target_l0"] is not None:
            return float(self.config["target_l0"])
        share = self.config["target_explained_variance"]
        return None if share is None else 1 - float(share)

    @property
    def length(self) -> float | None:
        """The mean number of open latents; before it is known, an upper bound."""
        if self.config["target_l0"] is not None:
            return self._wanted
        return float(self.lengths[0]) or float(self.n_components)

    def _calibrate(self, x: torch.Tensor, n_new: int) -> None:
        """Find the price that meets the target, and the prices of shorter codes."""
        super()._calibrate(x, n_new)
        tried = _Prices(self, x, n_new)
        price = tried.first if self._wanted is None else tried.meeting(self._wanted)
        shortest, step = max(tried.at(price)[0], ROUNDING) * SHARES[-1], 1.0
        prices = [price]
        while tried.at(prices[-1])[0] > shortest and len(prices) < N_PRICES:
            prices.append(prices[-1] + step)
            step *= 4
        while len(prices) < N_PRICES:
            # Insert a price between two others, where the length falls most.
            logs = [math.log(max(tried.at(price)[0], shortest)) for price in prices]
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

    def _draw(self, n_samples: int, generator: torch.Generator) -> torch.Tensor:
        """Return draws of latents: of gates, and of the slabs behind open gates."""
        gates = self.gates
        shape = n_samples, self.n_components
        probability = torch.sigmoid(gates.log_odds).cpu().double()
        is_open = torch.rand(shape, generator=generator, dtype=torch.float64) < probability
        z = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (self.slab_mean.cpu() + self.slab_variance.sqrt().cpu() * z) * is_open


class _Prices:
    """Lengths and residuals of codes at different prices, which are set in the model.

    Of the samples, only some are used. The `n_new` held-out ones come first.
    """

    def __init__(self, model: SpikeSlabVAE, x: torch.Tensor, n_new: int) -> None:
        self.model, self.n_new = model, n_new
        self.x = x[: max(PRICED_ENTRIES // model.n_components, 1)]
        self.total = float((self.x - self.x.mean(dim=0)).square().sum()) / len(self.x)
        self.first = float(model.prices[0])
        # Prices at which all gates are open.
        self.all_open: list[float] = []
        self.found: dict[float, tuple[float, float]] = {}

    def at(self, price: float) -> tuple[float, float]:
        """Return the mean number of open gates of new samples, and the unexplained share."""
        # Gates that are all open do not change at lower prices.
        full = next((p for p in self.all_open if p > price), None)
        if full is not None:
            self.found[price] = self.found[full]
        if price not in self.found:
            model, x = self.model, self.x
            model.prices.fill_(price)
            posterior = model.inferred(x)
            self.all_open += [price] * bool(posterior.is_open.all())
            # Rounding, which depends on the place of samples in memory, must not decide on prices.
            wide = widest(x)
            decoder = model.network.decoder
            code = model.code(posterior).to(wide)
            residual = x.to(wide) - code @ decoder.weight.to(wide).T - decoder.bias.to(wide)
            left = _mean_of_new(torch.linalg.vecdot(residual, residual), self.n_new)
            n_open = _mean_of_new(posterior.is_open.sum(dim=1).to(wide), self.n_new)
            self.found[price] = n_open, max(left / (self.total or 1.0), ROUNDING)
        return self.found[price]

    def meeting(self, target: float) -> float:
        """Return the price that meets a target of the model."""
        has_lengths = self.model.config["target_l0"] is not None
        if self.total == 0 and not has_lengths:
            return self.first

        def excess(price: float) -> float:
            length, left = self.at(price)
            value, wanted = (length, target) if has_lengths else (1 / left, 1 / target)
            return math.log(max(value, ROUNDING) / wanted)

        return find_price(excess, self.first, at_least=not has_lengths)


def _mean_of_new(values: torch.Tensor, n_new: int) -> float:
    """Return the mean over new samples, which come first, with the help of training samples.

    New samples have more open gates and larger errors than training samples or, rarely, fewer gates
    if codes explain new samples badly. So the result is the mean over training samples plus the
    observed gap, shrunk according to its standard error, which is doubled if the mean of new
    samples is smaller: James and Stein, "Estimation with quadratic loss", 1961.
    """
    new, old = values[:n_new], values[n_new:]
    if min(len(new), len(old)) < 2:
        return float(values.mean())
    gap = float(new.mean() - old.mean())
    error = math.sqrt(float(new.var() / len(new) + old.var() / len(old)))
    error *= 1 if gap > 0 else 2
    return float(old.mean()) + (gap * max(1 - (error / gap) ** 2, 0.0) if gap else 0.0)
