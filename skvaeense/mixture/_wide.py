"""Mixtures of many features: along principal directions, with a spectrum of noise in the others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skvaeense.mixture._covariance import Family, Gaussians, gaussians
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import Rows, background, em, least_variance, maximise, shares_in
from skvaeense.mixture._growth import LEAST_ROWS
from skvaeense.mixture._search import FINAL, N_PARTS, Search, held_out
from skvaeense.utils._linalg import principal_directions
from skvaeense.utils._typing import DoubleArray, IntArray

# With more features, components vary freely only along at most this number of principal directions.
MAX_DIRECTIONS = 128


def search_wide(
    both: Sequence[DoubleArray], weights: DoubleArray, order: IntArray, search_along: Any
) -> Search:
    """Search for a mixture along principal directions of many features.

    The directions are found without held-out rows. Their number is chosen so that held-out rows are
    most probable under one component: four numbers are tried, each half of the last, and two more
    between the best of them and its neighbours.

    Parameters
    ----------
    both : sequence of two ndarrays of shape (n_rows, n_features)
        Rows as they are, and divided by a scale.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    order : ndarray of int of shape (n_rows,)
        Order of the rows, of which the first are held out.

    search_along : callable
        Function from two bases to the search along them.

    Returns
    -------
    Search
        The search that was best, with its mixture.
    """
    train = order[max(len(order) // N_PARTS, 1) :] if len(order) > 1 else order
    plain, scaled = (_leading(x[train], weights[train]) for x in both)

    def one_along(k: int) -> Search:
        found: Search = search_along(plain[:k].T, scaled[:k].T)
        return found.change_family()

    # With more directions, new rows would lie much farther from their span than training rows do.
    most = max(min(MAX_DIRECTIONS, len(train) // 2, len(plain)), 1)
    searches = {k: one_along(k) for k in (most, most // 2, most // 4, most // 8) if k}
    best = max(searches, key=lambda k: searches[k].best.mean)
    between = round(best / 2**0.5), round(best * 2**0.5)
    searches |= {k: one_along(k) for k in between if 0 < k <= most and k not in searches}
    return max(searches.values(), key=lambda search: search.best.mean).run()


def turned(
    density: MixtureDensity,
    family: Family,
    steps: DoubleArray,
    known: tuple[DoubleArray, ...],
    order: IntArray,
) -> tuple[MixtureDensity, DoubleArray, DoubleArray]:
    """Return a mixture along principal directions of all rows, with a spectrum of noise.

    Parameters
    ----------
    density : MixtureDensity
        A mixture along the same number of other directions.

    family : Family
        The regularisation of covariances.

    steps : ndarray of shape (n_features,)
        Steps between the values of columns, in the units of the mixture.

    known : tuple of ndarrays of length n_rows
        Rows in the units of the mixture, their weights, and their shares in the components and in
        the background.

    order : ndarray of int of shape (n_rows,)
        Order of the rows, of which the first are held out.

    Returns
    -------
    density : MixtureDensity
        The mixture; its components keep their order.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in its components.

    held_out : ndarray of shape (n_held_out, 2)
        Log-densities of held-out rows under mixtures that are fitted without them.
    """

    def fitted(
        x: DoubleArray, weights: DoubleArray, shares: DoubleArray, far: DoubleArray
    ) -> tuple[MixtureDensity, DoubleArray]:
        rows = Rows.of(x, weights, _leading(x, weights)[: density.basis.shape[1]].T, steps)
        broad = background(rows)
        rows = rows.facing(broad)
        start = maximise(rows, shares, family, replace(density, background=broad), far)
        found, shares, _ = shares_in(rows, em(rows, start, family, *FINAL))
        # The components share the spectrum of their noise up to a factor. These weights divide rows
        # by the noise of their components, up to a factor.
        noise = found.noise_variances
        rows = replace(rows, weights=(shares / noise).sum(axis=1))
        factors = noise * (rows.weights.sum() / shares.sum())
        return _with_rest(found, found.covariances, x, rows, factors), shares

    scores = _scores_of_new(lambda *some: fitted(*some)[0], known, order)
    return *fitted(*known), scores


def _scores_of_new(
    fitted: Callable[..., MixtureDensity], known: tuple[DoubleArray, ...], order: IntArray
) -> DoubleArray:
    """Return log-densities of rows under mixtures that are fitted without these rows.

    If there are very few rows, none is held out. `known` has the rows, and the other arrays that
    the fit needs, with an entry for each row.
    """
    x, scores = known[0], []
    if len(x) < 2 * LEAST_ROWS:
        return fitted(*known).log_probs(x)
    for out in held_out(order):
        kept = np.delete(np.arange(len(x)), out)
        scores.append(fitted(*(values[kept] for values in known)).log_probs(x[out]))
    return np.concatenate(scores)


def _leading(x: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the principal directions of weighted rows."""
    mean = np.average(x, axis=0, weights=weights)
    return principal_directions((x - mean) * np.sqrt(weights)[:, None])[1]


def beside(density: MixtureDensity, span: DoubleArray, rows: Rows) -> MixtureDensity:
    """Return a mixture in some directions, combined with one normal distribution in all others.

    Parameters
    ----------
    density : MixtureDensity
        The mixture of the coordinates along the directions.

    span : ndarray of shape (n_features, n_directions)
        The directions, as orthonormal columns; fewer than the features.

    rows : Rows
        Rows without holes, to which the normal distribution is fitted.

    Returns
    -------
    MixtureDensity
        The mixture of rows. For its held-out log-densities, the normal distribution and the
        background are fitted without the held-out rows, but the given mixture is not.
    """
    inside = replace(
        density,
        center=span @ density.center,
        basis=span,
        means=(density.means @ density.basis.T) * density.unit,
    )
    covariances = np.stack([density.covariance(c) for c in range(len(density))])

    def fitted(x: DoubleArray, weights: DoubleArray) -> MixtureDensity:
        own = Rows.of(x, weights)
        within = replace(inside, background=background(own))
        return _with_rest(within, covariances, x, own, np.ones(len(density)))

    order = np.random.RandomState(0).permutation(len(rows))
    scores = _scores_of_new(fitted, (rows.h, rows.weights), order)
    return replace(fitted(rows.h, rows.weights), held_out=scores)


def _with_rest(
    density: MixtureDensity,
    covariances: DoubleArray,
    x: DoubleArray,
    rows: Rows,
    factors: DoubleArray,
) -> MixtureDensity:
    """Return a mixture along its basis, combined with one normal distribution off the basis.

    The normal distribution is fitted to rows x, which are given along any directions too. Each
    component takes the covariance of this distribution, times a factor.
    """
    (d, p), k = density.basis.shape, len(density)
    left = x - density.center
    left -= (left @ density.basis) @ density.basis.T
    others, mean, rest = _one_of_rest(left, d - p, rows)
    r, noise = rest.variances.shape[1], rest.noises[0]
    shared, variances = (others @ rest.directions[0]), rest.variances[0]
    if r == d - p:
        r, noise, shared, variances = r - 1, variances[-1], shared[:, :-1], variances[:-1]
    noises = noise * factors
    values, vectors = np.linalg.eigh(covariances)
    directions = np.zeros((k, p + r, p + r))
    directions[:, :p, :p], directions[:, p:, p:] = vectors, np.eye(r)
    return replace(
        density,
        center=density.center + mean,
        basis=np.hstack([density.basis, shared]),
        means=np.hstack([density.means, np.zeros((k, r))]),
        directions=directions,
        variances=np.hstack([np.maximum(values, noises[:, None]), factors[:, None] * variances]),
        noise_variances=noises,
        scale=None,
    )


def is_noise(left: DoubleArray, rows: Rows) -> bool:
    """Return whether the residual of rows off some directions is equal noise in all others."""
    n_left = left.shape[1] - np.linalg.matrix_rank(rows.h - left)
    return _one_of_rest(left, n_left, rows)[2].variances.shape[1] == 0


def _one_of_rest(
    left: DoubleArray, n_left: int, rows: Rows
) -> tuple[DoubleArray, DoubleArray, Gaussians]:
    """Return the directions, the mean and the normal distribution of a residual of rows.

    The directions are the principal directions of the residual, as columns.
    """
    mean = np.average(left, axis=0, weights=rows.weights)
    n_directions = max(min(n_left, MAX_DIRECTIONS, len(left) - 1), 0)
    others = _leading(left, rows.weights)[:n_directions].T
    h = (left - mean) @ others
    off = np.maximum(np.square(left - mean).sum(axis=1) - np.square(h).sum(axis=1), 0.0)
    rows = replace(rows, h=h, off=off, blur=np.zeros((n_directions, n_directions)), off_blur=0.0)
    moments = rows.moments(rows.weights[:, None])
    # The directions that were left out were found in these rows, and hold part of their noise.
    share = max(len(rows) - 1 - (left.shape[1] - n_left), 1) / len(rows)
    moments = moments._replace(
        n_rows=moments.n_rows * share,
        covariances=moments.covariances / share,
        rests=moments.rests / share,
    )
    floor = least_variance(rows.size)
    rest = gaussians(moments, n_left, Family(), np.eye(n_directions), floor)
    return others, mean, rest
