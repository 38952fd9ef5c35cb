"""What explains rows best: the density of the rows, and the flat parts or gates that code them."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from skvaeense.explanations._em import MOST_DOUBLE, make_em
from skvaeense.explanations._gates import Gates
from skvaeense.explanations._locations import Locations, find_locations, of_groups, pooled
from skvaeense.explanations._rows import some_rows
from skvaeense.explanations._search import find_gates
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._covariance import ABOVE, LEAST_VARIANCE, edge, spikes
from skvaeense.mixture._em import blur_of, least_variance, local_size
from skvaeense.mixture._fit import FlatPart, FoundMixture, filled_rows, fit_mixture
from skvaeense.mixture._search import SEARCH_ROWS, held_out
from skvaeense.mixture._wide import MAX_DIRECTIONS
from skvaeense.utils._linalg import TINY, principal_directions, threads_for
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT, find_steps
from skvaeense.utils._typing import DoubleArray, IntArray


@dataclass(frozen=True)
class Explained:
    """What explains the samples of a fit: a density, and parts or gates for codes.

    Attributes
    ----------
    pieces : list of FlatPart
        The flat part of each component of the mixture.

    parts : list of FlatPart
        The flat parts. Pieces that lie in one flat are one.

    groups : ndarray of int of shape (n_components,)
        Index of the flat part that each piece belongs to.

    locations : Locations or None
        Points that the samples lie around, if there are several.

    gates : Gates or None
        The gates, if they give the codes; for samples relative to their locations.

    coder : {"mixture", "gates", "normal", "share", "points"}
        The explanation that gives the codes, as `choose_coder` decides.

    nats : dict of str to float
        Mean log-density of the held-out samples under each explanation: a "mixture", one "normal"
        distribution and, if they were fitted, "gates".

    density : MixtureDensity
        The density of the samples under the mixture.

    has_holes : bool
        Whether the samples had missing values, which this density can fill in.
    """

    pieces: list[FlatPart]
    parts: list[FlatPart]
    groups: IntArray
    locations: Locations | None
    gates: Gates | None
    coder: str
    nats: dict[str, float]
    density: MixtureDensity
    has_holes: bool = False

    @property
    def has_density_of_gates(self) -> bool:
        """Whether gates give the codes, and held-out samples are most probable under them.

        The samples must be complete, with one location.
        """
        is_best = max(self.nats, key=self.nats.__getitem__) == "gates"
        return self.gates is not None and is_best and not (self.has_holes or self.locations)

    def in_units(self, center: np.ndarray, scale: float) -> Self:
        """Return the explanation of the samples before they were centred and divided by a scale."""
        shift = len(center) * np.log(scale)
        origin = center if self.locations is None else 0
        return replace(
            self,
            pieces=[part.in_units(center, scale) for part in self.pieces],
            parts=[part.in_units(center, scale) for part in self.parts],
            locations=self.locations and self.locations.in_units(center, scale),
            gates=self.gates and self.gates.in_units(origin, scale),
            nats={name: value - shift for name, value in self.nats.items()},
            density=self.density.in_units(center, scale),
        )

    def within(self, mean: np.ndarray, scale: float) -> Self:
        """Return the explanation of the samples after centring and scaling."""
        return self.in_units(-mean / scale, 1 / scale)

    def as_one_flat(self, rows: np.ndarray, most: int) -> Self:
        """Return the explanation with one flat part, along principal directions about one location.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Samples.

        most : int
            Maximum number of directions, out of the directions that stand out from noise. If none
            stands out, all directions that vary count.

        Returns
        -------
        Explained
            The explanation with one flat part and one location.
        """
        (n, d), mean, floor = rows.shape, rows.mean(axis=0), least_variance(local_size(rows))
        variances, directions = principal_directions(rows - mean)
        values = np.r_[variances, np.zeros(d - len(variances))]
        r = int(spikes(values[None] + floor, np.zeros(1), d, np.array([n]), floor)[0][0])
        # The last direction cannot stand out from itself.
        is_told = r < d - 1 or self.coder == "normal"
        r = r if r > 0 and is_told else int((values > floor).sum())
        r = max(min(r, most), 1)
        noise = max(float(values[r:].sum()) / max(d - r, 1), floor)
        one = [FlatPart(1.0, mean, directions[:r], variances[:r], noise)]
        return replace(self, pieces=one, parts=one, groups=np.zeros(1, dtype=int), locations=None)


def explain(
    X: np.ndarray,
    max_latents: int,
    weights: DoubleArray | None = None,
    *,
    seed: int = 0,
    positive: bool = False,
    may_have_gates: bool = True,
) -> Explained:
    """Fit a mixture and gates to samples, and compare them on the same held-out samples.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units; NaN marks missing values.

    max_latents : int
        Largest total number of directions with which flat parts have their own latents, and largest
        number of latents with gates.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    seed : int, default=0
        Seed of the held-out samples, and of the places where components start.

    positive : bool, default=False
        Whether codes are not negative.

    may_have_gates : bool, default=True
        Whether gates may explain the samples.

    Returns
    -------
    Explained
        The explanation of the samples.
    """
    rng = np.random.RandomState(seed)
    known, weights, center, scale = some_rows(X, weights, rng)
    order = rng.permutation(len(known))
    with threads_for(known.size * known.shape[1]):
        x = filled_rows(known, weights, rng)
        valid, gates, rival = held_out(order[:SEARCH_ROWS])[0], None, None
        fits = _GateFits(known, x, weights, valid, max_latents, positive)
        if may_have_gates and len(x) >= MIN_ROWS_TO_SPLIT:
            gates = fits.fit()
            # With holes, a mixture is judged by the known values, but gates by filled rows.
            rival = gates.scores if gates.are_codes and x is known else None
        mixture = fit_mixture(known, weights, rng, order=order, rival=rival, filled=x)
        flats = _Flats.of(mixture, x, max_latents, positive=positive)
        nats = {"mixture": mixture.scores.mean(), "normal": mixture.scores_of_one.mean()}
        if gates is not None:
            if flats.may_have_local_gates(mixture.parts):
                local = fits.at(flats.locations)
                gates = max(gates, local, key=lambda found: found.scores.mean())
            scores = mixture.scores[: len(gates.scores)]
            nats["gates"] = nats["mixture"] + (gates.scores - scores).mean()
    coder = choose_coder(mixture, flats, gates)
    gates = gates if coder == "gates" else None
    explained = Explained(
        mixture.parts,
        flats.parts,
        flats.groups,
        flats.locations if gates is None else gates.locations,
        None if gates is None else gates.gates,
        coder,
        nats,
        mixture.density,
        has_holes=x is not known,
    )
    return explained.in_units(center, scale)


def choose_coder(
    mixture: FoundMixture, flats: "_Flats", gates: "_FoundGates | None"
) -> Literal["gates", "mixture", "normal", "share"]:
    """Return the name of the explanation that gives the codes.

    Gates do if held-out rows are surely more probable under them, and their codes explain most of
    the variance. Otherwise flat parts do, if they are few and clear of their noise; one such part
    is a normal distribution. If neither explains the rows, codes keep a share of the variance.
    """
    if gates is not None and gates.are_codes:
        # If the flat parts are patterns of the gates, the gates need not surpass their mixture.
        rival = mixture.scores_of_one if gates.are_simpler_than(flats) else mixture.scores
        gain = gates.scores - rival[: len(gates.scores)]
        if gain.mean() > gain.std() / np.sqrt(max(len(gain), 1)):
            return "gates"
    if not flats.are_clear:
        return "share"
    return "mixture" if len(flats.parts) > 1 else "normal"


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
    def of(cls, mixture: FoundMixture, x: DoubleArray, max_latents: int, *, positive: bool) -> Self:
        """Return the flat parts of rows that a mixture was fitted to."""
        n, pieces = len(x), mixture.parts
        parts, groups = _flats(pieces, n)
        n_latents = sum(part.rank for part in parts)
        stand_clear = _stand_clear(parts, n, mixture.blur)
        if len(parts) == 1:
            # With signs, principal components are not codes of one flat part.
            are_clear = stand_clear and len(pieces) == 1 and not positive
            # If no direction stands out, all are directions.
            holds_most = n_latents == 0 or _hold_most(parts, x - x.mean(axis=0))
            return cls(parts, groups, None, are_clear and holds_most)
        are_clear = mixture.is_flat and 0 < n_latents <= max_latents and stand_clear
        locations, meet = find_locations(mixture, x, (parts, groups) if are_clear else None)
        if not (are_clear and meet):
            return cls(parts, groups, locations, False)
        left = x - x.mean(axis=0)
        if locations is not None:
            # Relative to their locations, more parts can lie in one flat.
            parts, groups = _flats(pieces, n, locations.points[locations.groups])
            left = x - locations.points[locations.assign(x)]
        return cls(parts, groups, locations, _hold_most(pieces, left))

    def may_have_local_gates(self, pieces: list[FlatPart]) -> bool:
        """Return whether there are more directions than the hulls of the locations have."""
        if self.locations is None:
            return False
        hulls = [pooled(own) for own in of_groups(pieces, self.locations.groups)]
        n_directions = sum(part.rank for part in self.parts)
        return n_directions > sum(len(hull.variances) for hull in hulls)


def _hold_most(parts: list[FlatPart], centred: DoubleArray) -> bool:
    """Return whether flat parts leave less than half of the variance as noise."""
    left = sum(part.weight * part.noise_variance * (len(part.mean) - part.rank) for part in parts)
    return bool(2 * left <= np.square(centred).sum(axis=1).mean())


class _FoundGates(NamedTuple):
    """Gates of training rows relative to locations, and how well they explain held-out rows.

    Attributes
    ----------
    gates : Gates
        The gates.

    scores : ndarray of shape (n_held_out,)
        Bounds of held-out rows.

    sums : ndarray of shape (3,)
        Sums over held-out rows: of open gates, of the squares that codes leave, of all squares.

    locations : Locations or None
        The locations, if there are several.
    """

    gates: Gates
    scores: DoubleArray
    sums: DoubleArray
    locations: Locations | None = None

    @property
    def are_codes(self) -> bool:
        """Whether codes explain most of the variance, and two rows differ in a gate on average.

        Otherwise there is one normal distribution, or nearly.
        """
        p, (_, left, total) = self.gates.probability, self.sums
        return float((2 * p * (1 - p)).sum()) >= 1 and 2 * left <= (total or 1.0)

    def are_simpler_than(self, flats: _Flats) -> bool:
        """Return whether clear flat parts have more latents and longer codes than the gates.

        This is so if the parts are patterns of one dictionary. Then gates only have to surpass one
        normal distribution, not the mixture of the patterns.
        """
        ranks, weights = zip(*((part.rank, part.weight) for part in flats.parts), strict=True)
        has_fewer = len(self.gates.weight) < sum(ranks)
        length = self.sums[0] / max(len(self.scores), 1)
        return flats.are_clear and has_fewer and length < float(np.dot(ranks, weights))


@dataclass
class _GateFits:
    """Fits of gates to the rows that the first split of a search for mixtures trains on.

    Attributes
    ----------
    known, x : ndarray of shape (n_rows, n_features)
        Rows, with NaN for missing values, and with these values filled in.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    valid : ndarray of int
        Positions of the held-out rows.

    max_latents : int
        Largest number of latents.

    positive : bool
        Whether codes are not negative.
    """

    known: DoubleArray
    x: DoubleArray
    weights: DoubleArray
    valid: IntArray
    max_latents: int
    positive: bool

    @cached_property
    def floor(self) -> float:
        """The floor of a mixture: so the two can be compared even without noise."""
        # What is filled in is between the values of columns with a step.
        steps = find_steps(self.known, self.weights)
        return max(least_variance(local_size(self.x)), blur_of(steps))

    def at(self, locations: Any) -> _FoundGates:
        """Return gates of rows relative to locations, each of which has its own latents.

        A location moves to the point at which all gates of its rows are closed.
        """
        labels, points, sums = locations.assign(self.x), locations.points.copy(), np.zeros(3)
        scores, each = np.empty(len(self.valid)), []
        for g, share in enumerate(np.exp(locations.log_shares)):
            gates, own_scores, own_sums, _ = self.fit(labels == g, points[g])
            points[g] += gates.bias.double().numpy()
            scores[labels[self.valid] == g] = own_scores + np.log(share)
            sums += own_sums
            each.append(gates._replace(probability=share * gates.probability))
        own = "weight", "probability", "mean", "variance"
        joined: Any = {name: torch.cat([getattr(g, name) for g in each]) for name in own}
        noise = torch.stack([g.noise_variance for g in each]).mean()
        bias = torch.zeros_like(each[0].bias)
        gates = each[0]._replace(**joined, bias=bias, noise_variance=noise)
        return _FoundGates(gates, scores, sums, replace(locations, points=points))

    def fit(self, is_own: Any = True, point: np.ndarray | float = 0.0) -> _FoundGates:
        """Return gates of some training rows, relative to a point.

        As in the search for a mixture, gates of many features are sought in principal directions.
        """
        is_own = np.broadcast_to(is_own, len(self.x))
        train = np.setdiff1d(np.flatnonzero(is_own), self.valid)
        valid, rows = self.valid[is_own[self.valid]], self.x - point
        mean = rows[train].mean(axis=0)
        if rows.shape[1] <= MAX_DIRECTIONS:
            directions, beside = np.eye(rows.shape[1]), np.zeros(len(valid))
        else:
            directions = principal_directions(rows[train] - mean)[1][:MAX_DIRECTIONS].copy()
            beside = _log_prob_beside(rows - mean, directions, train, valid)
        x = (rows - mean) @ directions.T
        scale = float(np.sqrt(np.square(x[train]).mean())) or 1.0
        x = torch.from_numpy(x / scale)
        x = x if x.numel() <= MOST_DOUBLE else x.float()
        weights = torch.from_numpy(self.weights).to(x)
        em = make_em(
            x[train],
            float(weights[train].sum()),
            generator=torch.Generator().manual_seed(0),
            n_components=self.max_latents,
            positive=self.positive,
            least_noise=self.floor / scale**2,
        )
        # Gates that are no better than one normal distribution need no further rounds.
        one = LedoitWolf().fit(x[train].numpy())
        least_nats = one.score(x[valid].numpy()) if len(valid) else -math.inf
        gates = em.fit(x[train], weights[train], least_nats)
        found = find_gates(x[valid], gates)
        left = x[valid] - gates.decode(found.posterior)
        squares = [scale**2 * float(values.square().sum()) for values in (left, x[valid])]
        gates = gates.in_units(0.0, scale)
        bias = mean + gates.bias.double().numpy() @ directions
        gates = gates._replace(
            weight=gates.weight @ torch.from_numpy(directions).to(x),
            bias=torch.from_numpy(bias).to(x),
        )
        scores = found.log_prob.double().numpy() - x.shape[1] * math.log(scale) + beside
        sums = np.array([float(found.posterior.is_open.sum()), *squares])
        return _FoundGates(gates, scores, sums)


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
    return float(np.average(is_clear, weights=[part.weight for part in parts])) > 0.5


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
