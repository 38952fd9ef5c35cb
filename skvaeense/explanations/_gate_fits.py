"""Gates that are fitted to rows: to all of them or batch by batch, with prices for a target."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.covariance import LedoitWolf
from torch import Tensor

from skvaeense.explanations._em import TARGET_NOISE, Sums, Wanted, expected_sums, make_em
from skvaeense.explanations._gates import NEW_FALL, NEW_LOOKS, SLABS, Gates
from skvaeense.explanations._laws import GateLaw, PriceTable
from skvaeense.explanations._search import find_gates, widest
from skvaeense.mixture._em import blur_of, least_variance
from skvaeense.mixture._fit import MAX_DIRECTIONS
from skvaeense.mixture._rows import Prepared
from skvaeense.utils._kept import LEAST_SHARE
from skvaeense.utils._linalg import ROUNDING, TINY, principal_directions
from skvaeense.utils._processes import find_processes
from skvaeense.utils._records import Record, check_fields, check_types
from skvaeense.utils._rows import MAX_ENTRIES, block_rows
from skvaeense.utils._torch import torch_threads_for
from skvaeense.utils._typing import DoubleArray

# Largest number of entries of samples that are fitted in double precision, and of the codes on
# which a price is found.
SOME_ENTRIES = 2**17
# Tolerance with which a price meets a target: as a share of the target, or in nats where the length
# jumps.
PRICE_TOLERANCE = 0.005
# Number of prices in a table, and of steps on the way to a price.
N_PRICES = 16
# Open gates on which a price is corrected at last. Their number is about as uncertain as that of
# independent events: by .6 %.
N_OPEN = 2**15


def as_tensor(x: DoubleArray, device: Any) -> Tensor:
    """Return rows as a tensor; of many rows in single precision, which suffices."""
    rows = torch.from_numpy(x)
    return (rows if x.size <= SOME_ENTRIES else rows.float()).to(device)


def noise_floor(rows: Prepared) -> float:
    """Return the least noise variance, which is that of a mixture: so the two can be compared."""
    # What is filled in is between the values of columns with a step.
    return max(float(least_variance(rows.units.size)), blur_of(rows.steps))


# --- gates of all rows --------------------------------------------------------------------------


def gate_law(
    rows: Prepared, wanted: Wanted, known: GateLaw | None = None, *, has_table: bool = True
) -> GateLaw:
    """Return the law of gates that are fitted to rows, in units of the rows.

    Parameters
    ----------
    rows : Prepared
        The rows, of which the held-out ones determine prices of open gates.

    wanted : Wanted
        What codes should be like.

    known : GateLaw or None, default=None
        The first gates, if they are known.

    has_table : bool, default=True
        Whether the law has prices of shorter codes.

    Returns
    -------
    GateLaw
        The law.
    """
    if known is not None and known.points is not None:
        # Each location has gates of its own, fitted to its own rows.
        return known
    order, n_out = rows.order, len(rows.valid)
    # Held-out rows are needed for the price that meets a target.
    is_all = known is not None or n_out == len(order) or not wanted.has_target
    train = slice(0 if is_all else n_out, None)
    x, counts = rows.x[order], rows.weights[order]
    mean = np.average(x[train], axis=0, weights=counts[train])
    sizes = np.square(x - mean).mean(axis=1)
    scale = float(np.sqrt(np.average(sizes, weights=counts))) or 1.0
    y = as_tensor((x - mean) / scale, wanted.device)
    weights = torch.from_numpy(counts).to(y)
    em = make_em(
        y[train],
        weights[train],
        wanted,
        gates=None if known is None else _in_unit(known, mean, scale, wanted),
        least_noise=noise_floor(rows) / scale**2,
    )
    em.processes = find_processes()
    most = max(MAX_ENTRIES // len(em.gates.weight), em.subset_rows * em.n_steps)
    # With a target, known gates still have to get used to their price.
    begun = 0.0 if known is None else 0.5 if wanted.has_target else 1.0
    with torch_threads_for(em.work_of_step):
        em.fit(y[train][:most], weights[train][:most], begun=begun)
        prices = PriceSearch(em.result(wanted.n_components), y, weights, n_out, wanted)
        gates, table = prices.found(has_table=has_table)
    return GateLaw(gates, mean, scale, table, wanted.has_target)


def _in_unit(law: GateLaw, mean: DoubleArray, scale: float, wanted: Wanted) -> Gates:
    """Return the gates of a law for samples with another centre and scale.

    With a target, noise and price start anew: the price of another target can be so high, where
    there is little noise, that steps never return from it.
    """
    unit = law.scale / scale
    gates = law.gates.in_units((law.center - mean) / scale, unit)
    return gates.with_noise(TARGET_NOISE).with_price(0.0) if wanted.has_target else gates


# --- prices -------------------------------------------------------------------------------------


class PriceSearch:
    """Lengths and residuals of codes at the prices of open gates that were tried.

    Of the samples, only some are used. The `n_new` held-out ones come first. Gates have a price
    that is about right.
    """

    def __init__(
        self,
        gates: Gates,
        x: Tensor,
        weights: Tensor,
        n_new: int,
        wanted: Wanted,
        n_rows: int | None = None,
    ) -> None:
        self.gates, self.n_new, self.wanted = gates, n_new, wanted
        self.all = x, weights
        self.x = x[: n_rows or max(SOME_ENTRIES // len(gates.weight), 1)]
        self.weights = weights[: len(self.x)].to(widest(x))
        shares = (self.weights / self.weights.sum()).to(x)
        self.total = float(shares @ (self.x - shares @ self.x).square().sum(dim=1))
        # Gates that mean field opens, and the largest price that was tried at which all are open.
        self.opened: Any = None
        self.all_open = -math.inf
        self.tried: dict[float, tuple[float, float]] = {}

    def found(
        self, *, has_table: bool = True, is_last: bool = True
    ) -> tuple[Gates, PriceTable | None]:
        """Return the gates at the price that meets the target, and the prices of shorter codes.

        Only the last price, which does not change with a next batch, is made surer.
        """
        price = float(self.gates.price)
        if self.wanted.has_target and self.total != 0:
            price = self._meeting(price)
            price = self._on_more(price) if is_last else price
        return self.gates.with_price(price), self._table(price) if has_table else None

    @torch.no_grad()
    def at(self, price: float) -> tuple[float, float]:
        """Return the mean number of open gates of new samples, and the unexplained share."""
        # Gates that are all open do not change at lower prices.
        price = max(price, self.all_open)
        if price not in self.tried:
            gates, wide = self.gates.to(self.x).with_price(price), widest(self.x)
            post = self._search(gates).posterior
            is_open, code = post.is_open, gates.code(post)
            self.all_open = price if bool(is_open.all()) else self.all_open
            # Rounding, which depends on the place of samples in memory, must not decide on prices.
            rest = self.x.to(wide) - code.to(wide) @ gates.weight.to(wide) - gates.bias.to(wide)
            left = _mean_of_new(torch.linalg.vecdot(rest, rest), self.weights, self.n_new)
            n_open = _mean_of_new(is_open.sum(dim=1).to(wide), self.weights, self.n_new)
            self.tried[price] = n_open, max(left / (self.total or 1.0), ROUNDING)
        return self.tried[price]

    def _search(self, gates: Gates) -> Any:
        """Return the open gates at a price, by the searches of `GateLaw`."""
        if self.wanted.has_target:
            return find_gates(self.x, gates, gates.anneal(self.x, NEW_FALL).is_open)
        if self.opened is None:
            self.opened = self.gates.to(self.x).infer(self.x, NEW_LOOKS).is_open
        return find_gates(self.x, gates, self.opened)

    def _meeting(self, first: float) -> float:
        """Return the price at which codes meet the target: the best one that was tried.

        A bracket grows by steps that quadruple. Brent's method then finds the price in it: Brent,
        "Algorithms for minimization without derivatives", 1973.
        """

        def excess(price: float) -> float:
            miss = self._miss(price)
            return miss if abs(miss) >= PRICE_TOLERANCE else 0.0

        low, high, step = first, first, 0.1
        for _ in range(N_PRICES):
            if excess(low) >= 0 >= excess(high):
                break
            price = high + step if excess(high) > 0 else low - step
            low, high = (high, price) if price > high else (price, low)
            step *= 4
        if excess(low) > 0 > excess(high):
            brentq(excess, low, high, xtol=PRICE_TOLERANCE)
        prices, misses = np.array([(price, self._miss(price)) for price in self.tried]).T
        is_enough = misses >= -PRICE_TOLERANCE
        if self.wanted.length is None and is_enough.any():
            # Where what codes keep jumps across the share, they keep more, and not less.
            prices, misses = prices[is_enough], misses[is_enough]
        return float(prices[np.abs(misses).argmin()])

    def _miss(self, price: float) -> float:
        """Return the logarithm of what codes have, as a share of the target."""
        length, (n_open, left) = self.wanted.length, self.at(price)
        if length is not None:
            return math.log(max(n_open, ROUNDING) / length)
        return math.log((self.wanted.left or 0.0) / max(left - self._out_of_reach, ROUNDING))

    def _on_more(self, price: float) -> float:
        """Return the price that meets the target on more samples, whose means are surer."""
        n_rows = round(N_OPEN / max(self.at(price)[0], 1.0))
        n_rows = min(n_rows, block_rows(*self.gates.weight.shape), len(self.all[0]))
        if n_rows <= len(self.x):
            return price
        return PriceSearch(self.gates, *self.all, self.n_new, self.wanted, n_rows)._meeting(price)

    @cached_property
    def _out_of_reach(self) -> float:
        """The share of the variance that only new samples have outside the span of columns.

        No code keeps it, however many gates are open, so no price must make up for it.
        """
        if not self.wanted.left or self.n_new >= len(self.x):
            return 0.0
        wide = widest(self.x)
        _, sizes, directions = torch.linalg.svd(self.gates.weight.to(wide), full_matrices=False)
        centred = self.x.to(wide) - self.gates.bias.to(wide)
        along = centred @ directions[sizes > ROUNDING * sizes.max()].T
        left = centred.square().sum(dim=1) - along.square().sum(dim=1)
        trained = _mean_and_error(left[self.n_new :], self.weights[self.n_new :])[0]
        return max(_mean_of_new(left, self.weights, self.n_new) - trained, 0.0) / self.total

    def _table(self, price: float) -> PriceTable:
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
        # The first price is that of the wanted length. Interpolation needs lengths that differ.
        lengths = np.clip(lengths, ROUNDING, self.wanted.length)
        lengths = np.minimum.accumulate(lengths)
        lengths = lengths * (1 - ROUNDING) ** np.arange(N_PRICES)
        return PriceTable(np.array(prices), lengths, np.maximum.accumulate(left))


def _mean_of_new(values: Tensor, weights: Tensor, n_new: int) -> float:
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


def _mean_and_error(values: Tensor, weights: Tensor) -> tuple[float, float]:
    """Return a weighted mean and its standard error: copies of a sample say nothing new."""
    shares, n = weights / weights.sum(), len(values)
    mean = shares @ values
    variance = (shares * (values - mean)).square().sum() * (n / max(n - 1, 1))
    return float(mean), math.sqrt(float(variance))


# --- gates of training rows, which are compared with other laws ---------------------------------


class ComparedGates(NamedTuple):
    """Gates of training rows, and how well they explain held-out rows.

    Attributes
    ----------
    law : GateLaw
        The gates, in units of the rows.

    scores : ndarray of shape (n_held_out,)
        Bounds of held-out rows.

    sums : ndarray of shape (2,)
        Sums over held-out rows: of the squares that codes leave, and of all squares.
    """

    law: GateLaw
    scores: DoubleArray
    sums: DoubleArray

    @property
    def have_patterns(self) -> bool:
        """Whether there are four patterns of open gates or more: the exponential of their entropy.

        If there are fewer, there is one normal distribution, or nearly.
        """
        p = self.law.gates.probability.double()
        entropy = float((torch.special.entr(p) + torch.special.entr(1 - p)).sum())
        return entropy >= math.log(4)

    @property
    def are_codes(self) -> bool:
        """Whether there are four patterns of open gates or more, and codes explain most of X."""
        left, total = self.sums
        return self.have_patterns and 2 * left <= (total or 1.0)


def compared_gates(
    rows: Prepared, wanted: Wanted, is_own: Any = True, point: Any = 0.0, *, share: float = 1.0
) -> ComparedGates:
    """Return gates of some training rows, relative to a point, after a share of the steps of a fit.

    As in the search for a mixture, gates of many features are sought in principal directions.
    """
    is_own = np.broadcast_to(is_own, len(rows.x))
    # In random order, because parts of the rows decide on the number of gates.
    train, valid = rows.order[(is_own & rows.is_train)[rows.order]], rows.valid
    valid, x, counts = valid[is_own[valid]], rows.x - point, rows.weights
    mean = np.average(x[train], axis=0, weights=counts[train])
    x = x - mean
    if x.shape[1] <= MAX_DIRECTIONS:
        directions, beside = np.eye(x.shape[1]), np.zeros(len(valid))
    else:
        directions = principal_directions(x[train])[1][:MAX_DIRECTIONS].copy()
        beside = _log_prob_beside(x, directions, train, valid)
    along = x @ directions.T
    squares = np.square(along[train]).mean(axis=1)
    scale = float(np.sqrt(np.average(squares, weights=counts[train]))) or 1.0
    y = as_tensor(along / scale, wanted.device)
    weights, new = torch.from_numpy(counts).to(y)[train], y[valid]
    wanted = wanted._replace(n_components=wanted.most, seed=0)
    em = make_em(y[train], weights, wanted, least_noise=noise_floor(rows) / scale**2)
    em.n_steps = round(share * em.n_steps)
    # Gates that are no better than one normal distribution need no further rounds.
    one = LedoitWolf().fit(y[train].cpu().numpy())
    least_nats = one.score(new.cpu().numpy()) if len(valid) else -math.inf
    with torch_threads_for(em.work_of_step):
        gates = em.fit(y[train], weights, least_nats)
    found = find_gates(new, gates)
    sizes = [float(part.square().sum()) for part in (new - gates.decode(found.posterior), new)]
    scores = found.log_prob.cpu().double().numpy() - y.shape[1] * math.log(scale) + beside
    gates = gates.in_units(0.0, scale)
    bias = torch.from_numpy(mean + gates.bias.cpu().double().numpy() @ directions)
    weight = gates.weight @ torch.from_numpy(directions).to(gates.weight)
    gates = gates._replace(weight=weight, bias=bias.to(gates.weight))
    return ComparedGates(GateLaw(gates, 0 * mean, 1.0), scores, scale**2 * np.array(sizes))


def _log_prob_beside(
    x: DoubleArray, directions: DoubleArray, train: np.ndarray, valid: np.ndarray
) -> DoubleArray:
    """Return the log-density of what rows have outside of some directions, as if it were noise."""
    squares = np.square(x - (x @ directions.T) @ directions).sum(axis=1)
    n_left = x.shape[1] - len(directions)
    noise = max(float(squares[train].mean()) / n_left, TINY)
    log_prob: DoubleArray = -0.5 * (squares[valid] / noise + n_left * np.log(2 * np.pi * noise))
    return log_prob


def compared_gates_at(rows: Prepared, wanted: Wanted, locations: Any) -> ComparedGates:
    """Return gates of rows relative to locations, each of which has its own latents.

    A location moves to the point at which all gates of its rows are closed.
    """
    labels, points, shares = locations.labels, locations.points.copy(), locations.shares
    scores = np.empty(len(rows.valid))
    found = [compared_gates(rows, wanted, labels == g, points[g]) for g in range(len(points))]
    each = [one.law.gates for one in found]
    for g, one in enumerate(found):
        points[g] += each[g].bias.double().numpy()
        scores[labels[rows.valid] == g] = one.scores + np.log(shares[g])
    names = "weight", *SLABS
    joined: Any = {name: torch.cat([getattr(gates, name) for gates in each]) for name in names}
    joined["noise_variance"] = torch.stack([gates.noise_variance for gates in each]).mean()
    gates = each[0]._replace(bias=torch.zeros_like(each[0].bias), **joined)
    owners = np.repeat(np.arange(len(points)), [len(gates.weight) for gates in each])
    law = GateLaw(gates, 0 * points[0], 1.0, points=points, owners=owners, shares=shares)
    return ComparedGates(law, scores, np.sum([one.sums for one in found], axis=0))


# --- gates that learn from batches --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GateStream(Record):
    """Gates that have learned from batches, and the state of their fit.

    Attributes
    ----------
    law : GateLaw
        The gates.

    past : dict of str to torch.Tensor
        `Sums` over the rows so far, which fade; with a target their means.

    length, share : float or None
        Mean number of open gates, or share of the variance that codes leave.

    n_rows, n_priced : float, default=0.0
        Number of rows so far, and when the prices of shorter codes were found: they are found anew
        when the number of rows has doubled, since this takes far longer than to learn.
    """

    law: GateLaw
    past: dict[str, Tensor]
    length: float | None
    share: float | None
    n_rows: float = 0.0
    n_priced: float = 0.0

    @classmethod
    def of(cls, law: GateLaw, wanted: Wanted, n_rows: float) -> Self:
        """Return the stream that goes on from fitted gates.

        The sums over rows so far are those that the gates expect.
        """
        past = expected_sums(law.gates, 1.0 if wanted.has_target else n_rows)
        n_rows = float(n_rows)
        return cls(law, past._asdict(), wanted.length, wanted.left, n_rows, n_rows)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.law.n_features

    def check(self) -> None:
        """Raise an error unless the sums, which can come from a file, match the gates."""
        if self.past.keys() != set(Sums._fields):
            raise ValueError(f"the sums must be {', '.join(Sums._fields)}")
        check_types(Sums, self.past)
        k = self.law.n_components
        check_fields(Sums, self.past, {"k": k, "m": k + 1, "d": self.n_features})
        if not 0 <= self.n_priced <= self.n_rows < math.inf:
            raise ValueError("there must be rows")

    def absorb(self, rows: Prepared) -> Self:
        """Return the stream after one more batch, which is learned from a subset at a time."""
        law = self.law
        if law.points is not None:
            # Gates of several locations stay as they are.
            return self
        x = law.scaled(rows.x * rows.scale + rows.center).to(law.gates.weight)
        weights = torch.from_numpy(rows.counts).to(x)
        wanted = Wanted(length=self.length, share=self.share and 1 - self.share)
        em = make_em(x, weights, wanted, gates=law.gates)
        em.past = Sums(**self.past)
        order = torch.from_numpy(rows.order.copy()).to(x.device)
        for some in order.tensor_split(max(len(x) // em.subset_rows, 1)):
            em.absorb(x[some], weights[some])
        n_rows = self.n_rows + len(x)
        is_due = law.table is not None and n_rows >= 2 * self.n_priced
        # All rows of a batch were learned, so none is new.
        prices = PriceSearch(em.gates, x[order], weights[order], 0, wanted)
        gates, table = prices.found(has_table=is_due, is_last=False)
        if law.table is not None and table is None:
            # What an open gate explains counts in units of the noise.
            stretch = float(law.gates.noise_variance / gates.noise_variance)
            table = law.table.moved(float(gates.price), stretch)
        past: Any = em.past
        return replace(
            self,
            law=replace(law, gates=gates, table=table),
            past=past._asdict(),
            n_rows=n_rows,
            n_priced=n_rows if is_due else self.n_priced,
        )
