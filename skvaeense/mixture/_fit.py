"""Fit a mixture to rows: in which coordinates, with what is missing, and how flat its parts are."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skvaeense.mixture._covariance import LEAST_VARIANCE, Family, spikes
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import Rows, em, maximise
from skvaeense.mixture._search import CHOICE, HELD_OUT, Search
from skvaeense.utils._principal import principal_directions
from skvaeense.utils._typing import DoubleArray

# Features beyond which components vary freely along that many principal directions only.
MAX_DIRECTIONS = 128
# How often holes are filled by draws, and a mixture is looked for in what then has none.
N_FILLS = 2
# The first mixture of rows with holes.
FIRST_FAMILY = Family(False, 3.0)


class FlatPart(NamedTuple):
    """A part of the data that is flat, but for noise.

    Attributes
    ----------
    weight : float
        Its share of the rows.

    mean : ndarray of shape (n_features,)
        Its mean.

    basis : ndarray of shape (rank, n_features)
        Orthonormal directions in which it varies by more than its noise.

    variances : ndarray of shape (rank,)
        Variances along them.

    noise_variance : float
        Variance in each other direction.
    """

    weight: float
    mean: DoubleArray
    basis: DoubleArray
    variances: DoubleArray
    noise_variance: float


def merged(x: DoubleArray, weights: DoubleArray | None) -> tuple[DoubleArray, DoubleArray]:
    """Return different rows in an order of their own, and the weight that each has altogether.

    A row that stands twice says no more of the noise than one of twice the weight, and no more of
    the rest than two.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows.

    weights : ndarray of shape (n_rows,) or None
        How often each counts; None means once.

    Returns
    -------
    x : ndarray of shape (n_different, n_features)
        Those of weight above 0.

    weights : ndarray of shape (n_different,)
        Their weights.
    """
    weights = np.ones(len(x)) if weights is None else weights
    x, weights = x[weights > 0], weights[weights > 0]
    order = np.lexsort(x.T[::-1])
    x, weights = x[order], weights[order]
    is_new = np.r_[True, ((x[1:] != x[:-1]) & ~(np.isnan(x[1:]) & np.isnan(x[:-1]))).any(axis=1)]
    return x[is_new], np.add.reduceat(weights, np.flatnonzero(is_new))


def fit_mixture(
    x: DoubleArray,
    weights: DoubleArray,
    rng: np.random.RandomState,
    *,
    n_components: int | None = None,
    max_components: int = 64,
    basis: DoubleArray | None = None,
) -> MixtureDensity:
    """Return the mixture that held-out rows are most probable under.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, centred and of about unit size. NaN stands for what is missing.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    rng : RandomState
        The source of randomness.

    n_components : int or None, default=None
        Number of components; None chooses it.

    max_components : int, default=64
        The most that are tried.

    basis : ndarray of shape (n_features, n_directions) or None, default=None
        Directions in which components vary freely. None means all, or the principal ones of many.

    Returns
    -------
    MixtureDensity
        The mixture.
    """
    if np.isnan(x).any():
        return _fit_with_holes(x, weights, rng, n_components, max_components)
    basis = _principal_basis(x, weights, rng) if basis is None else basis
    rows = Rows.of(x, weights, basis)
    search = Search(rows, max_components, rng, n_components)
    search.run()
    return with_dimensions(rows, search.final(rows))


def _fit_with_holes(
    x: DoubleArray,
    weights: DoubleArray,
    rng: np.random.RandomState,
    n_components: int | None,
    max_components: int,
) -> MixtureDensity:
    """Look for a mixture of rows whose holes are filled by draws, and fit it to what is known."""
    rows = Rows.of(x, weights)
    filled = replace(rows, h=np.where(np.isnan(x), 0.0, x))
    one = maximise(filled, weights[:, None], FIRST_FAMILY)
    # Zeros have made it too narrow.
    missing = np.isnan(x).mean()
    one = replace(
        one,
        variances=one.variances + missing,
        noise_variances=one.noise_variances + missing,
    )
    density = em(rows, one, FIRST_FAMILY, *CHOICE)
    for _ in range(N_FILLS):
        filled = replace(rows, h=density.impute(x, rng))
        search = Search(filled, max_components, rng, n_components, rows)
        search.run()
        density = search.final(rows)
    return with_dimensions(rows, density)


def _principal_basis(
    x: DoubleArray, weights: DoubleArray, rng: np.random.RandomState
) -> DoubleArray:
    """Return the directions that components vary in: of many features the principal ones.

    Held-out rows say how many: those that make them most probable under one normal distribution
    with the same variance in all others.
    """
    n, d = x.shape
    if d <= MAX_DIRECTIONS:
        return np.eye(d)
    order = rng.permutation(n)
    n_out = max(int(HELD_OUT * n), 1)
    train, valid = (x[rows] * np.sqrt(weights[rows])[:, None] for rows in (order[n_out:], order))
    variances, directions = principal_directions(train)
    k = min(MAX_DIRECTIONS, len(variances) - 1)
    valid = valid[:n_out] / np.sqrt(weights[order[:n_out]])[:, None]
    along = np.square(valid @ directions[:k].T).mean(axis=0)
    total, own = np.square(valid).sum(axis=1).mean(), variances.sum()
    kept = np.arange(1, k + 1)
    noise = (own - variances[:k].cumsum()) / (d - kept)
    noise = np.maximum(noise, LEAST_VARIANCE * own / d)
    losses = (np.log(variances[:k]) + along / variances[:k]).cumsum()
    losses += (d - kept) * np.log(noise) + (total - along.cumsum()) / noise
    rank = int(losses.argmin()) + 1
    return principal_directions(x * np.sqrt(weights)[:, None])[1][:rank].T


def with_dimensions(rows: Rows, density: MixtureDensity) -> MixtureDensity:
    """Return a mixture that knows how many directions of each component stand out of the noise."""
    ranks = np.array([len(part.variances) for part in flat_parts(rows, density)])
    return replace(density, dimensions=ranks)


def flat_parts(rows: Rows, density: MixtureDensity) -> list[FlatPart]:
    """Return the flat parts of rows: one for each component of a mixture.

    Parameters
    ----------
    rows : Rows
        The rows.

    density : MixtureDensity
        A mixture in their basis.

    Returns
    -------
    list of FlatPart
        In the order of the components.
    """
    rows = rows if density.background is None else rows.facing(density.background)
    shares, _, _ = rows.responsibilities(density)
    shares = shares + np.finfo(float).tiny
    moments = rows.moments(shares, density if rows.has_holes else None)
    parts = []
    for c, weight in enumerate(density.weights):
        values, vectors = np.linalg.eigh(moments.covariances[c])
        values = np.maximum(values[::-1], 0)
        mean = (values.sum() + moments.rests[c]) / rows.n_features
        floor = LEAST_VARIANCE * max(mean, np.finfo(float).tiny)
        ranks, noises = spikes(
            values[None] + floor,
            moments.rests[c : c + 1],
            rows.n_features,
            moments.n_rows[c : c + 1],
            floor,
        )
        directions = vectors[:, ::-1][:, : ranks[0]]
        part = FlatPart(
            float(weight),
            rows.center + rows.basis @ moments.means[c],
            (rows.basis @ directions).T,
            values[: ranks[0]],
            float(noises[0]),
        )
        parts.append(part)
    return parts
