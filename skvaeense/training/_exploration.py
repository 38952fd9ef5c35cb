"""Exploration of the samples of a fit, before training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from skvaeense.dimension._noise import ABOVE
from skvaeense.explanations import Gates
from skvaeense.explanations._em import MOST_DOUBLE, make_em
from skvaeense.explanations._search import find_gates
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._covariance import LEAST_VARIANCE, edge, rank_and_noise, spikes
from skvaeense.mixture._em import least_variance, local_size
from skvaeense.mixture._fit import (
    MAX_DIRECTIONS,
    FlatPart,
    FoundMixture,
    fit_mixture,
    merged,
    units_of,
)
from skvaeense.mixture._search import Search, Trial
from skvaeense.priors._samples import MAX_ENTRIES
from skvaeense.samples._scaling import checked_scale
from skvaeense.training._locations import Locations, find_locations, of_groups, pooled
from skvaeense.training._sizes import MIN_ROWS_TO_SPLIT
from skvaeense.utils._linalg import TINY, principal_directions, threads_for
from skvaeense.utils._rows import MANY_ROWS
from skvaeense.utils._typing import DoubleArray

# Largest share of the rows that is ever left out.
MAX_FAR_SHARE = 0.05
# Beyond this multiple of the typical size of rows, rounding of squares reaches the least variance.
FAR = float(np.sqrt(LEAST_VARIANCE / np.finfo(float).eps))


@dataclass
class Exploration:
    """The flat parts of the samples of a fit, and what explains them best.

    Attributes
    ----------
    found : FoundMixture
        The mixture, in units of the samples.

    kind : {"mixture", "gates", "dense", "points"}
        The explanation under which held-out rows are most probable: flat parts that are few enough
        to have their own latents ("mixture"), gates over a dictionary ("gates"), or neither
        ("dense", or "points" if parts are points).

    groups : ndarray of int of shape (n_components,)
        Index of the flat part that each component of the mixture belongs to.

    parts : list of FlatPart
        The flat parts.

    is_certain : bool
        Whether the directions of most parts stand clearly above their noise.

    are_patterns : bool
        Whether flat parts would explain the samples, but most of them share directions, so that a
        dictionary needs fewer latents.

    locations : Locations or None
        Points that the samples lie around, if there are several.

    nats : dict of str to float
        Mean log-density of held-out rows under each explanation that was tried.

    density : MixtureDensity or None
        The density of the samples, if the search for it was completed.

    gates : Gates or None
        The gates, if they explain the samples; for samples relative to their locations.
    """

    found: FoundMixture
    kind: str
    groups: np.ndarray
    parts: list[FlatPart]
    is_certain: bool
    are_patterns: bool
    locations: Locations | None
    nats: dict[str, float]
    density: MixtureDensity | None
    gates: Gates | None = None

    @property
    def is_flat(self) -> bool:
        """Whether samples lie near one flat part."""
        return len(self.found.parts) == 1 and self.is_certain

    @property
    def normal_nats(self) -> float:
        """The largest mean log-density of held-out rows under normal distributions.

        If flat parts are patterns of one dictionary, only a single distribution counts.
        """
        names = ["dense"] if self.are_patterns else ["dense", "mixture"]
        return max(self.nats[name] for name in names if name in self.nats)

    def in_units(self, center: np.ndarray, scale: float) -> Self:
        """Return the exploration of the samples before they were centred and divided by a scale."""
        shift = len(center) * np.log(scale)
        found = self.found._replace(
            density=self.found.density.in_units(center, scale),
            parts=[_moved(part, center, scale) for part in self.found.parts],
            nats={name: value - shift for name, value in self.found.nats.items()},
        )
        return replace(
            self,
            found=found,
            parts=[_moved(part, center, scale) for part in self.parts],
            locations=self.locations and self.locations.in_units(center, scale),
            density=self.density and self.density.in_units(center, scale),
            gates=self.gates
            and self.gates.in_units(center if self.locations is None else 0, scale),
            nats={name: value - shift for name, value in self.nats.items()},
        )

    def as_one_flat(self, rows: np.ndarray, most: int) -> Self:
        """Return the exploration with one flat part, along principal directions about one location.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Samples.

        most : int
            Maximum number of directions, out of the directions that stand out from noise. If none
            stands out, all directions that vary count.

        Returns
        -------
        Exploration
            The exploration with one flat part and one location.
        """
        (n, d), mean, floor = rows.shape, rows.mean(axis=0), least_variance(local_size(rows))
        variances, directions = principal_directions(rows - mean)
        values = np.r_[variances, np.zeros(d - len(variances))]
        r, _ = rank_and_noise(values, n, floor)
        # The last direction cannot stand out from itself.
        is_told = r < d - 1 or self.is_flat
        r = r if r > 0 and is_told else int((values > floor).sum())
        r = max(min(r, most), 1)
        noise = max(float(values[r:].sum()) / max(d - r, 1), floor)
        part = FlatPart(1.0, mean, directions[:r], variances[:r], noise)
        found = self.found._replace(parts=[part])
        return replace(
            self, found=found, parts=[part], groups=np.zeros(1, dtype=int), locations=None
        )

    def within(self, mean: np.ndarray, scale: float) -> Self:
        """Return the exploration of the samples after centring and scaling."""
        return self.in_units(-mean / scale, 1 / scale)


def far_rows(X: np.ndarray, density: MixtureDensity) -> np.ndarray:
    """Return the positions of rows that no component explains, and that would outweigh all others.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    density : MixtureDensity
        The mixture of the samples.

    Returns
    -------
    ndarray of int
        Ascending positions; empty if far rows are many, or have less variance than the others.
    """
    if density.background is None:
        return np.empty(0, dtype=int)
    # Beyond this reach, squares can overflow.
    reach = FAR * np.sqrt(density.background.spreads.max()) * density.unit
    within = np.clip(X, density.center - reach, density.center + reach)
    far = density.background_share(within) > 0.5
    if not 0 < far.mean() <= MAX_FAR_SHARE:
        return np.empty(0, dtype=int)
    squares = np.square((X - X[~far].mean(axis=0)) / np.abs(X).max()).sum(axis=1)
    return np.flatnonzero(far & (squares[far].sum() > squares[~far].sum()))


def _some_outweigh(X: np.ndarray) -> bool:
    """Return whether a few rows may have more of the variance than all others.

    This check is faster than a search for far rows. A few rows do not move the median far. So if a
    few rows outweigh the others, the farthest rows have at least half the others' sum of squares
    about the median.
    """
    n_few = int(MAX_FAR_SHARE * len(X))
    size = float(np.abs(X).max())
    if n_few == 0 or size == 0:
        return False
    squares = np.square((X - np.median(X, axis=0)) / size).sum(axis=1)
    few = np.partition(squares, len(X) - n_few)[-n_few:].sum()
    return bool(2 * few >= squares.sum() - few)


def find_far_rows(
    X: np.ndarray, weights: DoubleArray | None = None, density: MixtureDensity | None = None
) -> np.ndarray:
    """Return the positions of rows that are far from most others, and would outweigh them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    density : MixtureDensity or None, default=None
        The mixture of the samples, if it is known. It is used if a small mixture finds no far rows.

    Returns
    -------
    ndarray of int
        Ascending positions.
    """
    X = X.astype(np.float64)
    if not _some_outweigh(X):
        return np.empty(0, dtype=int)
    rows, center, scale, weights = _some_rows(X, weights, np.random.RandomState(0))
    # The first round of a search suffices to find rows that no component explains.
    found = fit_mixture(rows, weights, np.random.RandomState(0), stop=lambda search: True)
    far = far_rows(X, found.density.in_units(center, scale))
    # At times a component of the small mixture, or of the large one, takes in far rows.
    return far if len(far) or density is None else far_rows(X, density)


def density_with_holes(X: np.ndarray, weights: DoubleArray | None = None) -> MixtureDensity:
    """Return the density of samples with missing values.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units; NaN marks missing values.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    Returns
    -------
    MixtureDensity
        The density, in the same units.
    """
    rng = np.random.RandomState(0)
    rows, center, scale, weights = _some_rows(X, weights, rng)
    return fit_mixture(rows, weights, rng).density.in_units(center, scale)


def _some_rows(
    X: np.ndarray, weights: DoubleArray | None, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return distinct rows of a subsample, centred and scaled, their centre, scale and weights."""
    n = min(len(X), MANY_ROWS, max(MAX_ENTRIES // X.shape[1], 1))
    some = np.sort(rng.permutation(len(X))[:n])
    rows = X[some].astype(np.float64)
    weights = np.ones(n) if weights is None else weights[some]
    center, scale = units_of(rows, weights)
    with np.errstate(over="ignore"):
        # In units of this scale, no more rows than can be left out lie beyond FAR.
        sizes = np.abs(np.nan_to_num(rows - center)).max(axis=1)
        far = float(np.quantile(sizes, 1 - MAX_FAR_SHARE)) / FAR
        scale = checked_scale(max(scale, far))
        # Clipping at twice FAR does not cut a far part in two.
        rows = np.clip((rows - center) / scale, -2 * FAR, 2 * FAR)
    rows, weights = merged(rows, weights)
    return rows, center, scale, weights


def _moved(part: FlatPart, center: np.ndarray, scale: float) -> FlatPart:
    return part._replace(
        mean=center + scale * part.mean,
        variances=scale**2 * part.variances,
        noise_variance=scale**2 * part.noise_variance,
    )


def explore(
    X: np.ndarray,
    max_latents: int,
    weights: DoubleArray | None = None,
    *,
    positive: bool = False,
    may_have_gates: bool = True,
) -> Exploration:
    """Find the flat parts of samples, and what explains the samples best.

    The result is the same for the same X, whatever the random state of the fit.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units.

    max_latents : int
        Largest total number of directions with which flat parts have their own latents, and largest
        number of latents with gates.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    positive : bool, default=False
        Whether codes are not negative.

    may_have_gates : bool, default=True
        Whether gates may explain the samples.

    Returns
    -------
    Exploration
        The exploration of the samples.
    """
    rng = np.random.RandomState(0)
    rows, center, scale, weights = _some_rows(X, weights, rng)
    with threads_for(rows.size * rows.shape[1]):
        may_have_gates = may_have_gates and len(rows) >= MIN_ROWS_TO_SPLIT
        rival = _Rival(rows, weights, max_latents, positive) if may_have_gates else None
        found = fit_mixture(rows, weights, rng, stop=None if rival is None else rival.end_search)
        parts, groups = _flats(found.parts, len(rows))
        n_latents = sum(len(part.variances) for part in parts)
        is_whole = found.is_flat and found.is_complete and 0 < n_latents <= max_latents
        is_certain = _stand_clear(parts, len(rows))
        is_mixture = is_whole and is_certain and len(parts) > 1
        locations, are_patterns = None, False
        if len(parts) > 1:
            flats = (parts, groups) if is_mixture else None
            locations, meet = find_locations(found, rows, flats)
            if is_mixture and meet and locations is not None:
                # Relative to their locations, more parts can lie in one flat.
                origins = locations.points[locations.groups]
                parts, groups = _flats(found.parts, len(rows), origins)
            are_patterns = is_mixture and meet and _are_patterns(parts, len(rows))
            is_mixture = is_mixture and meet and not are_patterns
        nats, gates = dict(found.nats), None
        if rival is not None:
            rival.least_nats = nats["dense" if are_patterns else "mixture"]
            best = rival.at(locations if _may_be_local(locations, found, parts) else None)
            nats["gates"] = best.nats
            if best.explains and best.nats > rival.least_nats + best.error:
                gates, locations = best.gates, best.locations
    kind = "gates" if gates else "mixture" if is_mixture else "dense"
    density = found.density if found.is_complete else None
    explored = Exploration(
        found, kind, groups, parts, is_certain, are_patterns, locations, nats, density, gates
    )
    return explored.in_units(center, scale)


def _may_be_local(locations: Locations | None, found: FoundMixture, parts: list[FlatPart]) -> bool:
    """Return whether flat parts have more directions than the hulls of their locations."""
    if locations is None:
        return False
    hulls = [pooled(own) for own in of_groups(found.parts, locations.groups)]
    n_directions = sum(len(part.variances) for part in parts)
    return n_directions > sum(len(hull.variances) for hull in hulls)


class _Fitted(NamedTuple):
    """Gates of training rows relative to locations, and how well they explain held-out rows.

    Attributes
    ----------
    gates : Gates
        The gates.

    nats, error : float
        Mean bound of held-out rows, and its standard error.

    explains : bool
        Whether codes of held-out rows explain more of the variance than they leave, and whether two
        rows differ in at least one gate on average. Otherwise there is one normal distribution, or
        nearly.

    locations : Locations or None
        The locations, if there are several.
    """

    gates: Gates
    nats: float
    error: float
    explains: bool
    locations: Locations | None

    @classmethod
    def of(
        cls,
        each: Sequence[Gates],
        scores: np.ndarray,
        left: float,
        total: float,
        locations: Locations | None,
    ) -> Self:
        """Return the gates of all locations, given bounds and squared errors of held-out rows."""
        first, n = each[0], max(len(scores), 1)
        weight, probability, mean, variance = (
            torch.cat(values) for values in zip(*((g[0], *g[2:5]) for g in each), strict=True)
        )
        gates = first._replace(
            weight=weight,
            probability=probability,
            mean=mean,
            variance=variance,
            noise_variance=torch.stack([g.noise_variance for g in each]).mean(),
        )
        are_patterns = float((2 * probability * (1 - probability)).sum()) >= 1
        error = float(scores.std() / np.sqrt(n))
        return cls(
            gates, float(scores.mean()), error, 2 * left <= total and are_patterns, locations
        )


class _Rival:
    """Compare gates over a dictionary with a mixture that has grown large."""

    def __init__(
        self, rows: np.ndarray, weights: DoubleArray, max_latents: int, positive: bool
    ) -> None:
        order = np.random.RandomState(0).permutation(len(rows))
        n_out = len(rows) // 5
        self.valid, self.train = order[:n_out], order[n_out:]
        self.rows, self.weights = rows, weights
        self.max_latents, self.positive = max_latents, positive
        # The floor of a mixture: so the two can be compared even without noise.
        self.floor = least_variance(local_size(rows))
        self.before: Trial | None = None
        # Gates with fewer nats need no further rounds.
        self.least_nats = -np.inf

    def end_search(self, search: Search) -> bool:
        """Return whether to end a search, since it cannot find a mixture that makes a better code.

        It cannot if the same gain in every further round would leave the mixture behind the gates,
        or if the mixture has more directions than the maximum number of latents. In the second case
        a search with few features goes on, for the density.
        """
        best, one = search.best, search.one
        before, self.before = self.before or one, best
        n_directions = best.densities[0].n_directions.sum()
        if n_directions <= one.densities[0].n_directions.sum():
            return False
        # A round adds half the present number of components.
        n_rounds = np.log(max(search.most / best.size, 1.0)) / np.log(1.5)
        reach = best.mean + n_rounds * max(best.mean - before.mean, 0.0)
        is_wide = self.rows.shape[1] > MAX_DIRECTIONS
        is_too_large = is_wide and n_directions > self.max_latents
        self.least_nats = best.mean
        gates = self.anywhere
        return bool(is_too_large or (gates.explains and gates.nats > reach + gates.error))

    @cached_property
    def anywhere(self) -> _Fitted:
        """The gates of rows with one location."""
        return self._fitted(None)

    def at(self, locations: Locations | None) -> _Fitted:
        """Return the better gates: of rows relative to locations, or of rows with one location."""
        if locations is None:
            return self.anywhere
        return max(self._fitted(locations), self.anywhere, key=lambda fitted: fitted.nats)

    def _fitted(self, locations: Locations | None) -> _Fitted:
        """Return gates of rows relative to locations, which have latents of their own.

        A location moves to the point at which all gates of its rows are closed.
        """
        if locations is None:
            gates, scores, left, total = self._gates_of(np.ones(len(self.rows), dtype=bool), 0.0)
            return _Fitted.of([gates], scores, left, total, None)
        labels = locations.assign(self.rows)
        found: list[Any] = []
        points = locations.points.copy()
        for g, share in enumerate(np.exp(locations.log_shares)):
            gates, *others = self._gates_of(labels == g, points[g])
            points[g] += gates.bias.double().numpy()
            others[0] = others[0] + np.log(share)
            closed = gates._replace(
                bias=torch.zeros_like(gates.bias), probability=share * gates.probability
            )
            found.append((closed, *others))
        locations = replace(locations, points=points)
        scores = np.concatenate([scores for _, scores, *_ in found])
        left, total = np.sum([errors for _, _, *errors in found], axis=0)
        return _Fitted.of([gates for gates, *_ in found], scores, left, total, locations)

    def _gates_of(
        self, is_own: np.ndarray, point: np.ndarray | float
    ) -> tuple[Gates, np.ndarray, float, float]:
        """Return gates of some training rows, and bounds and errors of held-out rows.

        As in the search for a mixture, gates of many features are sought in principal directions.
        """
        train, valid = (some[is_own[some]] for some in (self.train, self.valid))
        rows = self.rows - point
        mean, directions = rows[train].mean(axis=0), np.eye(rows.shape[1])
        beside = np.zeros(len(valid))
        if rows.shape[1] > MAX_DIRECTIONS:
            directions = principal_directions(rows[train] - mean)[1][:MAX_DIRECTIONS].copy()
            beside = _log_prob_beside(rows - mean, directions, train, valid)
        scale = float(np.sqrt(np.square((rows[train] - mean) @ directions.T).mean())) or 1.0
        x = torch.from_numpy((rows - mean) @ directions.T / scale)
        x = x if x.numel() <= MOST_DOUBLE else x.float()
        shift = x.shape[1] * math.log(scale)
        weights = torch.from_numpy(self.weights).to(x)
        em = make_em(
            x[train],
            float(weights[train].sum()),
            generator=torch.Generator().manual_seed(0),
            n_components=self.max_latents,
            positive=self.positive,
            least_noise=self.floor / scale**2,
        )
        least_nats = self.least_nats - float(beside.mean() if len(beside) else 0.0) + shift
        gates = em.fit(x[train], weights[train], least_nats)
        found = find_gates(x[valid], gates)
        left = scale**2 * float((x[valid] - gates.decode(found.posterior)).square().sum())
        total = scale**2 * float(x[valid].square().sum())
        gates = gates.in_units(0.0, scale)
        whole = gates._replace(
            weight=gates.weight @ torch.from_numpy(directions).to(x),
            bias=torch.from_numpy(mean + gates.bias.double().numpy() @ directions).to(x),
        )
        return whole, found.log_prob.double().numpy() - shift + beside, left, total


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


def _stand_clear(parts: list[FlatPart], n: int) -> bool:
    """Return whether most rows belong to parts whose directions stand clearly above their noise.

    If variances fall from direction to direction without a gap, the number of directions that
    stand out depends on the number of rows. If fewer directions are left than stand out, the noise
    is poorly known. Then the gap between these directions and the noise must be wider than the
    range of their variances. The same holds for a single part.
    """
    is_clear = []
    for part in parts:
        least, most = part.variances.min(initial=np.inf), part.variances.max(initial=0.0)
        r, left = len(part.variances), len(part.mean) - len(part.variances)
        most_noise = edge(part.noise_variance, left, n * part.weight)
        gap = most / least if left < r or len(parts) == 1 else 0.0
        is_clear.append(least > most_noise * max(ABOVE, gap))
    return float(np.average(is_clear, weights=[part.weight for part in parts])) > 0.5


def _are_patterns(parts: list[FlatPart], n: int) -> bool:
    """Return whether most parts share a direction with another part, as patterns of atoms do.

    Unrelated subspaces share no direction if there is room for both. The directions of a part are
    known up to noise of the variance g / (v n).
    """
    d = len(parts[0].mean)
    shares = np.zeros(len(parts), dtype=bool)
    errors = [
        part.noise_variance * d / (part.variances.min(initial=np.inf) * n * part.weight)
        for part in parts
    ]
    for i, part in enumerate(parts):
        for j, other in enumerate(parts[:i]):
            ranks = len(part.variances), len(other.variances)
            if min(ranks) and sum(ranks) <= d:
                cosines = np.linalg.svd(part.basis @ other.basis.T, compute_uv=False)
                common = 1 - np.square(cosines) <= errors[i] + errors[j]
                # A part that lies within another, as a line in a plane, is no pattern.
                if common.any() and not common.all():
                    shares[[i, j]] = True
    weights = np.array([part.weight for part in parts])
    return bool(weights @ shares > 0.5 * weights.sum())


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
        part, r = pooled([own[c] for c in members]), len(own[members[0]].variances)
        part = part._replace(basis=part.basis[:r], variances=part.variances[:r])
        parts.append(part._replace(mean=part.mean + shifts[members[0]]))
    return parts, groups


def _pieces(parts: list[FlatPart], n: int) -> np.ndarray:
    """Return the index of each part's flat; parts of equal rank that lie in one flat share it."""
    groups = list(range(len(parts)))
    for i, part in enumerate(parts):
        for j in range(i):
            other = parts[j]
            if groups[j] == j and len(part.variances) == len(other.variances):
                both = pooled([part, other])
                rows = np.array([n * both.weight])
                variances = np.r_[both.variances, np.zeros(1)][None] + both.noise_variance
                d, r = len(both.mean), len(part.variances)
                rest = np.array([(d - variances.shape[1]) * both.noise_variance])
                floor = LEAST_VARIANCE * both.variances.sum() / d + TINY
                if 0 < r < d and spikes(variances, rest, d, rows, floor)[0][0] == r:
                    groups[i] = j
                    break
    return np.unique(groups, return_inverse=True)[1]
