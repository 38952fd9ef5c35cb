"""The mixtures that a search has tried, averaged into one mixture of few components."""

from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np

from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import Gaussians, Rows, eigen
from skvaeense.mixture._search import LEAST_GAIN, Search
from skvaeense.utils._typing import DoubleArray, IntArray

# Share of the gain of weights that fewer components may lose. Splits are averaged too, which gains
# as much again, but held-out rows cannot tell.
LOST = 0.5
# Trials with a smaller weight are left out.
LEAST_WEIGHT = 0.02
# Share of the components that may merge at once.
AT_ONCE = 0.25
# Gain in nats at which weights are settled.
SETTLED = LEAST_GAIN / 100


def stack(scores: DoubleArray) -> tuple[DoubleArray, float]:
    """Return the weights of densities whose average makes held-out rows most probable [1]_.

    Parameters
    ----------
    scores : ndarray of shape (n_densities, n_rows)
        Log-densities of held-out rows.

    Returns
    -------
    weights : ndarray of shape (n_densities,)
        Weights, some of them 0.

    mean : float
        Mean log-density of the rows under the average.

    References
    ----------
    .. [1] P. Smyth and D. Wolpert (1999). Linearly combining density estimators via stacking.
       Machine Learning 36.
    """
    largest = scores.max(axis=0)
    odds, weights, before = np.exp(scores - largest), np.full(len(scores), 1 / len(scores)), -np.inf
    while True:
        joint = odds * weights[:, None]
        total = joint.sum(axis=0)
        mean = float(np.log(total).mean())
        if mean - before < SETTLED:
            break
        before, weights = mean, (joint / total).mean(axis=1)
    weights = np.where(weights >= min(LEAST_WEIGHT, weights.max()), weights, 0.0)
    weights /= weights.sum()
    return weights, float((np.log(weights @ odds) + largest).mean())


class Normals(NamedTuple):
    """Weighted normal distributions.

    Attributes
    ----------
    weights : ndarray of shape (n_components,)
        Weights.

    means : ndarray of shape (n_components, n_features)
        Means.

    covariances : ndarray of shape (n_components, n_features, n_features)
        Covariances.
    """

    weights: DoubleArray
    means: DoubleArray
    covariances: DoubleArray

    @classmethod
    def of(cls, density: MixtureDensity, weight: float, scale: DoubleArray) -> Self:
        """Return the components of a mixture, divided by a scale, whose weights add up to one."""
        covariances = density.covariances / (scale[:, None] * scale)
        return cls(weight * density.weights, density.means / scale, covariances)

    def mixture(self, rows: Rows, broad: MixtureDensity, far: float) -> MixtureDensity:
        """Return the mixture, in the basis of rows, with a background of a given weight."""
        values, vectors = eigen(self.covariances)
        values = np.maximum(values, rows.floor)
        parts = Gaussians(self.means, vectors[..., :-1], values[:, :-1], values[:, -1])
        density = rows.mixture(self.weights / self.weights.sum(), parts)
        return replace(density, background=broad, background_weight=far)

    def joined(self, i: IntArray, j: IntArray) -> Self:
        """Return the normal distributions with the moments of pairs of components."""
        weights = self.weights[i] + self.weights[j]
        share = self.weights[i] / weights
        a, b, gap = share[:, None], 1 - share[:, None], self.means[i] - self.means[j]
        between = (a * b)[:, :, None] * gap[:, :, None] * gap[:, None]
        within = a[:, :, None] * self.covariances[i] + b[:, :, None] * self.covariances[j]
        return type(self)(weights, a * self.means[i] + b * self.means[j], within + between)

    def fewer(self, shares: DoubleArray) -> tuple[Self, DoubleArray]:
        """Merge the pairs of components that rows share most where that costs least [1]_.

        Parameters
        ----------
        shares : ndarray of shape (n_rows, n_components)
            Shares of rows in the components.

        Returns
        -------
        normals : Normals
            The components that are left.

        shares : ndarray of shape (n_rows, n_left)
            The shares of the rows in them.

        References
        ----------
        .. [1] A. Runnalls (2007). Kullback-Leibler approach to Gaussian mixture reduction. IEEE
           Transactions on Aerospace and Electronic Systems 43.
        """
        overlap = shares.T @ shares
        size = np.sqrt(np.maximum(np.diag(overlap), np.finfo(float).tiny))
        overlap /= size[:, None] * size
        np.fill_diagonal(overlap, -1.0)
        ends = np.sort(np.stack([np.arange(len(size)), overlap.argmax(axis=1)]), axis=0)
        i, j = np.unique(ends, axis=1)
        both, logs = self.joined(i, j), np.linalg.slogdet(self.covariances)[1]
        costs = both.weights * np.linalg.slogdet(both.covariances)[1]
        costs -= self.weights[i] * logs[i] + self.weights[j] * logs[j]
        is_free, chosen = np.ones(len(size), dtype=bool), list[int]()
        for pair in np.argsort(costs, kind="stable").tolist():
            if len(chosen) < np.ceil(AT_ONCE * len(size)) and is_free[[i[pair], j[pair]]].all():
                is_free[[i[pair], j[pair]]] = False
                chosen.append(pair)
        i, j, left = i[chosen], j[chosen], np.flatnonzero(is_free)
        pairs = zip(self, both, strict=True)
        new = type(self)(*(np.concatenate([own[left], joined[chosen]]) for own, joined in pairs))
        return new, np.hstack([shares[:, left], shares[:, i] + shares[:, j]])


def averaged(
    search: Search, scale: DoubleArray, mixture: MixtureDensity, of_parts: DoubleArray
) -> tuple[MixtureDensity, float]:
    """Return the average of the mixtures that a search has tried, in few components.

    A search fits mixtures to each split of the rows. Held-out rows choose the weights of its
    trials, and each mixture takes one step of expectation maximisation on all rows. Components that
    share rows then merge, as long as the rows lose less than half of what the weights have gained.

    Parameters
    ----------
    search : Search
        The search.

    scale : ndarray of shape (n_features,)
        What the features are divided by.

    mixture : MixtureDensity
        The best mixture, whose components are parts of the data.

    of_parts : ndarray of shape (n_rows, n_parts)
        Shares of the rows in them.

    Returns
    -------
    density : MixtureDensity
        The average. Each component belongs to the part with which it shares most rows. If there are
        fewer components than parts, the best mixture itself.

    score : float
        Mean log-density of held-out rows.
    """
    weights, score = stack(np.array([trial.scores for trial in search.trials]))
    backgrounds = [rows.background() for rows in search.rows]
    facing = [rows.facing(broad) for rows, broad in zip(search.rows, backgrounds, strict=True)]
    found, far = [], 0.0
    for trial, weight in zip(search.trials, weights, strict=True):
        is_scaled = trial.family.scaled
        for start in trial.densities if weight else []:
            start = replace(start, background=backgrounds[is_scaled])
            density = facing[is_scaled].em(start, trial.family, 1, 0.0)
            share = weight / len(trial.densities)
            far += share * density.background_weight
            share *= 1 - density.background_weight
            found.append(Normals.of(density, share, np.ones(1) if is_scaled else scale))
    normals = Normals(*(np.concatenate(values) for values in zip(*found, strict=True)))
    rows, broad = facing[True], backgrounds[True]
    density = normals.mixture(rows, broad, far)
    if len(density) < len(mixture):
        # Not every part could have a component.
        return mixture, search.best.mean
    shares, _, total = rows.responsibilities(density)
    least = np.average(total, weights=rows.weights) - LOST * max(score - search.best.mean, 0.0)
    while True:
        normals, joined = normals.fewer(shares)
        fewer = normals.mixture(rows, broad, far)
        mean = np.average(rows.log_prob(fewer), weights=rows.weights)
        if mean < least or len(fewer) < len(mixture):
            break
        density, shares = fewer, joined
    owners = _owners(shares.T @ of_parts)
    density = replace(density, dimensions=mixture.ranks[owners], owners=owners)
    density = density.divided_by(scale)
    return replace(density, core=mixture.core, held_out=mixture.held_out), score


def _owners(shared: DoubleArray) -> IntArray:
    """Return the part with which each component shares most rows, so that each part has one.

    Parameters
    ----------
    shared : ndarray of shape (n_components, n_parts)
        Rows that components share with parts; at least as many components as parts.

    Returns
    -------
    ndarray of int of shape (n_components,)
        Indices of the parts.
    """
    owners = shared.argmax(axis=1)
    for part in np.setdiff1d(np.arange(shared.shape[1]), owners):
        is_alone = np.bincount(owners, minlength=shared.shape[1])[owners] == 1
        owners[np.where(is_alone, -np.inf, shared[:, part]).argmax()] = part
    return owners
