"""Growth of new mixture components from a few rows of an old component.

Rows join a new component if it fits them better than all other components do. The noise in all
components is large at first and falls step by step. This is a soft form of RANSAC with local
optimisation.
"""

import math
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from skvaeense.mixture._covariance import Family, Gaussians, Moments, gaussians
from skvaeense.mixture._density import MixtureDensity, log_sum_exp
from skvaeense.mixture._em import Rows, least_variance
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import TINY, principal_directions
from skvaeense.utils._typing import DoubleArray

# Fewer rows do not determine the covariance of a component.
LEAST_ROWS = 8
# Distances that differ by less, as a share of the largest, are equal.
TIED = 1e-5


class Proposal(NamedTuple):
    """A candidate for a new component of a mixture.

    Attributes
    ----------
    gain : float
        Gain in the log-density of all rows, in nats.

    share : float
        Weight of the component.

    component : MixtureDensity
        The component.
    """

    gain: float
    share: float
    component: MixtureDensity


def propose(
    rows: Rows, density: MixtureDensity, family: Family, n_starts: int, rng: np.random.RandomState
) -> list[Proposal]:
    """Return the new components that raise the log-density of rows most.

    Parameters
    ----------
    rows : Rows
        The rows.

    density : MixtureDensity
        The current mixture.

    family : Family
        The regularisation of covariances.

    n_starts : int
        Number of rows that components start around.

    rng : RandomState
        The source of randomness.

    Returns
    -------
    list of Proposal
        The best proposal first; at most half as many as the mixture has components, or one.
    """
    joint = np.hstack([rows.joint(density), rows.broad(density)[:, None]])
    labels, at_most = joint.argmax(axis=1), max(1, len(density) // 2)
    counts = np.bincount(labels, minlength=len(density) + 1)
    found: list[Proposal] = []
    # Rows that no component explains can form a new component.
    least = np.r_[np.full(len(density), 2 * LEAST_ROWS), LEAST_ROWS]
    for c in np.flatnonzero(counts >= least):
        n_own = int(np.ceil(n_starts * counts[c] / len(rows)))
        own = np.flatnonzero(labels == c)
        some = rng.choice(own, min(len(own), Nest.MAX_ROWS), replace=False)
        factor = rows.weights[own].sum() / rows.weights[some].sum()
        nest = Nest(rows[some], density, joint[some], int(c), factor)
        found += nest.grow(n_own, family, rows.weights.sum(), at_most, rng)
    found.sort(key=attrgetter("gain"), reverse=True)
    enough = Nest.LEAST_GAIN * found[0].gain if found else 0.0
    return [proposal for proposal in found[:at_most] if proposal.gain > enough]


class Nest:
    """The rows of one component or of the background, among which new components grow.

    With many features, only the directions of the component are used. If it has none, and in the
    background, the principal directions of the rows are used. The index of the background follows
    the indices of the components.
    """

    # Least variances while components grow, as shares of the mean variance of the old component.
    ANNEALED = 3e-2, 1e-2, 3e-3, 0.0
    # Numbers of rows that a component starts from.
    SIZES = LEAST_ROWS, 24, 72
    # Largest number of rows that are used.
    MAX_ROWS = 1024
    # Number of features up to which all directions are used, and of principal directions else.
    MAX_DIRECTIONS = 24
    # Share of the starts that each level of the annealing keeps, and share of the best gain that
    # another proposal needs to become a component too.
    KEPT, LEAST_GAIN = 0.5, 0.2

    def __init__(
        self, rows: Rows, density: MixtureDensity, joint: DoubleArray, parent: int, factor: float
    ) -> None:
        if parent < len(density):
            directions = density.directions[parent][:, : int(density.n_directions[parent])]
            self.mean, self.spread = density.means[parent], float(density.spreads[parent])
        else:
            directions, self.mean = rows.h[:, :0].T, rows.h.mean(axis=0)
            self.spread = float(np.square(rows.h - self.mean).sum(axis=1).mean()) / rows.n_features
        p, centred = rows.h.shape[1], rows.h - self.mean
        if p <= self.MAX_DIRECTIONS:
            directions = np.eye(p)
        elif not directions.size:
            directions = principal_directions(centred)[1][: self.MAX_DIRECTIONS].T
        h, blur = centred @ directions, directions.T @ rows.blur @ directions
        rest = np.square(centred).sum(axis=1) - np.square(h).sum(axis=1)
        self.outer, self.directions = rows, directions
        self.rows = replace(
            rows,
            basis=rows.basis @ directions,
            h=h,
            off=np.maximum(rest, 0.0) + rows.off,
            weights=rows.weights * factor,
            blur=blur,
            off_blur=rows.off_blur + float(np.trace(rows.blur) - np.trace(blur)),
        )
        # Log-density under the parent, with noise raised as in the new component, and at last under
        # all components. Rows that no component explains have all components for a parent.
        old, log_weight = replace(density, background_weight=0.0), 0.0
        if parent < len(density):
            old, log_weight = old.take(np.array([parent])), math.log(density.weights[parent])
        self.totals = []
        for share in self.ANNEALED[:-1]:
            self.totals.append(log_sum_exp(rows.joint(old.raised(share))) + log_weight)
        self.totals.append(log_sum_exp(joint))

    def grow(
        self, n_starts: int, family: Family, n_all: float, at_most: int, rng: np.random.RandomState
    ) -> list[Proposal]:
        """Return components that grow from starts, as long as each one raises the log-density."""
        weights, rows = self.rows.weights, self.rows
        starts = [start for _ in range(n_starts) for start in self._neighbourhoods(rng)]
        shares = np.array([np.ones(len(rows)), *starts]) * weights
        for least, total in zip(self.ANNEALED, self.totals, strict=True):
            weight = shares.sum(axis=1) / (n_all + 1)
            parts = self._fit(shares, family, least)
            log_prob = rows.joint(rows.mixture(np.ones(len(weight)), parts)).T
            log_new, log_old = log_prob + np.log(weight)[:, None], np.log1p(-weight)
            if least == 0.0:
                break
            gains = np.logaddexp(total + log_old[:, None], log_new) - total
            order = np.argsort(-(gains @ weights))
            order = order[: max(int(np.ceil(self.KEPT * len(order))), 3)]
            shares = expit(np.clip(log_new[order] - total, -50, 50)) * weights
            shares = shares[shares.sum(axis=1) >= LEAST_ROWS / 2]
            if not len(shares):
                return []
        found: list[Proposal] = []
        for _ in range(at_most):
            gains = np.logaddexp(total + log_old[:, None], log_new) - total
            sums = gains @ weights
            i = int(sums.argmax())
            if not sums[i] > 0:
                break
            found.append(Proposal(float(sums[i]), float(weight[i]), self._component(parts, i)))
            total = total + gains[i]
        return found

    def _neighbourhoods(self, rng: np.random.RandomState) -> Any:
        """Yield masks of rows that may share a component: rows near one row, in several senses.

        Near rows have a similar direction from the mean, as in subspaces with a common point; a
        small distance, as in clusters and curved sheets; both, as in separate flats; or similar
        values of one feature, as in tables of counts or categories.
        """
        y = self.rows.h
        length = np.square(y).sum(axis=1)
        i, j = rng.randint(len(y)), rng.randint(y.shape[1])
        # Coordinates are numbered by their spread, not by their place in a table.
        j = int(np.argsort(np.square(y).sum(axis=0))[j])
        scale = max(length.mean(), TINY)
        product = y @ y[i]
        cosine = product**2 / np.maximum(length * length[i], TINY)
        flat = (product / scale + 1) ** 2 / ((length / scale + 1) * (length[i] / scale + 1))
        along = np.abs(y[:, j] - y[i, j])
        for distance in (-cosine, length - 2 * product, -flat, along):
            ranked = np.sort(distance)
            for size in self.SIZES:
                if 2 * size <= len(y) or size == self.SIZES[0]:
                    # Rows at equal distances share the places that are left.
                    last = ranked[min(size, len(y)) - 1]
                    unit = TIED * np.abs(ranked[size:]).max(initial=TINY)
                    nearer, tied = distance < last - unit, np.abs(distance - last) <= unit
                    yield nearer + tied * (size - nearer.sum()) / tied.sum()

    def _fit(self, shares: DoubleArray, family: Family, least: float) -> Gaussians:
        """Return the normal distributions of shares of the rows, with the same least noise."""
        advance()
        rows, n = self.rows, shares.sum(axis=1)
        h, blur = rows.h, rows.blur
        means = shares @ h / n[:, None]
        second = (h.T * shares[:, None, :]) @ h / n[:, None, None]
        covariances = second - means[:, :, None] * means[:, None, :] + blur
        kish = n**2 / np.maximum(shares @ rows.weights, TINY)
        moments = Moments(kish, means, covariances, shares @ rows.off / n + rows.off_blur)
        floor = max(least * self.spread, least_variance(rows.size))
        common = np.cov(h.T, aweights=rows.weights, bias=True).reshape(blur.shape)
        common += blur + 1e-12 * np.eye(len(common))
        return gaussians(moments, rows.n_features, family, common, floor)

    def _component(self, parts: Gaussians, i: int) -> MixtureDensity:
        r = int(parts.directions[i].any(axis=0).sum())
        component = Gaussians(
            self.mean + parts.means[i : i + 1] @ self.directions.T,
            (self.directions @ parts.directions[i, :, :r])[None],
            parts.variances[i : i + 1, :r],
            parts.noises[i : i + 1],
        )
        return self.outer.mixture(np.ones(1), component)
