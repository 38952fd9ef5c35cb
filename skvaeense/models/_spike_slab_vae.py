"""The variational autoencoder whose gates are open with learned probabilities."""

import math
from typing import Any, Self

import numpy as np
import torch

from skvaeense.models._vae import VAE, ELBOTerms
from skvaeense.networks._base import Network
from skvaeense.priors import GatePosterior, GatePrior, SpikeSlab
from skvaeense.utils._budget import Lengths

# Halvings of the length for which the price of gates is found once a model is trained.
N_HALVINGS = 8
# Rows that a price is found on have so many entries at most, and it is found to this precision, as
# a share of what is asked for.
PRICED_ENTRIES, PRICE_TOLERANCE = 2**18, 0.005


class SpikeSlabVAE(VAE):
    """A variational autoencoder whose latents are exactly 0 unless their gate is open.

    With gate probabilities q, means m and variances v of open latents from the encoder, decoder
    ``b + A e`` with columns of norm 1, and noise variance g, for d features::

        -2 ELBO(x) = E / g + d log(2 pi g) + 2 KL,
        E = |x - b - A (q m)|^2 + sum_j [q_j (v_j + m_j^2) - q_j^2 m_j^2]

    with the divergence of `priors.SpikeSlab`. This is exact: nothing is sampled. A price lowers the
    log-odds of all gates, so that codes get shorter.

    Parameters
    ----------
    network : Network
        `networks.MeanField`, which infers gates.

    n_features : int
        Number of features of a sample.

    n_components : int
        Number of latents.

    positive : bool, default=False
        Whether codes are not negative.

    prior : SpikeSlab or None, default=None
        How the distribution of the latents is learned; None means its defaults.

    target_l0 : float, sequence of float or None, default=None
        Mean number of open latents; with several, each that of an equal part of a batch in
        training, and afterwards the largest. None lets the bound decide on it.

    target_explained_variance : float or None, default=None
        Share of the variance that codes keep: they are no longer than that takes.

    generator : torch.Generator or None, default=None
        The source of the random weights; None if they will be loaded.

    Attributes
    ----------
    gate_probability, slab_mean, slab_variance : torch.Tensor of shape (n_components,)
        What was learned of the prior.

    noise_variance : torch.Tensor without dimensions
        Variance of the noise in each feature, in squared units of the scaled samples.

    first_prices : torch.Tensor of shape (n_targets,)
        Price of an open gate in training, in nats, for each target.

    prices, lengths : torch.Tensor of shape (9,)
        Prices, and the mean numbers of open latents that they give; 0 until `calibrate` is called.

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

    gate_probability: torch.Tensor
    slab_mean: torch.Tensor
    slab_variance: torch.Tensor
    first_prices: torch.Tensor
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
        target_explained_variance: float | None = None,
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
        self.target_explained_variance = target_explained_variance
        self.share = 1.0
        probability = self._first_share
        # Samples have a squared norm of n_features, which open latents have alike.
        square = n_features / (probability * n_components)
        # Half of a normal distribution, where codes are not negative.
        mean = math.sqrt(2 / math.pi * square) if positive else 0.0
        self.register_buffer("gate_probability", torch.full((n_components,), probability))
        self.register_buffer("slab_mean", torch.full((n_components,), mean))
        self.register_buffer("slab_variance", torch.full((n_components,), square - mean**2))
        self.register_buffer("first_prices", torch.zeros(max(len(self.targets), 1)))
        self.register_buffer("prices", torch.zeros(N_HALVINGS + 1))
        self.register_buffer("lengths", torch.zeros(N_HALVINGS + 1))

    @property
    def _first_share(self) -> float:
        share = self.config["prior"].first_share
        if share != "auto":
            return float(share)
        return min(self.targets[0] / self.n_components, 0.5) if self.targets else 0.1

    def initialize(self, x: torch.Tensor) -> None:
        """Point the columns of the decoder at principal directions of samples."""
        self.network.initialize(x, self._first_share)

    # --- the posterior ------------------------------------------------------------------------

    def gates(self, n_samples: int) -> GatePrior:
        """Return the prior of some samples, with the price of the length that is asked for.

        Parameters
        ----------
        n_samples : int
            Their number, which targets share in training.

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
        return GatePrior(
            self.gate_probability,
            self.slab_mean,
            self.slab_variance,
            price,
            self.noise_variance,
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether prices are known."""
        return bool(self.lengths[0] > 0)

    @property
    def price(self) -> torch.Tensor:
        """The price that holds now, interpolated linearly in the logarithm of the length."""
        if not self.is_calibrated:
            return self.first_prices[:1]
        if self.share == 1:
            return self.prices[:1]
        lengths = self.lengths.double().log()
        wanted = lengths[0] + math.log(self.share)
        i = int((lengths > wanted).sum().clamp(1, N_HALVINGS))
        place = (lengths[i - 1] - wanted) / (lengths[i - 1] - lengths[i]).clamp_min(1e-12)
        return self.prices[i - 1 : i].lerp(self.prices[i : i + 1], float(place))

    def open_posterior(self, x: torch.Tensor) -> GatePosterior:  # type: ignore[override]
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
        gates = self.gates(len(x))
        logit, mean, seen = self.network.encode(x, gates)
        return GatePosterior(logit, mean, gates.open_variance, seen)

    def is_open(self, posterior: Any) -> torch.Tensor:
        """Return which gates are more probably open than closed.

        Parameters
        ----------
        posterior : GatePosterior
            Of some samples.

        Returns
        -------
        torch.Tensor of bool of shape (n_samples, n_components)
            The gates.
        """
        is_open: torch.Tensor = posterior.is_open
        return is_open

    def soft_code(self, posterior: GatePosterior) -> torch.Tensor:
        """Return the posterior means of the latents, gates included: nowhere quite 0.

        Parameters
        ----------
        posterior : GatePosterior
            Of some samples.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            The means ``q m``.
        """
        return posterior.probability * posterior.mean

    @torch.no_grad()
    def code(self, posterior: Any, eps: torch.Tensor | None = None) -> torch.Tensor:
        """Return codes: the most probable ones whose open gates are those of the posterior.

        For the open gates S of a sample it is the solution of ``(A_S'A_S + g / t) e = c + m g / t``
        to which as many conjugate gradient steps lead as the encoder has looks, from its means.

        Parameters
        ----------
        posterior : GatePosterior
            Of some samples.

        eps : None
            Ignored.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            Codes, exactly 0 where a gate is closed.
        """
        mask = posterior.is_open.to(posterior.mean)
        weight = self.network.decoder.weight
        ridge = self.noise_variance.to(weight) / self.slab_variance
        first = code = posterior.mean * mask
        gram = weight.T @ weight if weight.shape[1] <= 2 * weight.shape[0] else None

        def system(e: torch.Tensor) -> torch.Tensor:
            product = e @ gram if gram is not None else (e @ weight.T) @ weight
            return (product + ridge * e) * mask

        # As its diagonal is 1 but for the ridge, steps are preconditioned by that.
        left = (posterior.seen + ridge * self.slab_mean) * mask - system(code)
        unit = 1 / (1 + ridge)
        direction = unit * left
        size = torch.linalg.vecdot(left, direction)
        least = torch.finfo(code.dtype).tiny
        for _ in range(len(self.network.steps)):
            image = system(direction)
            length = size / torch.linalg.vecdot(direction, image).clamp_min(least)
            code = torch.addcmul(code, length[:, None], direction)
            left = torch.addcmul(left, length[:, None], image, value=-1)
            last, size = size, torch.linalg.vecdot(left, unit * left)
            share = size / last.clamp_min(least)
            direction = torch.addcmul(unit * left, share[:, None], direction)
        return torch.where(code > 0, code, first) if self.positive else code

    # --- the bound ----------------------------------------------------------------------------

    def elbo(
        self,
        x: torch.Tensor,
        *,
        generator: torch.Generator | None = None,
        posterior: Any = None,
    ) -> ELBOTerms:
        """Return the terms of the evidence lower bound, which are exact.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        generator : None
            Ignored.

        posterior : GatePosterior or None, default=None
            What `posterior` returns, if it is known already.

        Returns
        -------
        ELBOTerms
            The terms of each sample.
        """
        posterior = self.posterior(x) if posterior is None else posterior
        q, mean = posterior.probability, posterior.mean
        code = q * mean
        residual = x - self.decode(code)
        spread = q * (posterior.variance + mean.square()) - code.square()
        error = torch.linalg.vecdot(residual, residual) + spread.sum(dim=1)
        return ELBOTerms(error, self.prior.divergence(posterior, self.gates(len(x))))

    @torch.no_grad()
    def batch_statistics(self, posterior: Any) -> dict[str, torch.Tensor]:
        """Return what training needs to know of a batch besides its bound.

        Parameters
        ----------
        posterior : GatePosterior
            Of the batch.

        Returns
        -------
        dict of torch.Tensor
            Of shape (n_components,): "active_share", the share of open gates, and the means of the
            gate probabilities ("probability"), of ``q m`` ("first_moment") and of ``q (m^2 + v)``
            ("second_moment"). Of shape (n_targets,): "l0", mean numbers of open latents.
        """
        q, mean, is_open = posterior.probability, posterior.mean, posterior.is_open
        code = q * mean
        parts = is_open.tensor_split(len(self.first_prices))
        probability = q.mean(dim=0)
        return {
            "active_share": is_open.to(q).mean(dim=0),
            "probability": probability,
            "first_moment": code.mean(dim=0),
            "second_moment": torch.linalg.vecdot(code, mean, dim=0) / len(q)
            + posterior.variance * probability,
            "l0": torch.stack([part.to(q).sum() / max(len(part), 1) for part in parts]),
        }

    # --- lengths ------------------------------------------------------------------------------

    @property
    def length(self) -> float | None:
        """The mean number of open latents; before it is known, what it is at most."""
        if self.targets:
            return self.targets[0]
        return float(self.lengths[0]) if self.is_calibrated else float(self.n_components)

    @property
    def takes_calibration(self) -> bool:
        """Whether `calibrate` has anything to set: prices."""
        return True

    @torch.no_grad()
    def calibrate(self, x: torch.Tensor) -> None:
        """Find the price that meets the target, and those of shorter codes.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        training = self.training
        self.eval()
        self.lengths.zero_()
        x = x[: max(PRICED_ENTRIES // self.n_components, 1)]
        first = self.first_prices.clone()
        price, length = float(first[0]), self._length_at(x, float(first[0]))
        if self.targets:
            price, length = self._find_price(x, price, self._length_at, self.targets[0])
        elif self.target_explained_variance is not None:
            left = 1 - self.target_explained_variance
            price, _ = self._find_price(x, price, self._unexplained_at, left, rising=True)
            length = self._length_at(x, price)
        prices, lengths = [price], [max(length, 1e-6)]
        for i in range(1, N_HALVINGS + 1):
            step = max(prices[-1] - prices[-2], 0.1) if i > 1 else 1.0
            price, length = self._find_price(
                x, prices[-1] + step, self._length_at, lengths[0] / 2**i, step=step
            )
            # Equal lengths would make no line.
            prices.append(max(price, prices[-1]))
            lengths.append(min(max(length, 1e-6), lengths[-1] * (1 - 1e-6)))
        self.first_prices.copy_(first)
        self.prices.copy_(torch.tensor(prices))
        self.lengths.copy_(torch.tensor(lengths))
        self.train(training)

    def _at(self, x: torch.Tensor, price: float) -> GatePosterior:
        self.first_prices[0] = price
        return self.open_posterior(x)

    def _length_at(self, x: torch.Tensor, price: float) -> float:
        """Return the mean number of open latents at a price."""
        return float(self._at(x, price).is_open.sum()) / len(x)

    def _unexplained_at(self, x: torch.Tensor, price: float) -> float:
        """Return the share of the variance that codes leave at a price."""
        residual = x - self.decode(self.code(self._at(x, price)))
        return float(residual.square().sum() / (x - x.mean(dim=0)).square().sum().clamp_min(1e-12))

    @staticmethod
    def _find_price(
        x: torch.Tensor,
        price: float,
        value_at: Any,
        wanted: float,
        *,
        step: float = 0.1,
        rising: bool = False,
    ) -> tuple[float, float]:
        """Return the price at which a value is what is wanted, and the value there.

        The bracket grows by doubling steps, and is cut by regula falsi in the logarithm.
        """

        def excess(value: float) -> float:
            ratio = math.log(max(value, 1e-9) / wanted)
            return -ratio if rising else ratio

        at = {price: value_at(x, price)}
        low = high = price
        for _ in range(24):
            if excess(at[low]) >= 0 >= excess(at[high]):
                break
            if excess(at[high]) > 0:
                low, high = high, high + step
                at[high] = value_at(x, high)
            else:
                low, high = low - step, low
                at[low] = value_at(x, low)
            step *= 2
        for i in range(12):
            best = min(at, key=lambda p: abs(excess(at[p])))
            if abs(excess(at[best])) < PRICE_TOLERANCE:
                break
            a, b = excess(at[low]), excess(at[high])
            share = min(max(a / (a - b), 0.1), 0.9) if a > b and i % 3 != 2 else 0.5
            middle = low + share * (high - low)
            at[middle] = value_at(x, middle)
            if excess(at[middle]) > 0:
                low = middle
            else:
                high = middle
        best = min(at, key=lambda p: abs(excess(at[p])))
        return best, at[best]

    def shortened(self, length: float) -> Self:
        """Return a model with the same weights whose codes have fewer active latents.

        Parameters
        ----------
        length : float
            Their mean number, at most the `length` of this model and at least 1/256 of it.

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

    @torch.no_grad()
    def sample(
        self, n_samples: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw codes from the prior: gates, and slabs behind those that are open.

        Parameters
        ----------
        n_samples : int
            Number of samples.

        generator : torch.Generator
            The source of randomness, on the CPU.

        Returns
        -------
        codes : torch.Tensor of shape (n_samples, n_components)
            Codes in double precision, on the CPU.

        rows : torch.Tensor of int of shape (n_samples,)
            Zeros: draws have no gates of a training sample.
        """
        gates = self.gates(n_samples)
        shape = n_samples, self.n_components
        probability = torch.sigmoid(gates.log_odds).cpu().double()
        is_open = torch.rand(shape, generator=generator, dtype=torch.float64) < probability
        z = torch.randn(shape, generator=generator, dtype=torch.float64)
        z = self.slab_mean.cpu() + self.slab_variance.sqrt().cpu() * z
        z = z.abs() if self.positive else z
        return z * is_open, torch.zeros(n_samples, dtype=torch.int64)
