"""Locations: one point for each group of flat parts that has no point in common with the others.

Parts that are connected by rows form one group, such as pieces of a curved sheet or patterns of
sparse codes. The hull of a part is the flat through its mean, along its directions. If hulls meet
within the parts, as linear subspaces do at the origin, the parts share one location. Data is then
described relative to its location. Tests have a level of 1 / n, so that chance alone fails them for
one of n rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax
from scipy.stats import chi2
from scipy.stats import t as student

from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._fit import FlatPart, FoundMixture
from skvaeense.utils._linalg import EXACT, TINY, svd


@dataclass(frozen=True)
class Locations:
    """Points that groups of samples lie around.

    Attributes
    ----------
    points : ndarray of shape (n_locations, n_features)
        The locations.

    groups : ndarray of int of shape (n_components,)
        Index of the location of each component.

    density : MixtureDensity
        The mixture that assigns samples to components.
    """

    points: np.ndarray
    groups: np.ndarray
    density: MixtureDensity

    def __len__(self) -> int:
        return len(self.points)

    @property
    def log_shares(self) -> np.ndarray:
        """Log share of the rows of each location."""
        shares = np.bincount(self.groups, self.density.weights)
        return np.log(shares / shares.sum())

    def assign(self, X: np.ndarray) -> np.ndarray:
        """Return the index of each row's location.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices into `points`.
        """
        return by_group(self.density.log_joint(X), self.groups).argmax(axis=1)


def by_group(log_joint: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the joint log-density of rows and each group of components."""
    joint = np.empty((len(log_joint), groups.max() + 1))
    for g in range(groups.max() + 1):
        joint[:, g] = logsumexp(log_joint[:, groups == g], axis=1)
    return joint


def find_locations(
    found: FoundMixture, rows: np.ndarray, flats: tuple[list[FlatPart], np.ndarray] | None = None
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
    n, density = len(rows), found.density
    parts, pieces = (found.parts, np.arange(len(density))) if flats is None else flats
    if meeting_point(parts, n)[1]:
        return None, True
    joint = density.log_joint(rows)
    if flats is not None:
        groups = _merged(parts, lambda parts: meeting_point(parts, n)[1])
        points = [meeting_point(own, n)[0] for own in of_groups(parts, groups)]
        groups = groups[pieces]
        if _are_distinct(joint, groups):
            return Locations(np.array(points), groups, density), True
    groups = _merged(found.parts, lambda parts: not _lie_apart(parts, n))
    if not _are_distinct(joint, groups):
        return None, False
    labels = by_group(joint, groups).argmax(axis=1)
    points = [rows[labels == g].mean(axis=0) for g in range(groups.max() + 1)]
    return Locations(np.array(points), groups, density), False


def of_groups(parts: list[FlatPart], groups: np.ndarray) -> list[list[FlatPart]]:
    """Return the parts of each group."""
    return [[parts[c] for c in np.flatnonzero(groups == g)] for g in range(groups.max() + 1)]


def _are_distinct(joint: np.ndarray, groups: np.ndarray) -> bool:
    """Return whether there are several groups, and all rows likely belong to their best one."""
    shares = softmax(by_group(joint, groups), axis=1)
    return groups.max() > 0 and bool((1 - shares.max(axis=1)).sum() < 1)


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


def _merged(hulls: list[FlatPart], belong: Callable[[list[FlatPart]], bool]) -> np.ndarray:
    """Merge hulls that belong together, and return the group of each."""
    groups: list[list[int]] = []
    for i in range(len(hulls)):
        own = [i]
        for group in [g for g in groups if belong([hulls[k] for k in [*g, i]])]:
            groups.remove(group)
            own = group + own
        groups.append(own)
    labels = np.empty(len(hulls), dtype=int)
    for g, group in enumerate(groups):
        labels[group] = g
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
