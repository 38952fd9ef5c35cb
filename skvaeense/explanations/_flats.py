"""Flat parts of rows, and the points that they lie around, their locations.

A location is one point for each group of flat parts that has no point in common with the others.
Parts that are connected by rows form one group, such as pieces of a curved sheet or patterns of
sparse codes. The hull of a part is the flat through its mean, along its directions. If hulls meet
within the parts, as linear subspaces do at the origin, the parts share one location. Data is then
described relative to its location. Tests have a level of 1 / n, so that chance alone fails them for
one of n rows.
"""

from collections.abc import Callable
from itertools import compress
from operator import attrgetter
from typing import NamedTuple, Self

import numpy as np
from scipy.special import logsumexp, softmax
from scipy.stats import chi2
from scipy.stats import t as student

from skvaeense.explanations._em import Wanted
from skvaeense.explanations._laws import FlatLaw
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._em import ABOVE, LEAST_VARIANCE, edge, least_variance, spikes
from skvaeense.mixture._fit import FlatPart, FoundMixture
from skvaeense.mixture._rows import Prepared
from skvaeense.utils._linalg import EXACT, TINY, principal_directions, svd
from skvaeense.utils._typing import DoubleArray, IntArray

# --- locations ----------------------------------------------------------------------------------


class Locations(NamedTuple):
    """Points that groups of rows lie around.

    Attributes
    ----------
    points : ndarray of shape (n_locations, n_features)
        The locations.

    groups : ndarray of int of shape (n_components,)
        Index of the location of each component of a mixture.

    labels : ndarray of int of shape (n_rows,)
        Index of the location of each row.

    shares : ndarray of shape (n_locations,)
        Share of the rows of each location.
    """

    points: DoubleArray
    groups: IntArray
    labels: IntArray
    shares: DoubleArray

    @classmethod
    def of(cls, density: MixtureDensity, rows: DoubleArray, groups: IntArray) -> Self | None:
        """Return the means of the rows of groups of components as their locations.

        The result is None if there is one group, or if not all rows likely belong to their best
        one.
        """
        log_joint, n = density.log_joint(rows), groups.max() + 1
        each = [logsumexp(log_joint[:, groups == g], axis=1) for g in range(n)]
        joint = softmax(np.stack(each, axis=1), axis=1)
        if n == 1 or (1 - joint.max(axis=1)).sum() >= 1:
            return None
        labels, shares = joint.argmax(axis=1), np.bincount(groups, density.weights)
        means = np.array([rows[labels == g].mean(axis=0) for g in range(n)])
        return cls(means, groups, labels, shares / shares.sum())


def find_locations(
    found: FoundMixture, rows: DoubleArray, flats: tuple[list[FlatPart], IntArray] | None
) -> tuple[Locations | None, bool]:
    """Return the points that data lies around, and whether its parts meet there.

    Parameters
    ----------
    found : FoundMixture
        The mixture.

    rows : ndarray of shape (n_samples, n_features)
        The rows that the mixture was found in.

    flats : tuple of list of FlatPart and ndarray of int of shape (n_components,), or None
        Flat parts, and the index of each component's flat part. With these, parts share a location
        only if they meet, however near to one another they are.

    Returns
    -------
    locations : Locations or None
        None if all rows share one location, or do not clearly belong to one of several.

    is_flat : bool
        Whether all parts of each location have a point in common.
    """
    n, parts = len(rows), found.parts if flats is None else flats[0]
    if meeting_point(parts, n)[1]:
        return None, True
    if flats is not None:
        groups = _merged(parts, lambda parts: meeting_point(parts, n)[1])
        locations = Locations.of(found.mixture, rows, groups[flats[1]])
        if locations is not None:
            points = [meeting_point(own, n)[0] for own in of_groups(parts, groups)]
            return locations._replace(points=np.array(points)), True
    groups = _merged(found.parts, lambda parts: not _lie_apart(parts, n))
    return Locations.of(found.mixture, rows, groups), False


def of_groups(parts: list[FlatPart], groups: np.ndarray) -> list[list[FlatPart]]:
    """Return the parts of each group."""
    return [[parts[c] for c in np.flatnonzero(groups == g)] for g in range(groups.max() + 1)]


def _lie_apart(parts: list[FlatPart], n: int) -> bool:
    """Return whether none of n rows is likely to lie between the first parts and the last."""
    one, other = pooled(parts[:-1]), parts[-1]
    difference = one.mean - other.mean
    distance = float(np.linalg.norm(difference))
    unit = difference / max(distance, TINY)
    reach = 0.0
    for part in (one, other):
        variance = float(part.variances @ np.square(part.basis @ unit)) + part.noise_variance
        # The spread of few rows is not well known.
        reach += variance**0.5 * float(student.isf(0.5 / n, max(n * part.weight - 1, 1)))
    return distance > reach


def _merged(hulls: list[FlatPart], belong: Callable[[list[FlatPart]], bool]) -> IntArray:
    """Merge hulls that belong together, and return the group of each."""
    groups = np.arange(len(hulls))
    for i, hull in enumerate(hulls):
        before = groups[:i]
        for g in np.unique(before):
            if belong([*compress(hulls, before == g), hull]):
                before[before == g] = i
    labels: IntArray = np.unique(groups, return_inverse=True)[1]
    return labels


def pooled(parts: list[FlatPart]) -> FlatPart:
    """Merge flat parts into one that holds all of them."""
    if len(parts) == 1:
        return parts[0]
    weights, means, _, _, noises = zip(*parts, strict=True)
    shares = np.array(weights) / sum(weights)
    mean, noise = shares @ means, float(shares @ noises)
    # Directions in which parts extend, and differences of their means: the rest is noise.
    rows = []
    for share, part in zip(shares, parts, strict=True):
        rows.append(np.sqrt(share) * (part.mean - mean)[None])
        rows.append(np.sqrt(share * part.variances)[:, None] * part.basis)
    _, singular, directions = svd(np.concatenate(rows))
    kept = np.square(singular) > noise
    return FlatPart(float(sum(weights)), mean, directions[kept], np.square(singular[kept]), noise)


def meeting_point(parts: list[FlatPart], n: int) -> tuple[np.ndarray, bool]:
    """Return the point nearest to the hulls of parts, and whether they meet there.

    The mean of n rows is off its hull by noise of the variance g / n in each direction. So if hulls
    meet, the sum of their squared distances from the point, in this unit, has a chi-squared
    distribution; and the point is no farther from the means than rows are.

    Parameters
    ----------
    parts : list of FlatPart
        The parts.

    n : int
        Number of all rows.

    Returns
    -------
    point : ndarray of shape (n_features,)
        The point; among equally near points, the one nearest to the mean.

    meet : bool
        Whether hulls meet there.
    """
    weights, means, bases, _, noises = zip(*parts, strict=True)
    mean = np.array(weights) @ means / sum(weights)
    if len(parts) == 1:
        return mean, True
    precisions = n * np.array(weights) / noises
    shares, d = precisions / precisions.sum(), len(mean)
    target = np.zeros(d)
    for part, share in zip(parts, shares, strict=True):
        difference = part.mean - mean
        target += share * (difference - (part.basis @ difference) @ part.basis)
    # The mean projection off the parts is the identity, less the squares of these rows.
    roots = np.repeat(np.sqrt(shares), list(map(len, bases)))
    _, sizes, directions = svd(roots[:, None] * np.concatenate(bases))
    values = 1 - np.square(sizes)
    largest = 1.0 if len(values) < d else values.max()
    known = values > EXACT * max(largest, 64 * EXACT)
    along = directions @ target
    step = target - along @ directions
    step += (along[known] / values[known]) @ directions[known]
    point, total, n_free = mean + step, 0.0, int((~known).sum()) - d
    for part, precision in zip(parts, precisions, strict=True):
        difference = point - part.mean
        along = part.basis @ difference
        if np.square(along) @ (1 / part.variances) > chi2.isf(1 / n, max(len(along), 1)):
            return point, False
        total += precision * max(float(difference @ difference - along @ along), 0.0)
        n_free += d - len(along)
    return point, bool(n_free <= 0 or total <= chi2.isf(1 / n, n_free))


# --- flat parts ---------------------------------------------------------------------------------


class Flats(NamedTuple):
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
        pieces, n = mixture.parts, len(x)
        parts, groups = _flats(pieces, n)
        n_latents = sum(map(attrgetter("rank"), parts))
        # Directions have two signs.
        stand_clear = not wanted.positive and _stand_clear(parts, n, mixture.blur)
        centred = x - x.mean(axis=0)
        if len(parts) == 1:
            # If no direction stands out, all are directions.
            holds_most = n_latents == 0 or _hold_most(parts, centred)
            return cls(parts, groups, None, stand_clear and len(pieces) == 1 and holds_most)
        are_clear = mixture.is_flat and 0 < n_latents <= wanted.most and stand_clear
        locations, meet = find_locations(mixture, x, (parts, groups) if are_clear else None)
        are_clear = are_clear and meet
        if are_clear and locations is not None:
            centred = x - locations.points[locations.labels]
            # A code of 0 tells one location, and no more.
            owners = _first_of_each(locations.groups, groups)
            told = {g for g, part in zip(owners, parts, strict=True) if part.rank}
            are_clear = len(locations.points) - len(told) <= 1
        return cls(parts, groups, locations, are_clear and _hold_most(pieces, centred))

    def law(self, pieces: list[FlatPart], n: int, n_components: int | None) -> FlatLaw:
        """Return the law of the parts."""
        if self.locations is None:
            points = meeting_point(self.parts, n)[0][None]
            owners = np.zeros(len(self.parts), dtype=int)
        else:
            points = self.locations.points
            owners = _first_of_each(self.locations.groups, self.groups)
            # The location without latents is the first one, which a code of 0 means.
            ranks = np.bincount(owners, [part.rank for part in self.parts], len(points))
            order = np.argsort(ranks, kind="stable")
            points, owners = points[order], np.argsort(order)[owners]
        return FlatLaw.of(pieces, self.parts, self.groups, points, owners, n_components)


def are_independent(directions: DoubleArray) -> bool:
    """Return whether directions, as rows of norm 1, span as many dimensions as there are."""
    if len(directions) > directions.shape[1]:
        return False
    return len(directions) == 0 or bool(np.linalg.svd(directions, compute_uv=False)[-1] > 0.1)


def _first_of_each(values: IntArray, groups: IntArray) -> IntArray:
    """Return the first value of each group."""
    return values[np.unique(groups, return_index=True)[1]]


def one_flat(rows: Prepared, wanted: Wanted, *, is_flat: bool) -> FlatLaw:
    """Return the law of one flat part, along principal directions about the mean.

    These are the directions that stand out from noise. If none stands out, all directions that vary
    count.
    """
    x, weights = rows.x, rows.weights
    d, floor = x.shape[1], float(least_variance(rows.units.size))
    mean = np.average(x, axis=0, weights=weights)
    root = np.sqrt(weights / weights.mean())[:, None]
    variances, directions = principal_directions((x - mean) * root)
    values = np.r_[variances, np.zeros(d - len(variances))]
    n = np.array([weights.sum() ** 2 / np.square(weights).sum()])
    r = int(spikes(values[None] + floor, np.zeros(1), d, n, floor)[0][0])
    # The last direction cannot stand out from itself.
    is_told = r < d - 1 or is_flat
    r = r if r > 0 and is_told else int((values > floor).sum())
    r = max(min(r, wanted.most), 1)
    noise = max(float(values[r:].sum()) / max(d - r, 1), floor)
    one = [FlatPart(1.0, mean, directions[:r], variances[:r], noise)]
    groups = np.zeros(1, dtype=int)
    return FlatLaw.of(one, one, groups, mean[None], groups, wanted.n_components)


def _hold_most(parts: list[FlatPart], centred: DoubleArray) -> bool:
    """Return whether flat parts leave less than half of the variance as noise."""
    left = sum(part.weight * part.noise_variance * (len(part.mean) - part.rank) for part in parts)
    return bool(2 * left <= np.square(centred).sum(axis=1).mean())


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


def _flats(pieces: list[FlatPart], n: int) -> tuple[list[FlatPart], IntArray]:
    """Return the flats that pieces lie in, and the flat of each piece.

    A flat has the number of directions of each of its pieces.
    """
    first: list[FlatPart] = []
    groups = np.empty(len(pieces), dtype=int)
    for i, piece in enumerate(pieces):
        lies_in = (g for g, other in enumerate(first) if _is_one_flat(other, piece, n))
        groups[i] = next(lies_in, len(first))
        if groups[i] == len(first):
            first.append(piece)
    parts = []
    for own, piece in zip(of_groups(pieces, groups), first, strict=True):
        part, r = pooled(own), piece.rank
        parts.append(part._replace(basis=part.basis[:r], variances=part.variances[:r]))
    return parts, groups


def _is_one_flat(part: FlatPart, other: FlatPart, n: int) -> bool:
    """Return whether two parts have as many directions as both together have."""
    d, r = len(part.mean), part.rank
    if other.rank != r or not 0 < r < d:
        return False
    both = pooled([part, other])
    rows, noise = np.array([n * both.weight]), both.noise_variance
    variances = np.r_[both.variances, 0.0][None] + noise
    rest = np.array([(d - variances.shape[1]) * noise])
    floor = LEAST_VARIANCE * both.variances.sum() / d + TINY
    return bool(spikes(variances, rest, d, rows, floor)[0][0] == r)
