"""Fit a mixture to rows: choose coordinates, fill in missing values, find the flat parts."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvaeense.mixture._covariance import LEAST_VARIANCE, Family, Gaussians, gaussians, spikes
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import (
    LEAST_RESPONSIBILITY,
    MAX_COMPONENTS,
    ROUNDING_VARIANCE,
    Rows,
    background,
    blur_of,
    em,
    least_variance,
    maximise,
    shares_in,
)
from skvaeense.mixture._growth import LEAST_ROWS, TIED
from skvaeense.mixture._search import CHOICE, FINAL, N_PARTS, Search, held_out
from skvaeense.samples._weights import own_order
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import ROUNDING, principal_directions, threads_for
from skvaeense.utils._rows import find_steps
from skvaeense.utils._typing import DoubleArray, IntArray
from skvaeense.utils._validation import checked_scale

# Rows that differ by less, as a share of their size, are the same row.
SAME_ROW = 1e-9
# Largest share of the rows that is ever left out.
MAX_FAR_SHARE = 0.05
# Beyond this multiple of the typical size of rows, rounding of squares reaches the least variance.
FAR = float(np.sqrt(LEAST_VARIANCE / np.finfo(float).eps))
# With more features, components vary freely only along at most this number of principal directions.
MAX_DIRECTIONS = 128
# Number of widths that are tried in this case, each with half the directions of the last. Two more
# are between the best of them and its neighbours.
N_WIDTHS = 4
# Family of the first mixture of rows with holes.
FIRST_FAMILY = Family(False, 3.0)


class FlatPart(NamedTuple):
    """A part of the data that is flat, except for noise.

    Attributes
    ----------
    weight : float
        Share of the rows.

    mean : ndarray of shape (n_features,)
        Mean of the part.

    basis : ndarray of shape (rank, n_features)
        Orthonormal directions in which the part varies by more than its noise.

    variances : ndarray of shape (rank,)
        Variances along these directions.

    noise_variance : float
        Variance in every other direction.
    """

    weight: float
    mean: DoubleArray
    basis: DoubleArray
    variances: DoubleArray
    noise_variance: float

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.variances)

    def in_units(self, center: DoubleArray, scale: float) -> "FlatPart":
        """Return the part of rows before they were centred and divided by a scale."""
        mean, variances = center + scale * self.mean, scale**2 * self.variances
        return FlatPart(self.weight, mean, self.basis, variances, scale**2 * self.noise_variance)


class FoundMixture(NamedTuple):
    """A density, and the flat part of each of its components.

    Attributes
    ----------
    density : MixtureDensity
        The density.

    parts : list of FlatPart
        Flat parts, in the order of the components.

    is_flat : bool
        Whether held-out rows are most probable if directions that do not stand out from the noise
        are cut. In that case the data consists of the parts; otherwise the parts only show where
        the data is dense.

    scores, scores_of_one : ndarray of shape (n_held_out,)
        Log-densities of held-out rows, in the order of `held_out`, under mixtures that are fitted
        without them: with the chosen number of components, and with one component.

    blur : float
        Mean variance by which columns with a step are smoothed.
    """

    density: MixtureDensity
    parts: list[FlatPart]
    is_flat: bool
    scores: DoubleArray
    scores_of_one: DoubleArray
    blur: float


def units_of(x: DoubleArray, weights: DoubleArray) -> tuple[DoubleArray, float]:
    """Return the centre and the scale of rows, leaving out distant rows.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, perhaps with holes.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    Returns
    -------
    center : ndarray of shape (n_features,)
        Means of the features, without the farthest quarter of the rows.

    scale : float
        Root mean square, about the centre, of the rows without the farthest quarter.
    """
    known = ~np.isnan(x) * weights[:, None]
    center = _quantile(x, known, 0.5)
    with np.errstate(over="ignore"):
        # In units of a power of two near the median, squares are finite except for very distant
        # rows.
        sizes = np.abs(np.nan_to_num(x - center)).max(axis=1)
        unit = np.ldexp(1.0, np.frexp(np.median(sizes) or sizes.max() or 1.0)[1] - 1)
        squares = np.square(np.nan_to_num((x - center) / unit)).mean(axis=1)
    # Rounding does not decide which of equally distant rows are near.
    near = squares <= _quantile(squares, weights, 0.75) * (1 + TIED)
    total = known[near].sum(axis=0)
    with np.errstate(over="ignore"):
        shifts = (known * np.nan_to_num(x - center))[near].sum(axis=0)
        center = center + shifts / np.maximum(total, 1e-300)
        squares = known * np.square(np.nan_to_num((x - center) / unit))
    spread = squares[near].sum() / max(total.sum(), 1e-300)
    if not spread > 0:
        spread = squares.sum() / known.sum()
    return center, float(unit * np.sqrt(spread)) or 1.0


def scaled_rows(
    x: DoubleArray, weights: DoubleArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
    """Return distinct rows, centred and scaled, their weights, the centre and the scale.

    Rows far from most others are drawn nearer, so that squares of all rows keep their digits.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, perhaps with holes.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    Returns
    -------
    x : ndarray of shape (n_different, n_features)
        The distinct rows, as from `merged`.

    weights : ndarray of shape (n_different,)
        Their weights.

    center : ndarray of shape (n_features,)
        Centre, in the units of x.

    scale : float
        Scale, in the units of x.
    """
    advance()
    center, scale = units_of(x, weights)
    advance()
    with np.errstate(over="ignore"):
        # In units of this scale, no more rows than can be left out lie beyond FAR.
        sizes = np.abs(np.nan_to_num(x - center)).max(axis=1)
        far = float(np.quantile(sizes, 1 - MAX_FAR_SHARE)) / FAR
        scale = checked_scale(max(scale, far))
        # Clipping at twice FAR does not cut a far part in two.
        rows = np.clip((x - center) / scale, -2 * FAR, 2 * FAR)
    return *merged(rows, weights), center, scale


def _quantile(values: DoubleArray, weights: DoubleArray, share: float) -> DoubleArray:
    """Return the quantile of weighted values along the first axis."""
    order = np.argsort(values, axis=0)
    sums = np.take_along_axis(weights, order, axis=0).cumsum(axis=0)
    first = (sums >= share * sums[-1] * (1 - ROUNDING)).argmax(axis=0)
    place = np.take_along_axis(order, first[None], axis=0)
    return np.take_along_axis(values, place, axis=0)[0]


def merged(x: DoubleArray, weights: DoubleArray | None) -> tuple[DoubleArray, DoubleArray]:
    """Return the distinct rows, in an order of their own, and the total weight of each.

    A row that occurs twice says no more about the noise than one row of twice the weight. For
    everything else, it counts as two rows.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, centred and of about unit size, so that neither units nor the order of features nor
        rounding decides which rows are the same, and which comes first.

    weights : ndarray of shape (n_rows,) or None
        How often each row counts; None means once.

    Returns
    -------
    x : ndarray of shape (n_different, n_features)
        The distinct rows of weight above 0.

    weights : ndarray of shape (n_different,)
        Their weights, scaled so that the smallest is 1.
    """
    weights = np.ones(len(x)) if weights is None else weights
    x, weights = x[weights > 0], weights[weights > 0]
    order = own_order(x)
    x, weights = x[order], weights[order]
    known = np.nan_to_num(x)
    size = np.abs(known).max(axis=1)
    is_new = np.abs(known[1:] - known[:-1]).max(axis=1) > SAME_ROW * np.maximum(size[1:], size[:-1])
    is_new = np.r_[True, is_new | (np.isnan(x[1:]) != np.isnan(x[:-1])).any(axis=1)]
    sums = np.add.reduceat(weights, np.flatnonzero(is_new))
    return x[is_new], sums / sums.min()


def fit_mixture(
    x: DoubleArray,
    weights: DoubleArray,
    rng: np.random.RandomState,
    *,
    n_components: int | None = None,
    max_components: int = MAX_COMPONENTS,
    basis: DoubleArray | None = None,
    order: IntArray | None = None,
    rival: DoubleArray | None = None,
    filled: DoubleArray | None = None,
) -> FoundMixture:
    """Return the mixture under which held-out rows are most probable, and its flat parts.

    If values are missing, the search takes filled rows; the mixture that it finds is then fitted to
    the known values.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, centred and of about unit size. NaN marks missing values.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    rng : RandomState
        The source of randomness.

    n_components : int or None, default=None
        Number of components; None chooses it.

    max_components : int, default=64
        Maximum number of components to try.

    basis : ndarray of shape (n_features, n_directions) or None, default=None
        Directions in which components vary freely. None means all directions or, with many
        features, the principal ones; features can then also be divided by their standard
        deviations.

    order : ndarray of int of shape (n_rows,) or None, default=None
        Order of the rows, of which the first are held out; None for a random order.

    rival : ndarray of shape (n_held_out,) or None, default=None
        Log-densities of the rows of the first split under another density. If the mixture cannot
        reach them, the search ends early.

    filled : ndarray of shape (n_rows, n_features) or None, default=None
        The rows with missing values filled in; None means as by `filled_rows`.

    Returns
    -------
    FoundMixture
        The mixture.
    """
    with threads_for(x.size * x.shape[1]):
        filled = filled_rows(x, weights, rng) if filled is None else filled
        scale = _scales(x, weights) if basis is None else np.ones(x.shape[1])
        steps = find_steps(x, weights) if basis is None else np.zeros(x.shape[1])
        is_wide = basis is None and x.shape[1] > MAX_DIRECTIONS and not np.isnan(x).any()
        search_of = partial(
            Search,
            log_scale=np.log(scale).sum(),
            max_components=max_components,
            rng=rng,
            n_components=n_components,
            order=rng.permutation(len(x)) if order is None else order,
            n_splits=1 if is_wide else None,
            rival=rival,
        )
        if is_wide:
            search = _search_wide(x, weights, scale, steps, search_of)
            rows = search.rows
        else:

            def rows_of(y: DoubleArray) -> tuple[Rows, Rows]:
                scaled = Rows.of(y / scale, weights, basis, steps / scale)
                return Rows.of(y, weights, basis, steps), scaled

            rows = rows_of(x)
            search = search_of(rows if filled is x else rows_of(filled), known=rows).run()
        family, is_scaled = search.best.family, search.best.family.scaled
        density = search.final(rows)
        own = rows[is_scaled].facing(density.background)
        density, shares, far = shares_in(own, density)
        scores = search.scores_of_filled(search.best)
        held_out = None
        if is_wide:
            known = x / scale if is_scaled else x, weights, shares, far
            turned = partial(_turned, density, family, steps / scale if is_scaled else steps)
            order = search_of.keywords["order"]
            held_out = _scores_of_new(lambda *some: turned(*some)[0], known, order)
            held_out -= search.log_scale if is_scaled else 0.0
            density, shares = turned(*known)
        elif filled is x:
            smoothed = search.scores_of_filled(search.best, MixtureDensity.smoothed)
            held_out = np.stack([scores, smoothed], axis=1)
        if len(density) < (n_components or 0):
            warnings.warn(
                f"Only {len(density)} components of n_components={n_components} were found: others "
                'had too few distinct rows. Set fewer components, or "auto", or give more rows.',
                ConvergenceWarning,
                stacklevel=5,
            )
        density = density.divided_by(scale) if is_scaled else density
        parts = flat_parts(rows[0].sharp(), shares, density)
        density = replace(
            density,
            dimensions=np.array([len(part.variances) for part in parts]),
            held_out=held_out,
        )
        scores_of_one = search.scores_of_filled(search.one)
        return FoundMixture(density, parts, family.cut, scores, scores_of_one, blur_of(steps))


def filled_rows(x: DoubleArray, weights: DoubleArray, rng: np.random.RandomState) -> DoubleArray:
    """Return rows with missing values filled in by draws from a mixture.

    The mixture is a rough one: it grows in rows that draws from one normal distribution have
    filled, and is then fitted to the known values. Draws vary as much as known values do; means
    would hide the noise around flat parts.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, centred and of about unit size. NaN marks missing values.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    rng : RandomState
        The source of randomness.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        The rows, or x itself if no value is missing.
    """
    if not np.isnan(x).any():
        return x
    scale = _scales(x, weights)
    steps = find_steps(x, weights) / scale
    rows, missing = Rows.of(x / scale, weights, steps=steps), np.isnan(x).mean()
    with_zeros = replace(rows, h=np.nan_to_num(rows.h))
    one = maximise(with_zeros, weights[:, None], FIRST_FAMILY)
    # The zeros have made this distribution too narrow.
    one = replace(
        one,
        variances=one.variances + missing,
        noise_variances=one.noise_variances + missing,
    )
    one = em(rows, one, FIRST_FAMILY, *CHOICE)
    both = (Rows.of(one.impute(rows.h, rng), weights, steps=steps),) * 2
    order = rng.permutation(len(x))
    search = Search(both, 0.0, MAX_COMPONENTS, rng, order, n_splits=1).grow()
    return search.final((rows, rows), *CHOICE).impute(rows.h, rng) * scale


def _scales(x: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the standard deviation of the known values of each feature.

    A constant feature gets the median over the other features, since new samples can differ in it.
    """
    known = ~np.isnan(x) * weights[:, None]
    n = known.sum(axis=0)
    values = np.nan_to_num(x)
    mean = (known * values).sum(axis=0) / n
    variance = (known * np.square(values - mean)).sum(axis=0) / n
    varies = variance > 16 * ROUNDING_VARIANCE * np.square(values).max(axis=0)
    usual = float(np.median(variance[varies])) if varies.any() else 1.0
    return np.sqrt(np.where(varies, variance, usual))


def _search_wide(
    x: DoubleArray, weights: DoubleArray, scale: DoubleArray, steps: DoubleArray, search_of: Any
) -> Search:
    """Search for a mixture along principal directions of many features.

    The directions are found without held-out rows. Their number is chosen so that held-out rows are
    most probable under one component.
    """
    order = search_of.keywords["order"]
    train = order[max(len(x) // N_PARTS, 1) :] if len(x) > 1 else order
    both = [_leading(y[train], weights[train]) for y in (x, x / scale)]

    def search_along(k: int) -> Search:
        plain, scaled = (directions[:k].T for directions in both)
        rows = (
            Rows.of(x, weights, plain, steps),
            Rows.of(x / scale, weights, scaled, steps / scale),
        )
        return search_of(rows).change_family()

    # With more directions, new rows would lie much farther from their span than training rows do.
    most = max(min(MAX_DIRECTIONS, len(train) // 2, len(both[0])), 1)
    widths = [most // 2**i for i in range(N_WIDTHS) if most >= 2**i]
    searches = {k: search_along(k) for k in widths}
    best = max(widths, key=lambda k: searches[k].best.mean)
    between = round(best / 2**0.5), round(best * 2**0.5)
    searches |= {k: search_along(k) for k in between if 0 < k <= most and k not in searches}
    return max(searches.values(), key=lambda search: search.best.mean).run()


def _turned(
    density: MixtureDensity,
    family: Family,
    steps: DoubleArray,
    x: DoubleArray,
    weights: DoubleArray,
    shares: DoubleArray,
    far: DoubleArray,
) -> tuple[MixtureDensity, DoubleArray]:
    """Return a mixture along principal directions of rows, with a spectrum of noise, and shares.

    Parameters
    ----------
    density : MixtureDensity
        A mixture along the same number of other directions.

    family : Family
        The regularisation of covariances.

    steps : ndarray of shape (n_features,)
        Steps between the values of columns, in the units of the mixture.

    x : ndarray of shape (n_rows, n_features)
        Rows, in the units of the mixture.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in the components.

    far : ndarray of shape (n_rows,)
        Shares of the rows in the background.

    Returns
    -------
    density : MixtureDensity
        The mixture; its components keep their order.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in its components.
    """
    rows = Rows.of(x, weights, _leading(x, weights)[: density.basis.shape[1]].T, steps)
    broad = background(rows)
    rows = rows.facing(broad)
    start = maximise(rows, shares, family, replace(density, background=broad), far)
    density, shares, _ = shares_in(rows, em(rows, start, family, *FINAL))
    return _with_common_rest(density, x, rows, shares), shares


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


def _with_common_rest(
    density: MixtureDensity, x: DoubleArray, rows: Rows, shares: DoubleArray
) -> MixtureDensity:
    """Return a mixture whose noise has a spectrum, which components share up to a factor.

    Parameters
    ----------
    density : MixtureDensity
        A mixture along some directions, with equal noise in all other directions.

    x : ndarray of shape (n_rows, n_features)
        Rows, in the units of the mixture.

    rows : Rows
        The same rows, along any directions.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in the components.
    """
    noise = density.noise_variances
    own = density.variances - noise[:, None]
    factors = density.directions * np.sqrt(np.maximum(own, 0.0))[:, None]
    p = density.basis.shape[1]
    covariances = factors @ factors.transpose(0, 2, 1) + noise[:, None, None] * np.eye(p)
    # These weights divide rows by the noise of their components, up to a factor.
    rows = replace(rows, weights=(shares / noise).sum(axis=1))
    return _with_rest(density, covariances, x, rows, noise * (rows.weights.sum() / shares.sum()))


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
    return MixtureDensity(
        density.center + mean,
        np.hstack([density.basis, shared]),
        density.weights,
        np.hstack([density.means, np.zeros((k, r))]),
        directions,
        np.hstack([np.maximum(values, noises[:, None]), factors[:, None] * variances]),
        noises,
        background=density.background,
        background_weight=density.background_weight,
        dimensions=density.dimensions,
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
    moments = replace(rows, h=h, off=off, blur=np.zeros((n_directions,) * 2), off_blur=0.0).moments(
        rows.weights[:, None]
    )
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


def flat_parts(rows: Rows, shares: DoubleArray, density: MixtureDensity) -> list[FlatPart]:
    """Return the flat parts of rows: one for each component of a mixture.

    Parameters
    ----------
    rows : Rows
        The rows, not divided by any scale.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in the components.

    density : MixtureDensity
        The mixture, which fills in holes.

    Returns
    -------
    list of FlatPart
        Flat parts, in the order of the components.
    """
    # A component without rows keeps its place, and is described by all rows.
    is_empty = ~(shares > LEAST_RESPONSIBILITY * rows.weights[:, None]).any(axis=0)
    shares = np.where(is_empty, rows.weights[:, None], shares)
    n_rows, means, covariances, rests = rows.moments(shares, density if rows.has_holes else None)
    values, vectors = np.linalg.eigh(covariances)
    values, vectors = np.maximum(values[:, ::-1], 0), vectors[:, :, ::-1]
    spreads = (values.sum(axis=1) + rests) / rows.n_features
    floors = np.array([least_variance(spread) for spread in spreads])[:, None]
    ranks, noises = spikes(values + floors, rests, rows.n_features, n_rows, floors)
    return [
        FlatPart(
            float(density.weights[c]),
            rows.basis @ means[c],
            (rows.basis @ vectors[c][:, :rank]).T,
            values[c, :rank],
            float(noises[c]),
        )
        for c, rank in enumerate(ranks)
    ]
