"""Exploration of the samples of a fit, before training."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.stats import norm

from skvaeense.dimension._noise import ABOVE
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
from skvaeense.training._independent_codes import IndependentCodes
from skvaeense.training._locations import (
    Locations,
    at_origins,
    find_locations,
    of_groups,
    pooled,
)
from skvaeense.training._scaling import checked_scale
from skvaeense.utils._blocks import MANY_ROWS
from skvaeense.utils._principal import principal_directions
from skvaeense.utils._rounding import TINY
from skvaeense.utils._threads import threads_for
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

    kind : {"mixture", "dictionary", "dense", "points", "gates"}
        The explanation under which held-out rows are most probable: flat parts that are few enough
        to have their own latents ("mixture"), independent codes ("dictionary"), or neither
        ("dense", or "points" if parts are points); "gates" if training finds gates better.

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


def explore(X: np.ndarray, max_latents: int, weights: DoubleArray | None = None) -> Exploration:
    """Find the flat parts of samples, and what explains the samples best.

    The result is the same for the same X, whatever the random state of the fit.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units.

    max_latents : int
        Largest total number of directions with which flat parts have their own latents.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    Returns
    -------
    Exploration
        The exploration of the samples.
    """
    rng = np.random.RandomState(0)
    rows, center, scale, weights = _some_rows(X, weights, rng)
    with threads_for(rows.size * rows.shape[1]):
        codes = _Codes(rows, rng, max_latents)
        found = fit_mixture(rows, weights, rng, stop=codes.end_search)
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
        is_local = locations is not None and codes.gain_from(locations, found, parts)
        others = found.nats["dense" if are_patterns else "mixture"]
        is_dictionary = codes.are_better_than(others, is_normal=len(found.parts) == 1)
        if is_dictionary:
            locations = at_origins(locations, rows, rng) if locations and is_local else None
    nats = found.nats | ({"dictionary": codes.nats} if codes.nats is not None else {})
    kind = "dictionary" if is_dictionary else "mixture" if is_mixture else "dense"
    density = found.density if found.is_complete else None
    explored = Exploration(
        found, kind, groups, parts, is_certain, are_patterns, locations, nats, density
    )
    return explored.in_units(center, scale)


class _Codes:
    """Compare independent codes of rows with a mixture that has grown large."""

    def __init__(self, rows: np.ndarray, rng: np.random.RandomState, max_latents: int) -> None:
        order = rng.permutation(len(rows))
        n_out = len(rows) // 5
        self.train, self.valid = rows[order[n_out:]], rows[order[:n_out]]
        # Codes have their own random state, so that they do not change the mixture.
        self.rng, self.max_latents = np.random.RandomState(0), max_latents
        self.floor = least_variance(local_size(rows))
        # Set by the first comparison.
        self.nats: float | None = None
        self.error = np.inf
        self.before: Trial | None = None

    def end_search(self, search: Search) -> bool:
        """Return whether to end a search, since it cannot find a mixture that makes a better code.

        It cannot if the same gain in every further round would leave the mixture behind independent
        codes, or if the mixture has more directions than the maximum number of latents. In the
        second case a search with few features goes on, for the density.
        """
        best, one = search.best, search.one
        before, self.before = self.before or one, best
        n_directions = best.densities[0].n_directions.sum()
        if n_directions <= one.densities[0].n_directions.sum():
            return False
        if self.nats is None:
            self._compare(self._best(self.train, self.valid)[1])
        # A round adds half the present number of components.
        n_rounds = np.log(max(search.most / best.size, 1.0)) / np.log(1.5)
        reach = best.mean + n_rounds * max(best.mean - before.mean, 0.0)
        is_wide = self.train.shape[1] > MAX_DIRECTIONS
        is_too_large = is_wide and n_directions > self.max_latents
        return bool(is_too_large or self.are_better_than(reach))

    def gain_from(self, locations: Locations, found: FoundMixture, parts: list[FlatPart]) -> bool:
        """Return whether separate codes for each location are better than codes for all rows.

        Separate codes are not tried if flat parts have no more directions than locations' hulls.
        """
        hulls = [pooled(own) for own in of_groups(found.parts, locations.groups)]
        n_directions = sum(len(part.variances) for part in parts)
        if n_directions <= sum(len(hull.variances) for hull in hulls):
            return False
        train, valid = locations.assign(self.train), locations.assign(self.valid)
        scores = locations.log_shares[valid]
        # Some locations can be without held-out rows.
        for g in np.unique(valid):
            scores[valid == g] += self._best(self.train[train == g], self.valid[valid == g])[1]
        is_better = self.nats is None or float(scores.mean()) > self.nats
        if is_better:
            self._compare(scores)
        return is_better

    def _are_better_than_normal(self) -> bool:
        """Fit codes, and return whether they are better than normal codes of the same variances.

        Codes that are nearly always on are nearly normal, and then the mixture has one part. Rows
        are compared one by one. With n rows, chance alone passes this test on one of n data sets.
        """
        codes, scores = self._best(self.train, self.valid)
        n = len(self.valid)
        # A single row has no standard error.
        if codes is None or n == 1:
            return False
        self._compare(scores)
        gain = codes.gain(self.valid)
        return bool(gain.mean() > norm.isf(1 / n) * gain.std() / np.sqrt(n))

    def _best(
        self, train: np.ndarray, valid: np.ndarray
    ) -> tuple[IndependentCodes | None, np.ndarray]:
        """Return the codes that make held-out rows most probable, if any, and log-densities."""
        found = IndependentCodes.fit(train, self.rng, self.floor)
        scored = [(codes, codes.log_prob(valid)) for codes in found]
        none = None, np.full(len(valid), -np.inf)
        return max(scored, key=lambda pair: pair[1].mean(), default=none)

    def _compare(self, scores: np.ndarray) -> None:
        """Store the mean log-density and its standard error."""
        self.nats, self.error = float(scores.mean()), np.inf
        if np.isfinite(self.nats):
            self.error = float(scores.std() / np.sqrt(len(scores)))

    def are_better_than(self, nats: float, *, is_normal: bool = False) -> bool:
        """Return whether independent codes exceed a mean log-density by more than chance.

        With `is_normal`, the mixture is one normal distribution. Then codes must exceed normal
        codes by more than chance, and the mean log-density by any amount.
        """
        if is_normal and not self._are_better_than_normal():
            return False
        error = 0.0 if is_normal else self.error
        return self.nats is not None and self.nats > nats + error


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
