"""What explains rows best: laws of their codes and of their density, compared on the same rows."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from skvaeense.explanations._em import MOST_DOUBLE, make_em
from skvaeense.explanations._flat_law import FlatLaw
from skvaeense.explanations._gate_law import GateLaw
from skvaeense.explanations._gates import Gates
from skvaeense.explanations._locations import (
    Locations,
    find_locations,
    meeting_point,
    of_groups,
    pooled,
)
from skvaeense.explanations._prices import PriceTable
from skvaeense.explanations._search import find_gates
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._em import (
    ABOVE,
    LEAST_VARIANCE,
    blur_of,
    edge,
    least_variance,
    local_size,
    spikes,
)
from skvaeense.mixture._fit import MAX_DIRECTIONS, FlatPart, FoundMixture, fit_mixture
from skvaeense.mixture._rows import Prepared
from skvaeense.utils._linalg import TINY, principal_directions, threads_for
from skvaeense.utils._processes import find_processes
from skvaeense.utils._rows import MAX_ENTRIES, MIN_ROWS_TO_SPLIT
from skvaeense.utils._torch import make_generator
from skvaeense.utils._typing import DoubleArray, IntArray

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

    @property
    def left(self) -> float | None:
        """Share of the variance that codes may leave, if it is given."""
        return None if self.share in ("auto", None) else 1 - float(self.share)


class Explained(NamedTuple):
    """What a fit has found, in units of the samples.

    Attributes
    ----------
    name : {"mixture", "gates", "normal", "share", "length"}
        What gives the codes, and sets their length.

    coder : FlatLaw or GateLaw
        The law of the codes.

    density : MixtureDensity or GateLaw
        The law with the most nats of held-out rows.

    mixture : MixtureDensity
        The mixture, which may be the density.

    nats : dict of str to float
        Mean log-density of held-out rows under each law that was compared: a "mixture", one
        "normal" distribution and, if they were fitted, "gates".

    n_rows : int
        Number of rows.
    """

    name: str
    coder: Any
    density: Any
    mixture: MixtureDensity
    nats: dict[str, float]
    n_rows: int


def explain(rows: Prepared, wanted: Wanted, known: Any = None) -> Explained:
    """Fit a mixture and gates to rows, compare them on the same held-out rows, and choose laws.

    The density is the law under which held-out rows are most probable. Gates give the codes if they
    surely explain held-out rows best, or flat parts if these are clear; otherwise codes keep a
    share of the variance. A wanted length comes first.

    Parameters
    ----------
    rows : Prepared
        The rows.

    wanted : Wanted
        What codes shall be like.

    known : GateLaw or None, default=None
        Gates of an earlier fit, in units of the samples, from which gates go on.

    Returns
    -------
    Explained
        The laws.
    """
    head = rows.head()
    with threads_for(head.known.size * head.known.shape[1]):
        fits = _GateFits(head, wanted)
        mixture = fit_mixture(head, rival=fits.rival)
        flats = _Flats.of(mixture, head.x, wanted)
        gates = fits.best(flats, mixture)
    nats = {"mixture": mixture.scores.mean(), "normal": mixture.scores_of_one.mean()}
    if gates is not None:
        nats["gates"] = nats["mixture"] + _gain(gates, mixture.scores).mean()
    name = _choose(mixture, flats, gates, wanted)
    wanted = wanted.for_codes(name)
    first = gates and gates.law
    if isinstance(known, GateLaw) and known.points is None:
        first = known.in_units(-rows.center / rows.scale, 1 / rows.scale)
    if name == "gates":
        coder: Any = gate_law(rows, wanted, first)
    elif name == "mixture":
        coder = flats.law(mixture.parts, len(head.x), wanted.n_components)
    elif name == "normal":
        coder = _one_flat(head, wanted.n_components, is_flat=flats.are_clear)
    else:
        coder = gate_law(rows, wanted, first if isinstance(known, GateLaw) else None)
    units = rows.center, rows.scale
    coder, found = coder.in_units(*units), mixture.density.in_units(*units)
    is_best = name == "gates" and gates is not None and max(nats, key=lambda k: nats[k]) == "gates"
    has_density = is_best and not rows.has_holes and coder.points is None
    shift = rows.known.shape[1] * math.log(rows.scale)
    nats = {key: float(value - shift) for key, value in nats.items()}
    density = coder if has_density else found
    return Explained(name, coder, density, found, nats, len(rows.x))


def _gain(gates: "_FoundGates", scores: DoubleArray) -> DoubleArray:
    """Return the nats by which held-out rows of the first split are more probable under gates."""
    return gates.scores - scores[: len(gates.scores)]


def _choose(
    mixture: FoundMixture, flats: "_Flats", gates: "_FoundGates | None", wanted: Wanted
) -> str:
    """Return the name of what gives the codes."""
    if wanted.has_target:
        return "share" if wanted.length is None else "length"
    if wanted.model == "gates":
        return "gates"
    if gates is not None and gates.are_codes:
        # If flat parts are clear, fewer numbers may describe the same patterns. If there are none,
        # gates must be more probable for sure.
        gain = _gain(gates, mixture.scores)
        least = gain.std() / math.sqrt(max(len(gain), 1))
        if flats.are_clear:
            saved = flats.n_numbers - gates.law.gates.weight.numel()
            least = -0.5 * saved * math.log(gates.n_rows) / gates.n_rows
        if gain.mean() > least:
            return "gates"
    if flats.are_clear:
        return "mixture" if len(flats.parts) > 1 else "normal"
    return "share" if wanted.share == "auto" and wanted.model == "auto" else "normal"


# --- flat parts ---------------------------------------------------------------------------------


class _Flats(NamedTuple):
    """Flat parts of rows, and whether they explain the rows.

    Attributes
    ----------
    parts : list of FlatPart
        The flat parts.

    groups : ndarray of int of shape (n_components,)
        Index of the flat part of each component.

    locations : Locations or None
        Points that the rows lie around, if there are several.

    are_clear : bool
        Whether the parts have few enough directions to give each a latent, stand clear of their
        noise, meet at their locations and hold most of the variance.
    """

    parts: list[FlatPart]
    groups: IntArray
    locations: Locations | None
    are_clear: bool

    @classmethod
    def of(cls, mixture: FoundMixture, x: DoubleArray, wanted: Wanted) -> Self:
        """Return the flat parts of rows that a mixture was fitted to."""
        n, pieces = len(x), mixture.parts
        parts, groups = _flats(pieces, n)
        n_latents = sum(part.rank for part in parts)
        # Directions have two signs.
        stand_clear = _stand_clear(parts, n, mixture.blur) and not wanted.positive
        if len(parts) == 1:
            are_clear = stand_clear and len(pieces) == 1
            # If no direction stands out, all are directions.
            holds_most = n_latents == 0 or _hold_most(parts, x - x.mean(axis=0))
            return cls(parts, groups, None, are_clear and holds_most)
        most = wanted.n_components or MAX_LATENTS
        are_clear = mixture.is_flat and 0 < n_latents <= most and stand_clear
        locations, meet = find_locations(mixture, x, (parts, groups) if are_clear else None)
        if not (are_clear and meet):
            return cls(parts, groups, locations, False)
        left = x - x.mean(axis=0)
        if locations is not None:
            left = x - locations.points[locations.assign(x)]
            # A code of 0 tells one location, and no more.
            of_part = [locations.groups[groups == k][0] for k in range(len(parts))]
            told = {g for g, part in zip(of_part, parts, strict=True) if part.rank}
            are_clear = len(locations) - len(told) <= 1
        return cls(parts, groups, locations, are_clear and _hold_most(pieces, left))

    @property
    def are_independent(self) -> bool:
        """Whether no direction is a combination of others: then no dictionary has fewer latents."""
        return _are_independent(np.concatenate([part.basis for part in self.parts]))

    @property
    def n_numbers(self) -> int:
        """Number of numbers that describe directions and positions of the parts."""
        return sum((part.rank + 1) * len(part.mean) for part in self.parts)

    def may_have_local_gates(self, pieces: list[FlatPart]) -> bool:
        """Return whether there are more directions than the hulls of the locations have."""
        if self.locations is None:
            return False
        hulls = [pooled(own) for own in of_groups(pieces, self.locations.groups)]
        n_directions = sum(part.rank for part in self.parts)
        return n_directions > sum(len(hull.variances) for hull in hulls)

    def law(self, pieces: list[FlatPart], n: int, n_components: int | None) -> FlatLaw:
        """Return the law of the parts."""
        if self.locations is None:
            points = meeting_point(self.parts, n)[0][None]
            owners = np.zeros(len(self.parts), dtype=int)
        else:
            points = self.locations.points
            first = [np.flatnonzero(self.groups == k)[0] for k in range(len(self.parts))]
            owners = self.locations.groups[first]
            # The location without latents is the first one, which a code of 0 means.
            ranks = np.bincount(owners, [part.rank for part in self.parts], len(points))
            order = np.argsort(ranks, kind="stable")
            points, owners = points[order], np.argsort(order)[owners]
        return FlatLaw.of(pieces, self.parts, self.groups, points, owners, n_components)


def _are_independent(directions: DoubleArray, least: float = 0.1) -> bool:
    """Return whether directions, as rows of norm 1, span as many dimensions as there are."""
    if len(directions) > directions.shape[1]:
        return False
    return len(directions) == 0 or bool(np.linalg.svd(directions, compute_uv=False)[-1] > least)


def _one_flat(rows: Prepared, n_components: int | None, *, is_flat: bool) -> FlatLaw:
    """Return the law of one flat part, along principal directions about the mean.

    These are the directions that stand out from noise. If none stands out, all directions that vary
    count.
    """
    x, weights = rows.x, rows.weights
    d, floor = x.shape[1], least_variance(local_size(x))
    mean = np.average(x, axis=0, weights=weights)
    root = np.sqrt(weights / weights.mean())[:, None]
    variances, directions = principal_directions((x - mean) * root)
    values = np.r_[variances, np.zeros(d - len(variances))]
    n = np.array([weights.sum() ** 2 / np.square(weights).sum()])
    r = int(spikes(values[None] + floor, np.zeros(1), d, n, floor)[0][0])
    # The last direction cannot stand out from itself.
    is_told = r < d - 1 or is_flat
    r = r if r > 0 and is_told else int((values > floor).sum())
    r = max(min(r, n_components or MAX_LATENTS), 1)
    noise = max(float(values[r:].sum()) / max(d - r, 1), floor)
    one = [FlatPart(1.0, mean, directions[:r], variances[:r], noise)]
    groups = np.zeros(1, dtype=int)
    return FlatLaw.of(one, one, groups, mean[None], groups, n_components)


def _hold_most(parts: list[FlatPart], centred: DoubleArray) -> bool:
    """Return whether flat parts leave less than half of the variance as noise."""
    left = sum(part.weight * part.noise_variance * (len(part.mean) - part.rank) for part in parts)
    return bool(2 * left <= np.square(centred).sum(axis=1).mean())


# --- gates --------------------------------------------------------------------------------------


class _FoundGates(NamedTuple):
    """Gates of training rows, and how well they explain held-out rows.

    Attributes
    ----------
    law : GateLaw
        The gates, in units of the rows.

    scores : ndarray of shape (n_held_out,)
        Bounds of held-out rows.

    sums : ndarray of shape (3,)
        Sums over held-out rows: of open gates, of the squares that codes leave, of all squares.

    n_rows : int
        Number of training rows.
    """

    law: GateLaw
    scores: DoubleArray
    sums: DoubleArray
    n_rows: int

    @property
    def are_codes(self) -> bool:
        """Whether codes explain most of the variance, and two rows differ in a gate on average.

        Otherwise there is one normal distribution, or nearly.
        """
        p, (_, left, total) = self.law.gates.probability, self.sums
        return float((2 * p * (1 - p)).sum()) >= 1 and 2 * left <= (total or 1.0)


@dataclass
class _GateFits:
    """Fits of gates to the rows that the first split of a search for mixtures trains on.

    Attributes
    ----------
    rows : Prepared
        The rows.

    wanted : Wanted
        What codes shall be like.
    """

    rows: Prepared
    wanted: Wanted

    @property
    def are_tried(self) -> bool:
        """Whether gates are compared with a mixture."""
        wanted, n = self.wanted, len(self.rows.known)
        return wanted.model == "auto" and not wanted.has_target and n >= MIN_ROWS_TO_SPLIT

    def rival(self, search: Any) -> DoubleArray | None:
        """Return scores that a mixture must reach; None if it may explain the rows by flat parts.

        With holes, a mixture is judged by the known values, but gates by filled rows.
        """
        best = search.best
        if not self.are_tried or self.rows.has_holes:
            return None
        if best.family.cut and "shared" not in vars(self):
            density = best.densities[0]
            found = density.directions.transpose(0, 2, 1).reshape(-1, density.directions.shape[1])
            if _are_independent(found[found.any(axis=1)]):
                return None
        return self.shared.scores if self.shared.are_codes else None

    def best(self, flats: _Flats, mixture: FoundMixture) -> _FoundGates | None:
        """Return the gates that are compared with a mixture, if any are."""
        if not self.are_tried:
            return None
        if flats.are_clear and flats.are_independent and "shared" not in vars(self):
            return None
        if not flats.may_have_local_gates(mixture.parts):
            return self.shared
        local = self.at(flats.locations)
        return max(self.shared, local, key=lambda found: found.scores.mean())

    @cached_property
    def shared(self) -> _FoundGates:
        """The gates that all rows share."""
        return self.fit()

    @cached_property
    def floor(self) -> float:
        """The floor of a mixture: so the two can be compared even without noise."""
        # What is filled in is between the values of columns with a step.
        return max(least_variance(local_size(self.rows.x)), blur_of(self.rows.steps))

    def at(self, locations: Any) -> _FoundGates:
        """Return gates of rows relative to locations, each of which has its own latents.

        A location moves to the point at which all gates of its rows are closed.
        """
        x, valid = self.rows.x, self.rows.valid
        labels, points, sums = locations.assign(x), locations.points.copy(), np.zeros(3)
        scores, each = np.empty(len(valid)), []
        shares = np.exp(locations.log_shares)
        for g, share in enumerate(shares):
            found = self.fit(labels == g, points[g])
            points[g] += found.law.gates.bias.double().numpy()
            scores[labels[valid] == g] = found.scores + np.log(share)
            sums += found.sums
            each.append(found.law.gates)
        own = "weight", "probability", "mean", "variance"
        joined: Any = {name: torch.cat([getattr(g, name) for g in each]) for name in own}
        noise = torch.stack([g.noise_variance for g in each]).mean()
        bias = torch.zeros_like(each[0].bias)
        gates = each[0]._replace(**joined, bias=bias, noise_variance=noise)
        owners = np.repeat(np.arange(len(points)), [len(g.weight) for g in each])
        law = GateLaw(gates, 0 * points[0], 1.0, points=points, owners=owners, shares=shares)
        return _FoundGates(law, scores, sums, len(x) - len(valid))

    def fit(self, is_own: Any = True, point: np.ndarray | float = 0.0) -> _FoundGates:
        """Return gates of some training rows, relative to a point.

        As in the search for a mixture, gates of many features are sought in principal directions.
        """
        is_own, positive = np.broadcast_to(is_own, len(self.rows.x)), self.wanted.positive
        train, valid = np.flatnonzero(is_own & self.rows.is_train), self.rows.valid
        valid, rows, counts = valid[is_own[valid]], self.rows.x - point, self.rows.weights
        mean = np.average(rows[train], axis=0, weights=counts[train])
        if rows.shape[1] <= MAX_DIRECTIONS:
            directions, beside = np.eye(rows.shape[1]), np.zeros(len(valid))
        else:
            directions = principal_directions(rows[train] - mean)[1][:MAX_DIRECTIONS].copy()
            beside = _log_prob_beside(rows - mean, directions, train, valid)
        x = (rows - mean) @ directions.T
        scale = float(np.sqrt(np.average(np.square(x[train]).mean(axis=1), weights=counts[train])))
        scale = scale or 1.0
        x = as_tensor(x / scale, self.wanted.device)
        weights = torch.from_numpy(counts).to(x)
        em = make_em(
            x[train],
            float(weights[train].sum()),
            generator=make_generator(0, x.device),
            n_components=self.wanted.n_components or MAX_LATENTS,
            positive=positive,
            least_noise=self.floor / scale**2,
        )
        # Gates that are no better than one normal distribution need no further rounds.
        one = LedoitWolf().fit(x[train].cpu().numpy())
        least_nats = one.score(x[valid].cpu().numpy()) if len(valid) else -math.inf
        gates = em.fit(x[train], weights[train], least_nats)
        found = find_gates(x[valid], gates)
        left = x[valid] - gates.decode(found.posterior)
        squares = scale**2 * float(left.square().sum()), scale**2 * float(x[valid].square().sum())
        scores = found.log_prob.cpu().double().numpy() - x.shape[1] * math.log(scale) + beside
        sums = np.array([float(found.posterior.is_open.sum()), *squares])
        gates = _turned(gates, mean, scale, directions)
        return _FoundGates(GateLaw(gates, 0 * mean, 1.0), scores, sums, len(train))


def _turned(gates: Gates, mean: DoubleArray, scale: float, directions: DoubleArray) -> Gates:
    """Return gates of scaled coordinates along directions in the units of the rows."""
    gates, turn = gates.in_units(0.0, scale), torch.from_numpy(directions)
    bias = torch.from_numpy(mean + gates.bias.cpu().double().numpy() @ directions)
    return gates._replace(weight=gates.weight @ turn.to(gates.weight), bias=bias.to(gates.weight))


def _in_unit(law: GateLaw, mean: DoubleArray, scale: float) -> Gates:
    """Return the gates of a law for samples with another centre and scale."""
    shift = torch.from_numpy((law.center - mean) / scale).to(law.gates.weight)
    return law.gates.in_units(0.0, law.scale / scale)._replace(
        bias=shift + law.gates.bias * (law.scale / scale)
    )


def as_tensor(x: DoubleArray, device: Any) -> torch.Tensor:
    """Return rows as a tensor; of many rows in single precision, which suffices."""
    rows = torch.from_numpy(x)
    rows = rows if x.size <= MOST_DOUBLE else rows.float()
    return rows.to(device)


def gate_law(rows: Prepared, wanted: Wanted, known: GateLaw | None) -> GateLaw:
    """Return the law of gates that are fitted to rows, in units of the rows.

    Parameters
    ----------
    rows : Prepared
        The rows, of which the held-out ones determine prices of open gates.

    wanted : Wanted
        What codes shall be like.

    known : GateLaw or None
        The first gates, if they are known.

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
    train = order if is_all else order[n_out:]
    x, counts = rows.x, rows.weights
    mean = np.average(x[train], axis=0, weights=counts[train])
    centred = x[order] - mean
    sizes = np.square(centred).mean(axis=1)
    scale = float(np.sqrt(np.average(sizes, weights=counts[order]))) or 1.0
    y = as_tensor(centred / scale, wanted.device)
    weights = torch.from_numpy(counts[order]).to(y)
    own = slice(len(order) - len(train), None)
    share = None if wanted.length is not None else wanted.left
    floor = max(least_variance(local_size(x)), blur_of(rows.steps)) / scale**2
    em = make_em(
        y[own],
        float(weights[own].sum()),
        generator=make_generator(wanted.seed, y.device),
        n_components=wanted.n_components,
        positive=wanted.positive,
        length=wanted.length,
        share=share,
        least_noise=floor,
        gates=None if known is None else _in_unit(known, mean, scale),
    )
    em.processes = find_processes()
    most = max(MAX_ENTRIES // len(em.gates.weight), em.subset_rows() * em.n_steps)
    # With a target, known gates still have to get used to their price.
    begun = 0.0 if known is None else 0.5 if wanted.has_target else 1.0
    em.fit(y[own][:most], weights[own][:most], begun=begun)
    gates = em.result(wanted.n_components)
    table = PriceTable.of(gates, y, weights, n_out, length=wanted.length, share=share)
    gates = gates._replace(price=gates.price.new_tensor(table.prices[0]))
    return GateLaw(gates, mean, scale, table, wanted.has_target)


def _log_prob_beside(
    rows: np.ndarray, directions: np.ndarray, train: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Return the log-density of what rows have outside of some directions, as if it were noise."""
    left = rows - (rows @ directions.T) @ directions
    n_left = rows.shape[1] - len(directions)
    squares = np.square(left).sum(axis=1)
    noise = max(float(squares[train].mean()) / n_left, TINY)
    log_prob: np.ndarray = -0.5 * (squares[valid] / noise + n_left * np.log(2 * np.pi * noise))
    return log_prob


def _stand_clear(parts: list[FlatPart], n: int, blur: float) -> bool:
    """Return whether most rows belong to parts whose directions stand clearly above their noise.

    If variances fall from direction to direction without a gap, the number of directions that
    stand out depends on the number of rows. If fewer directions are left than stand out, the noise
    is poorly known. Then the gap between these directions and the noise must be wider than the
    range of their variances. The same holds for a single part. Between the values of a column with
    a step nothing is known, so noise is at least the variance that smooths such columns.
    """
    is_clear = []
    for part in parts:
        least, most = part.variances.min(initial=np.inf), part.variances.max(initial=0.0)
        r, left = part.rank, len(part.mean) - part.rank
        most_noise = edge(max(part.noise_variance, blur), left, n * part.weight)
        gap = most / least if left < r or len(parts) == 1 else 0.0
        is_known = r > 0 or part.noise_variance > blur
        is_clear.append(is_known and least > most_noise * max(ABOVE, gap))
    return float(np.average(is_clear, weights=next(zip(*parts, strict=True)))) > 0.5


def _flats(
    pieces: list[FlatPart], n: int, origins: np.ndarray | float = 0.0
) -> tuple[list[FlatPart], np.ndarray]:
    """Return the flats that pieces lie in, relative to their origins, and the flat of each piece.

    A flat has the origin of its first piece, and the number of directions of each of its pieces.
    """
    shifts = np.broadcast_to(origins, (len(pieces), len(pieces[0].mean)))
    own = [
        piece._replace(mean=piece.mean - shift) for piece, shift in zip(pieces, shifts, strict=True)
    ]
    groups = _pieces(own, n)
    parts = []
    for g in range(groups.max() + 1):
        members = np.flatnonzero(groups == g)
        part, r = pooled([own[c] for c in members]), own[members[0]].rank
        part = part._replace(basis=part.basis[:r], variances=part.variances[:r])
        parts.append(part._replace(mean=part.mean + shifts[members[0]]))
    return parts, groups


def _pieces(parts: list[FlatPart], n: int) -> np.ndarray:
    """Return the index of each part's flat; parts of equal rank that lie in one flat share it."""
    groups = list(range(len(parts)))
    for i, part in enumerate(parts):
        for j in range(i):
            other = parts[j]
            if groups[j] == j and part.rank == other.rank:
                both = pooled([part, other])
                rows = np.array([n * both.weight])
                variances = np.r_[both.variances, np.zeros(1)][None] + both.noise_variance
                d, r = len(both.mean), part.rank
                rest = np.array([(d - variances.shape[1]) * both.noise_variance])
                floor = LEAST_VARIANCE * both.variances.sum() / d + TINY
                if 0 < r < d and spikes(variances, rest, d, rows, floor)[0][0] == r:
                    groups[i] = j
                    break
    return np.unique(groups, return_inverse=True)[1]
