"""The price of open gates that meets a target, and the prices of shorter codes."""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq

from skvaeense.explanations._gates import FIT_LOOKS, Gates, restricted_code
from skvaeense.explanations._search import find_gates, search_gates, widest
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._typing import DoubleArray

# Tolerance with which a price meets a target: as a share of the target, or in nats where the length
# jumps.
PRICE_TOLERANCE = 0.005
# Largest number of entries of the codes on which a price is found.
PRICED_ENTRIES = 2**17
# Least length of codes, as a share of the longest, and number of prices up to it.
LEAST_SHARE, N_PRICES = 1 / 256, 16


class PriceTable(NamedTuple):
    """Prices of open gates, and what codes of new samples are like at these prices.

    Attributes
    ----------
    prices : ndarray of shape (n_prices,)
        Prices, ascending.

    lengths : ndarray of shape (n_prices,)
        Mean numbers of open gates, descending.

    left : ndarray of shape (n_prices,)
        Shares of the variance that codes leave, ascending.
    """

    prices: Annotated[DoubleArray, "m"]
    lengths: Annotated[DoubleArray, "m >0"]
    left: Annotated[DoubleArray, "m"]

    @classmethod
    def of(
        cls,
        gates: Gates,
        x: torch.Tensor,
        weights: torch.Tensor,
        n_new: int,
        *,
        length: float | None = None,
        share: float | None = None,
    ) -> "PriceTable":
        """Find the price that meets a target, and the prices of shorter codes.

        Parameters
        ----------
        gates : Gates
            The gates, with a price that is about right.

        x : torch.Tensor of shape (n_samples, n_features)
            Samples, held-out ones first.

        weights : torch.Tensor of shape (n_samples,)
            How often each sample counts.

        n_new : int
            Number of held-out samples.

        length, share : float or None, default=None
            Mean number of open gates, or share of the variance that codes leave. If both are None,
            the first price is the price of the gates.

        Returns
        -------
        PriceTable
            The prices. The first one meets the target.
        """
        has_target = length is not None or share is not None
        search = PriceSearch(gates, x, weights, n_new, has_target=has_target)
        return search.table(search.meeting(length, share))

    @property
    def longest(self) -> float:
        """Mean number of open gates at the first price."""
        return float(self.lengths[0])

    def price_of(self, length: float) -> float:
        """Return the price of codes of a length, interpolated in the logarithm of the length."""
        order = slice(None, None, -1)
        return float(np.interp(math.log(length), np.log(self.lengths[order]), self.prices[order]))

    def length_that_keeps(self, share: float) -> float:
        """Return the mean length of codes that keep a share of the variance.

        The share is limited to the range from the shortest to the longest codes.
        """
        left, lengths = np.log(np.maximum(self.left, ROUNDING)), np.log(self.lengths)
        return float(np.exp(np.interp(math.log(1 - share), left, lengths)))


class PriceSearch:
    """Lengths and residuals of codes at the prices that were tried.

    Of the samples, only some are used. The `n_new` held-out ones come first.
    """

    def __init__(
        self,
        gates: Gates,
        x: torch.Tensor,
        weights: torch.Tensor,
        n_new: int,
        *,
        has_target: bool,
    ) -> None:
        self.gates, self.n_new, self.has_target = gates, n_new, has_target
        self.x = x[: max(PRICED_ENTRIES // len(gates.weight), 1)]
        self.weights = weights[: len(self.x)].to(widest(x))
        shares = (self.weights / self.weights.sum()).to(x)
        self.total = float(shares @ (self.x - shares @ self.x).square().sum(dim=1))
        # Prices at which all gates are open.
        self.all_open: list[float] = []
        self.found: dict[float, tuple[float, float]] = {}

    @torch.no_grad()
    def at(self, price: float) -> tuple[float, float]:
        """Return the mean number of open gates of new samples, and the unexplained share."""
        # Gates that are all open do not change at lower prices.
        if price not in self.found and price < max(self.all_open, default=-math.inf):
            self.found[price] = self.found[max(self.all_open)]
        if price not in self.found:
            x, first = self.x, self.gates.to(self.x)
            gates = first._replace(price=first.price.new_tensor(price))
            found = search_gates(x, gates) if self.has_target else find_gates(x, gates, first.price)
            post, weight = found.posterior, gates.weight.T
            is_open = post.is_open
            self.all_open += [price] * bool(is_open.all())
            code = restricted_code(
                post.mean, is_open, post.seen, weight, FIT_LOOKS, positive=gates.positive
            )
            # Rounding, which depends on the place of samples in memory, must not decide on prices.
            wide = widest(x)
            rest = x.to(wide) - code.to(wide) @ weight.T.to(wide) - gates.bias.to(wide)
            left = _mean_of_new(torch.linalg.vecdot(rest, rest), self.weights, self.n_new)
            n_open = _mean_of_new(is_open.sum(dim=1).to(wide), self.weights, self.n_new)
            self.found[price] = n_open, max(left / (self.total or 1.0), ROUNDING)
        return self.found[price]

    def meeting(self, length: float | None, share: float | None) -> float:
        """Return the price that meets a target."""
        first = float(self.gates.price)
        if not self.has_target or self.total == 0:
            return first

        beyond = self._out_of_reach() if length is None and self.n_new < len(self.x) else 0.0

        def excess(price: float) -> float:
            n_open, left = self.at(price)
            left = max(left - beyond, ROUNDING)
            value, wanted = (1 / left, 1 / (share or 1.0)) if length is None else (n_open, length)
            return math.log(max(value, ROUNDING) / wanted)

        return find_price(excess, first, at_least=length is None)

    def _out_of_reach(self) -> float:
        """Return the share of the variance that only new samples have outside the span of columns.

        No code keeps it, however many gates are open, so no price must make up for it.
        """
        wide = widest(self.x)
        _, sizes, directions = torch.linalg.svd(self.gates.weight.to(wide), full_matrices=False)
        centred = self.x.to(wide) - self.gates.bias.to(wide)
        along = centred @ directions[sizes > ROUNDING * sizes.max()].T
        left = centred.square().sum(dim=1) - along.square().sum(dim=1)
        trained = _mean_and_error(left[self.n_new :], self.weights[self.n_new :])[0]
        return max(_mean_of_new(left, self.weights, self.n_new) - trained, 0.0) / self.total

    def table(self, price: float) -> PriceTable:
        """Return a price and the prices of shorter codes."""
        prices, step = [price], 1.0
        shortest = max(self.at(price)[0], ROUNDING) * LEAST_SHARE
        while self.at(prices[-1])[0] > shortest and len(prices) < N_PRICES:
            prices.append(prices[-1] + step)
            step *= 4
        while len(prices) < N_PRICES:
            # Insert a price between two others, where the length falls most.
            logs = np.log(np.maximum(list(map(self.at, prices)), shortest))[:, 0]
            i = int(np.argmin(np.diff(logs))) if len(prices) > 1 else 0
            prices.insert(i + 1, float(np.mean(prices[i : i + 2])))
        lengths, left = np.array(list(map(self.at, prices))).T
        # Interpolation needs lengths that differ.
        lengths = np.minimum.accumulate(np.maximum(lengths, ROUNDING))
        lengths = lengths * (1 - ROUNDING) ** np.arange(N_PRICES)
        return PriceTable(np.array(prices), lengths, np.maximum.accumulate(left))


def _mean_of_new(values: torch.Tensor, weights: torch.Tensor, n_new: int) -> float:
    """Return the mean over new samples, which come first, with the help of training samples.

    New samples have more open gates and larger errors than training samples or, rarely, fewer gates
    if codes explain new samples badly. So the result is the mean over training samples plus the
    observed gap, shrunk according to its standard error, which is doubled if the mean of new
    samples is smaller: James and Stein, "Estimation with quadratic loss", 1961.
    """
    if min(n_new, len(values) - n_new) < 2:
        return _mean_and_error(values, weights)[0]
    new, error_of_new = _mean_and_error(values[:n_new], weights[:n_new])
    old, error_of_old = _mean_and_error(values[n_new:], weights[n_new:])
    gap, error = new - old, math.hypot(error_of_new, error_of_old)
    error *= 1 if gap > 0 else 2
    return old + (gap * max(1 - (error / gap) ** 2, 0.0) if gap else 0.0)


def _mean_and_error(values: torch.Tensor, weights: torch.Tensor) -> tuple[float, float]:
    """Return a weighted mean and its standard error: copies of a sample say nothing new."""
    shares, n = weights / weights.sum(), len(values)
    mean = shares @ values
    variance = (shares * (values - mean)).square().sum() * (n / max(n - 1, 1))
    return float(mean), math.sqrt(float(variance))


def find_price(
    excess: Callable[[float], float], first: float, *, at_least: bool, step: float = 0.1
) -> float:
    """Return the price at which codes meet a target.

    A bracket grows by steps that quadruple. Brent's method then finds the price in it: Brent,
    "Algorithms for minimization without derivatives", 1973.

    Parameters
    ----------
    excess : callable
        Logarithm of what codes have at a price, as a share of the target; it falls with the price.

    first : float
        The price that is tried first.

    at_least : bool
        Whether codes have more than the target, and not less, where `excess` jumps across 0.

    step : float, default=0.1
        First step from this price; there are at most 16 steps.

    Returns
    -------
    float
        The best of the prices that were tried.
    """
    tried: dict[float, float] = {}

    def rounded(price: float) -> float:
        if price not in tried:
            tried[price] = excess(price)
        return tried[price] if abs(tried[price]) >= PRICE_TOLERANCE else 0.0

    low = high = first
    for _ in range(16):
        if rounded(low) >= 0 >= rounded(high):
            break
        price = high + step if rounded(high) > 0 else low - step
        low, high = (high, price) if price > high else (price, low)
        step *= 4
    if rounded(low) > 0 > rounded(high):
        brentq(rounded, low, high, xtol=PRICE_TOLERANCE)
    prices, misses = np.array(list(tried.items())).T
    is_enough = misses >= -PRICE_TOLERANCE
    if at_least and is_enough.any():
        prices, misses = prices[is_enough], misses[is_enough]
    return float(prices[np.abs(misses).argmin()])
