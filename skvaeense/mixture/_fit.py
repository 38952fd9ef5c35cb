"""Fit a mixture to rows: choose coordinates, fill in missing values, find the flat parts."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvaeense.mixture._covariance import Family, spikes
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import (
    LEAST_RESPONSIBILITY,
    MAX_COMPONENTS,
    ROUNDING_VARIANCE,
    Rows,
    blur_of,
    em,
    least_variance,
    maximise,
    shares_in,
)
from skvaeense.mixture._search import CHOICE, Pair, Search
from skvaeense.mixture._wide import MAX_DIRECTIONS, search_wide, turned
from skvaeense.utils._linalg import threads_for
from skvaeense.utils._typing import DoubleArray, IntArray


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

    family : Family
        The regularisation of covariances under which held-out rows are most probable.

    scores, scores_of_one : ndarray of shape (n_held_out,)
        Log-densities of held-out rows, in the order of `held_out`, under mixtures that are fitted
        without them: with the chosen number of components, and with one component.

    blur : float
        Mean variance by which columns with a step are smoothed.
    """

    density: MixtureDensity
    parts: list[FlatPart]
    family: Family
    scores: DoubleArray
    scores_of_one: DoubleArray
    blur: float

    @property
    def is_flat(self) -> bool:
        """Whether directions that do not stand out from the noise are cut.

        In that case the data consists of the parts; otherwise the parts only show where the data is
        dense.
        """
        return self.family.cut


def fit_mixture(
    x: DoubleArray,
    weights: DoubleArray,
    rng: np.random.RandomState,
    *,
    n_components: int | None = None,
    max_components: int = MAX_COMPONENTS,
    basis: DoubleArray | None = None,
    order: IntArray | None = None,
    rival: Callable[[Search], DoubleArray | None] | None = None,
    filled: DoubleArray | None = None,
    steps: DoubleArray | None = None,
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

    rival : callable or None, default=None
        Function from the search, once several components have been tried, to log-densities of the
        rows of the first split under another density, or None. If the mixture cannot reach them,
        the search ends early.

    filled : ndarray of shape (n_rows, n_features) or None, default=None
        The rows with missing values filled in; None means as by `filled_rows`.

    steps : ndarray of shape (n_features,) or None, default=None
        Step between the values of each column, 0 for none; None means no steps.

    Returns
    -------
    FoundMixture
        The mixture.
    """
    # Longer than most functions: each step needs much of what the steps before it have found.
    with threads_for(x.size * x.shape[1]):
        steps = np.zeros(x.shape[1]) if steps is None else steps
        filled = filled_rows(x, weights, rng, steps) if filled is None else filled
        scale = _scales(x, weights) if basis is None else np.ones(x.shape[1])
        order = rng.permutation(len(x)) if order is None else order
        has_holes = bool(np.isnan(x).any())
        has_many = basis is None and x.shape[1] > MAX_DIRECTIONS and not has_holes

        def rows_of(y: DoubleArray, *bases: DoubleArray | None) -> Pair:
            plain = Rows.of(y, weights, bases[0], steps)
            return plain, Rows.of(y / scale, weights, bases[1], steps / scale)

        def search_along(*bases: DoubleArray | None) -> Search:
            rows = rows_of(x, *bases)
            return Search(
                rows if filled is x else rows_of(filled, *bases),
                np.log(scale).sum(),
                max_components,
                rng,
                order,
                n_components=n_components,
                known=rows,
                n_splits=1 if has_many else None,
                rival=rival,
            )

        if has_many:
            search = search_wide((x, x / scale), weights, order, search_along)
        else:
            search = search_along(basis, basis).run()
        rows = search.known
        (family, densities, _), one = search.best, search.one
        density, held_out = search.final(rows), None
        own = rows[family.scaled].facing(density.background)
        density, shares, far = shares_in(own, density)
        scores = search.scores(family, densities)
        if has_many:
            unit, log_unit = (scale, search.log_scale) if family.scaled else (np.ones(1), 0.0)
            known = x / unit, weights, shares, far
            density, shares, held_out = turned(density, family, steps / unit, known, order)
            held_out -= log_unit
        elif filled is x:
            smoothed = search.scores(family, list(map(MixtureDensity.smoothed, densities)))
            held_out = np.stack([scores, smoothed], axis=1)
        if len(density) < (n_components or 0):
            warnings.warn(
                f"Only {len(density)} components of n_components={n_components} were found: others "
                'had too few distinct rows. Set fewer components, or "auto", or give more rows.',
                ConvergenceWarning,
                stacklevel=5,
            )
        density = density.divided_by(scale) if family.scaled else density
        sharp = replace(rows[0], blur=0.0 * rows[0].blur, off_blur=0.0)
        parts = flat_parts(sharp, shares, density)
        dimensions = np.array([part.rank for part in parts])
        density = replace(density, dimensions=dimensions, held_out=held_out)
        scores_of_one = search.scores(one.family, one.densities)
        return FoundMixture(density, parts, family, scores, scores_of_one, blur_of(steps))


def filled_rows(
    x: DoubleArray, weights: DoubleArray, rng: np.random.RandomState, steps: DoubleArray
) -> DoubleArray:
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

    steps : ndarray of shape (n_features,)
        Step between the values of each column; 0 for columns without one.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        The rows, or x itself if no value is missing.
    """
    if not np.isnan(x).any():
        return x
    scale, family = _scales(x, weights), Family(cut=False, shrinkage=3.0)
    steps = steps / scale
    rows, missing = Rows.of(x / scale, weights, steps=steps), np.isnan(x).mean()
    one = maximise(replace(rows, h=np.nan_to_num(rows.h)), weights[:, None], family)
    # The zeros in the place of missing values have made this distribution too narrow.
    variances, noises = one.variances + missing, one.noise_variances + missing
    one = em(rows, replace(one, variances=variances, noise_variances=noises), family, *CHOICE)
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
    floors = least_variance(spreads)[:, None]
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
