"""What is in the samples of a fit, found before anything is trained."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from skvaeense.dimension._noise import ABOVE, bulk_edge
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._covariance import LEAST_VARIANCE, rank_and_noise, spikes
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
from skvaeense.training._independent_codes import IndependentCodes, least_variance
from skvaeense.training._locations import (
    Locations,
    at_origins,
    find_locations,
    in_units,
    pooled,
)
from skvaeense.training._scaling import checked_scale
from skvaeense.utils._blocks import MANY_ROWS
from skvaeense.utils._principal import principal_directions
from skvaeense.utils._threads import threads_for
from skvaeense.utils._typing import DoubleArray

# More rows than this share are never left out.
MAX_FAR_SHARE = 0.05
# Beyond this multiple of their typical size, squares of rows are rounded by the least variance.
FAR = float(np.sqrt(LEAST_VARIANCE / np.finfo(float).eps))


@dataclass
class Exploration:
    """The flat parts of the samples of a fit, and what explains them best.

    Attributes
    ----------
    found : FoundMixture
        The mixture, in units of the samples.

    kind : {"mixture", "dictionary", "dense", "points", "gates"}
        What held-out rows are most probable under: flat parts that are few enough to have latents
        of their own, independent codes, or neither of them, perhaps since parts are points;
        "gates" if training has shown that these are better.

    groups : ndarray of int of shape (n_components,)
        The flat part that each component of the mixture is a piece of.

    parts : list of FlatPart
        These flat parts.

    is_certain : bool
        Whether the directions of most parts stand clearly above their noise.

    are_patterns : bool
        Whether most flat parts, which would explain the samples, have directions in common, so that
        a dictionary does the same with fewer latents.

    locations : Locations or None
        Points that the samples lie around, if these are several.

    nats : dict of str to float
        Mean log-density of held-out rows under each explanation that was looked at.

    density : MixtureDensity or None
        The density of the samples, if somebody has looked for it to the end.
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
    def is_open_question(self) -> bool:
        """Whether neither flat parts nor independent codes say how long codes have to be."""
        return self.kind == "dense" and not self.is_flat

    @property
    def is_flat(self) -> bool:
        """Whether samples lie near one flat part."""
        return len(self.found.parts) == 1 and self.is_certain

    @property
    def normal_nats(self) -> float:
        """The most nats of held-out rows under normal distributions.

        Where flat parts are patterns of one dictionary, it is one distribution.
        """
        names = ["dense"] if self.are_patterns else ["dense", "mixture"]
        return max(self.nats[name] for name in names if name in self.nats)

    def in_units(self, center: np.ndarray, scale: float) -> Self:
        """Return the same for samples that were centred and divided by a scale before."""
        shift = len(center) * np.log(scale)
        found = self.found._replace(
            density=self.found.density.in_units(center, scale),
            parts=[_moved(part, center, scale) for part in self.found.parts],
            nats={name: value - shift for name, value in self.found.nats.items()},
        )
        moved = [_moved(part, center, scale) for part in self.parts]
        locations = self.locations and in_units(self.locations, center, scale)
        density = self.density and self.density.in_units(center, scale)
        nats = {name: value - shift for name, value in self.nats.items()}
        return replace(
            self, found=found, parts=moved, locations=locations, density=density, nats=nats
        )

    def about_one_point(self) -> Self:
        """Return the same of samples that are their locations, which have no pattern of latents."""
        kind = self.kind if self.kind == "dictionary" else "points"
        return replace(self, kind=kind, locations=None)

    def as_one_flat(self, rows: np.ndarray, most: int) -> Self:
        """Return the same with one flat part, in principal directions of samples at one location.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Samples.

        most : int
            How many directions it has at most, of those that stand out of noise. If none does, all
            that vary are alike.

        Returns
        -------
        Exploration
            With one flat part, and one location.
        """
        (n, d), mean, floor = rows.shape, rows.mean(axis=0), least_variance(rows)
        variances, directions = principal_directions(rows - mean)
        values = np.r_[variances, np.zeros(d - len(variances))]
        r, _ = rank_and_noise(values, n, floor)
        # The last one cannot stand out of itself.
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
        """Return the same for samples after centring and scaling."""
        return self.in_units(-mean / scale, 1 / scale)


def far_rows(X: np.ndarray, density: MixtureDensity) -> np.ndarray:
    """Return the positions of rows that no component explains, and that would outweigh all others.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    density : MixtureDensity
        Their mixture.

    Returns
    -------
    ndarray of int
        Ascending; empty if they are many, or have less of the variance than the others.
    """
    if density.background is None:
        return np.empty(0, dtype=int)
    # Beyond this, squares may not be finite.
    reach = FAR * np.sqrt(density.background.spreads.max()) * density.unit
    within = np.clip(X, density.center - reach, density.center + reach)
    far = density.background_share(within) > 0.5
    if not 0 < far.mean() <= MAX_FAR_SHARE:
        return np.empty(0, dtype=int)
    squares = np.square((X - X[~far].mean(axis=0)) / np.abs(X).max()).sum(axis=1)
    return np.flatnonzero(far & (squares[far].sum() > squares[~far].sum()))


def _some_outweigh(X: np.ndarray) -> bool:
    """Return whether a few rows may have more of the variance than all others.

    It takes less time than to look for what sets them apart. About the median, which a few rows do
    not move far, those that are farthest then have half as much at least.
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
        How often each counts, above 0; None means once.

    density : MixtureDensity or None, default=None
        Their mixture, if it is known. It is looked at, too.

    Returns
    -------
    ndarray of int
        Ascending.
    """
    X = X.astype(np.float64)
    if not _some_outweigh(X):
        return np.empty(0, dtype=int)
    rows, center, scale, weights = _some_rows(X, weights, np.random.RandomState(0))
    # One more component is enough to tell what none explains.
    found = fit_mixture(rows, weights, np.random.RandomState(0), stop=lambda search: True)
    far = far_rows(X, found.density.in_units(center, scale))
    # One of few components takes far rows at times, or one of many does.
    return far if len(far) or density is None else far_rows(X, density)


def density_with_holes(X: np.ndarray, weights: DoubleArray | None = None) -> MixtureDensity:
    """Return the density of samples with missing values.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units; NaN stands for what is missing.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each counts, above 0; None means once.

    Returns
    -------
    MixtureDensity
        In the same units.
    """
    rng = np.random.RandomState(0)
    rows, center, scale, weights = _some_rows(X, weights, rng)
    return fit_mixture(rows, weights, rng).density.in_units(center, scale)


def _some_rows(
    X: np.ndarray, weights: DoubleArray | None, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return different rows among some, centred and scaled, the units, and their weights."""
    n = min(len(X), MANY_ROWS, max(MAX_ENTRIES // X.shape[1], 1))
    some = np.sort(rng.permutation(len(X))[:n])
    rows = X[some].astype(np.float64)
    weights = np.ones(n) if weights is None else weights[some]
    center, scale = units_of(rows, weights)
    with np.errstate(over="ignore"):
        # No more rows than those that may be left out are so far away.
        sizes = np.abs(np.nan_to_num(rows - center)).max(axis=1)
        far = float(np.quantile(sizes, 1 - MAX_FAR_SHARE)) / FAR
        scale = checked_scale(max(scale, far))
        # A part as far away as they are is not cut in two.
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
    """Find the flat parts of samples, and whether they explain them.

    It is the same for the same X, whatever the random state of the fit.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units.

    max_latents : int
        How many directions the flat parts may have together to have latents of their own.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts, above 0; None means once.

    Returns
    -------
    Exploration
        What is in them.
    """
    rng = np.random.RandomState(0)
    rows, center, scale, weights = _some_rows(X, weights, rng)
    with threads_for(rows.size * rows.shape[1]):
        codes = _Codes(rows, rng, max_latents)
        found = fit_mixture(rows, weights, rng, stop=codes.end_search)
        groups = _pieces(found, len(rows))
        parts = [
            pooled_as_flat([found.parts[c] for c in np.flatnonzero(groups == g)])
            for g in range(groups.max() + 1)
        ]
        n_latents = sum(len(part.variances) for part in parts)
        is_whole = found.is_flat and found.is_complete and 0 < n_latents <= max_latents
        is_certain = _stand_clear(parts, len(rows))
        is_mixture = is_whole and is_certain and _need_fewer_latents(parts)
        locations, are_patterns = None, False
        if len(parts) > 1:
            flats = (parts, groups) if is_mixture else None
            locations, meet = find_locations(found, rows, flats)
            are_patterns = is_mixture and meet and _are_patterns(parts, len(rows))
            is_mixture = is_mixture and meet and not are_patterns
        if locations is not None:
            codes.look_at(found, parts, locations)
        is_dictionary = codes.are_better_than(found.nats["dense" if are_patterns else "mixture"])
        if locations is not None and is_dictionary:
            locations = at_origins(locations, rows, rng)
    nats = found.nats | ({"dictionary": codes.nats} if codes.nats is not None else {})
    kind = "dictionary" if is_dictionary else "mixture" if is_mixture else "dense"
    density = found.density if found.is_complete else None
    explored = Exploration(
        found, kind, groups, parts, is_certain, are_patterns, locations, nats, density
    )
    return explored.in_units(center, scale)


class _Codes:
    """Whether independent codes explain rows better than a mixture that has grown large."""

    def __init__(self, rows: np.ndarray, rng: np.random.RandomState, max_latents: int) -> None:
        order = rng.permutation(len(rows))
        n_out = len(rows) // 5
        self.train, self.valid = rows[order[n_out:]], rows[order[:n_out]]
        # What is drawn for codes changes nothing for the mixture.
        self.rng, self.max_latents = np.random.RandomState(0), max_latents
        self.floor = least_variance(rows)
        # Once somebody has looked.
        self.nats: float | None = None
        self.error = np.inf
        self.before: Trial | None = None

    def end_search(self, search: Search) -> bool:
        """Return whether a search will not find a mixture that makes a better code.

        It will not if it would not reach independent codes though it went on to gain as much with
        each round; or if it has more directions than there may be latents, but then the search goes
        on where it costs little, for the density.
        """
        best, one = search.best, search.one
        before, self.before = self.before or one, best
        n_directions = best.densities[0].n_directions.sum()
        if n_directions <= one.densities[0].n_directions.sum():
            return False
        if self.nats is None:
            self._compare(self._log_prob(self.train, self.valid))
        # A round adds half as many components as there are.
        n_rounds = np.log(max(search.most / best.size, 1.0)) / np.log(1.5)
        reach = best.mean + n_rounds * max(best.mean - before.mean, 0.0)
        is_wide = self.train.shape[1] > MAX_DIRECTIONS
        is_too_large = is_wide and n_directions > self.max_latents
        return bool(is_too_large or self.are_better_than(reach))

    def look_at(self, found: FoundMixture, parts: list[FlatPart], locations: Locations) -> None:
        """Let each location have its own codes, if flat parts have more directions than hulls."""
        n_groups = range(len(locations))
        own = [[found.parts[c] for c in np.flatnonzero(locations.groups == g)] for g in n_groups]
        n_directions = sum(len(part.variances) for part in parts)
        if n_directions <= sum(len(pooled(some).variances) for some in own):
            return
        train, valid = locations.assign(self.train), locations.assign(self.valid)
        scores = locations.log_shares[valid]
        # There may be locations that no held-out row is of.
        for g in np.unique(valid):
            scores[valid == g] += self._log_prob(self.train[train == g], self.valid[valid == g])
        self._compare(scores)

    def _log_prob(self, train: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return the log-density of rows with independent codes."""
        found = IndependentCodes.fit(train, self.rng, self.floor)
        scores = [codes.log_prob(valid) for codes in found]
        return max(scores, key=np.mean, default=np.full(len(valid), -np.inf))

    def _compare(self, scores: np.ndarray) -> None:
        """Keep the mean of log-densities, and its error."""
        self.nats, self.error = float(scores.mean()), np.inf
        if np.isfinite(self.nats):
            self.error = float(scores.std() / np.sqrt(len(scores)))

    def are_better_than(self, nats: float) -> bool:
        """Return whether independent codes are, beyond what chance may do."""
        return self.nats is not None and self.nats > nats + self.error


def _stand_clear(parts: list[FlatPart], n: int) -> bool:
    """Return whether most rows are of parts whose directions stand clearly above their noise.

    Where variances fall from direction to direction without a gap, how many there are is a matter
    of the number of rows. If fewer directions are left than stand out, they do not show what noise
    is like. Then those that stand out have to be farther above the noise than from each other. The
    same holds for a part that is alone.
    """
    is_clear = []
    for part in parts:
        least, most = part.variances.min(initial=np.inf), part.variances.max(initial=0.0)
        r, left = len(part.variances), len(part.mean) - len(part.variances)
        edge = bulk_edge(part.noise_variance, left, n * part.weight)
        gap = most / least if left < r or len(parts) == 1 else 0.0
        is_clear.append(least > edge * max(ABOVE, gap))
    return float(np.average(is_clear, weights=[part.weight for part in parts])) > 0.5


def _need_fewer_latents(parts: list[FlatPart]) -> bool:
    """Return whether codes by parts, which name the part too, are no longer than principal codes.

    That is on average, where both leave as much of the samples.
    """
    weights = np.array([part.weight for part in parts])
    ranks = np.array([len(part.variances) for part in parts])
    noises = np.array([part.noise_variance for part in parts])
    d, whole = len(parts[0].mean), pooled(parts)
    values = np.r_[np.sort(whole.variances)[::-1], 0.0]
    tails = values[::-1].cumsum()[::-1] + (d - np.arange(len(values))) * whole.noise_variance
    left = np.average((d - ranks) * noises, weights=weights)
    n_principal = int(np.argmax(tails <= left * (1 + 1e-9))) if tails[-1] <= left else len(values)
    return float(np.average(ranks, weights=weights)) + 1 <= n_principal


def _are_patterns(parts: list[FlatPart], n: int) -> bool:
    """Return whether most parts have a direction in common with another one, as patterns of atoms.

    Subspaces that have nothing to do with each other have none if there is room for both. The
    directions of a part are known up to noise of the variance g / (v n).
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
                # A line in a plane is a subspace, and no pattern.
                if common.any() and not common.all():
                    shares[[i, j]] = True
    weights = np.array([part.weight for part in parts])
    return bool(weights @ shares > 0.5 * weights.sum())


def _pieces(found: FoundMixture, n: int) -> np.ndarray:
    """Return the flat part that each component is a piece of: those of one rank in one flat."""
    groups = list(range(len(found.parts)))
    for i, part in enumerate(found.parts):
        for j in range(i):
            other = found.parts[j]
            if groups[j] == j and len(part.variances) == len(other.variances):
                both = pooled([part, other])
                rows = np.array([n * both.weight])
                variances = np.r_[both.variances, np.zeros(1)][None] + both.noise_variance
                d, r = len(both.mean), len(part.variances)
                rest = np.array([(d - variances.shape[1]) * both.noise_variance])
                floor = LEAST_VARIANCE * both.variances.sum() / d + np.finfo(float).tiny
                if 0 < r < d and spikes(variances, rest, d, rows, floor)[0][0] == r:
                    groups[i] = j
                    break
    return np.unique(groups, return_inverse=True)[1]


def pooled_as_flat(parts: list[FlatPart]) -> FlatPart:
    """Return pieces of one flat as one, with as many directions as each of them has."""
    both, r = pooled(parts), len(parts[0].variances)
    return both._replace(basis=both.basis[:r], variances=both.variances[:r])
