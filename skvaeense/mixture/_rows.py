"""Rows made ready once: distinct, centred, scaled, split, without rows far from all others."""

import math
import reprlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np

from skvaeense.mixture import _em
from skvaeense.mixture._search import CHOICE, TIED, Search, held_out
from skvaeense.samples._weights import distinct_rows, own_order
from skvaeense.utils._linalg import ROUNDING, TINY, threads_for
from skvaeense.utils._records import Record
from skvaeense.utils._rows import (
    IN_MEMORY,
    MANY_ROWS,
    MAX_ENTRIES,
    N_BLOCKS,
    SEARCH_ROWS,
    find_steps,
    row_blocks,
)
from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray
from skvaeense.utils._validation import checked_scale
from skvaeense.utils._warnings import warn_user

# Largest share of the rows that is ever left out.
MAX_FAR_SHARE = 0.05
# Beyond this multiple of the typical size of rows, rounding of squares reaches the least variance.
FAR = float(np.sqrt(_em.LEAST_VARIANCE / np.finfo(float).eps))
# Number of rows, and of their entries, that a law is found in; of more rows a random part is taken.
MOST_ROWS, MOST_ENTRIES = N_BLOCKS * MANY_ROWS, IN_MEMORY // np.dtype(float).itemsize


@dataclass(frozen=True)
class Reach(Record):
    """A ball around most rows, and how much rows outside of it count.

    The ball is so large that the rows in it hold as much as `MAX_FAR_SHARE` of them would at its
    edge. A row outside counts less, so that it never holds more than a row at the edge::

        min(1, (radius / distance)^4)

    So no single row determines what is found, and a row that is moved outwards loses its influence
    step by step. If more than `MAX_FAR_SHARE` of the rows are far, they are a part of the data, and
    the ball reaches to them.

    Attributes
    ----------
    center : ndarray of shape (n_features,)
        Centre of the ball.

    radius : float
        Radius; infinite if most rows are equal, or if too many are far.
    """

    center: Annotated[DoubleArray, "d"]
    radius: Annotated[float, ">0 inf"]

    # A row that counts for less is left out.
    LEAST = 0.01

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.center)

    @classmethod
    def of(cls, X: FloatArray, weights: DoubleArray, center: DoubleArray) -> Self:
        """Return the ball of weighted rows around a centre."""
        sizes = _norms(X, center)
        order = np.argsort(-sizes, kind="stable")
        sizes, weights = sizes[order], weights[order]
        # What may be outside, once the k farthest rows are.
        room = MAX_FAR_SHARE * weights.sum() - (np.cumsum(weights) - weights)
        last = int(np.argmax(room <= 0)) if (room <= 0).any() else len(room) - 1
        # What the rows from the k-th on hold, in units of the square of its size: so no square is
        # out of range.
        unit = np.where(sizes > 0, sizes, np.inf)
        held = np.empty(last + 1)
        held[last] = weights[last:] @ np.square(sizes[last:] / unit[last])
        for k in range(last - 1, -1, -1):
            held[k] = weights[k] + held[k + 1] * (sizes[k + 1] / unit[k]) ** 2
        fits = held * (1 + 1e-6) >= room[: last + 1]
        first = int(np.argmax(fits)) if fits.any() else last
        # If most rows are equal, nothing tells how far the others are.
        if room[first] <= 0 or sizes[first] == 0:
            return cls(center, np.inf)
        return cls(center, float(sizes[first] * np.sqrt(held[first] / room[first])))

    def shares(self, X: FloatArray) -> DoubleArray:
        """Return how much each row counts, from 0 to 1; NaN takes no row farther away."""
        if not np.isfinite(self.radius):
            return np.ones(len(X))
        with np.errstate(over="ignore"):
            shares = np.maximum(_norms(X, self.center) / self.radius, 1.0) ** -4.0
        return np.where(shares < self.LEAST, 0.0, shares)


def _norms(X: FloatArray, center: DoubleArray) -> DoubleArray:
    """Return the distances of rows from a centre, whatever their size; NaN counts as the centre."""
    norms = np.empty(len(X))
    with np.errstate(over="ignore"):
        for rows in row_blocks(*X.shape):
            x = np.abs(np.nan_to_num(X[rows] - center))
            largest = x.max(axis=1, initial=0.0)
            squares = np.square(x / np.where(largest > 0, largest, 1.0)[:, None]).sum(axis=1)
            norms[rows] = largest * np.sqrt(squares)
    return np.minimum(norms, np.finfo(np.float64).max)


def warn_of_far(far: IntArray, n_rows: int, where: str = "") -> None:
    """Warn of rows that are left out, by name."""
    if len(far):
        warn_user(
            f"{len(far)} of {n_rows} samples are far from all others and were left out of "
            f"training, which they would dominate: rows {reprlib.repr(far.tolist()).strip('[]')}"
            f"{where}. score_samples gives such samples low scores."
        )


@dataclass(frozen=True, eq=False)
class Units(Record):
    """What makes further rows ready as the first ones.

    Attributes
    ----------
    center, scale : ndarray of shape (n_features,) and float
        What rows are shifted and divided by.

    reach : Reach
        The ball outside of which rows count less, in units of the samples.

    steps : ndarray of shape (n_features,)
        Step between the values of each column, in units of the rows; 0 for columns without one.

    size : float
        Mean variance of neighbouring rows, in units of the rows.
    """

    center: Annotated[DoubleArray, "d"]
    scale: Annotated[float, ">0"]
    reach: Annotated[Reach, "d"]
    steps: Annotated[DoubleArray, "d >=0"]
    size: Annotated[float, ">=0"]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.center)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows that a law is found in.

    Attributes
    ----------
    known : ndarray of shape (n_rows, n_features)
        Distinct rows, centred and scaled, in an order of their own; NaN marks missing values.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    units : Units
        Centre, scale and steps of the rows.

    order : ndarray of int of shape (n_rows,)
        Random order of the rows, of which the first are held out.

    far : ndarray of int
        Positions of the given rows that were left out.

    rng : RandomState
        The source of randomness.
    """

    known: DoubleArray
    weights: DoubleArray
    units: Units
    order: IntArray
    far: IntArray
    rng: np.random.RandomState

    @classmethod
    def of(
        cls,
        X: FloatArray,
        weights: DoubleArray | None,
        rng: np.random.RandomState,
        units: Units | None = None,
    ) -> Self:
        """Make rows ready.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples, in any units; NaN marks missing values.

        weights : ndarray of shape (n_samples,) or None
            How often each sample counts, at least 0; None means once.

        rng : RandomState
            The source of randomness.

        units : Units or None, default=None
            The units of earlier rows.

        Returns
        -------
        Prepared
            The rows.
        """
        positions = np.arange(len(X)) if weights is None else np.flatnonzero(weights > 0)
        n = min(len(positions), MOST_ROWS, max(MOST_ENTRIES // X.shape[1], 1))
        if n < len(positions):
            some = X[positions]
            middle = np.nanmedian(some, axis=0)
            with np.errstate(over="ignore"):
                size = float(np.nanmedian(np.abs(some - middle))) or 1.0
            positions = positions[rng.permutation(own_order(some, middle, size))[:n]]
        precision = float(np.finfo(X.dtype).eps)
        rows = X[positions].astype(np.float64)
        counts = np.ones(n) if weights is None else weights[positions]
        if units is None:
            # Copies of a row are added up first, so that they round as one row of their weight.
            distinct = distinct_rows(rows, counts)
            each = np.ones(len(distinct.X)) if distinct.weights is None else distinct.weights
            center, scale = units_of(distinct.X, each)
            reach = Reach.of(rows, counts, center)
        else:
            center, scale, reach = units.center, units.scale, units.reach
        shares = reach.shares(rows)
        far = np.sort(positions[shares == 0])
        rows, counts, shares = rows[shares > 0], counts[shares > 0], shares[shares > 0]
        with np.errstate(over="ignore"):
            if units is None:
                # In units of this scale, no more rows than can be left out lie beyond FAR.
                sizes = np.abs(np.nan_to_num(rows - center)).max(axis=1, initial=0.0)
                size = float(np.quantile(sizes, 1 - MAX_FAR_SHARE)) / FAR if len(rows) else 0.0
                scale = checked_scale(max(scale, size))
            # Clipping at twice FAR does not cut a far part in two.
            x = np.clip((rows - center) / scale, -2 * FAR, 2 * FAR)
        if len(x):
            x, counts = merged(x, counts)
        counts = counts * replace(
            reach, center=(reach.center - center) / scale, radius=reach.radius / scale
        ).shares(x)
        if units is None:
            steps = find_steps(x, counts, same=max(4 * precision, 1e-11))
            units = Units(center, scale, reach, steps, _em.local_size(x))
        return cls(x, counts, units, rng.permutation(len(x)), far, rng)

    @classmethod
    def in_own_units(cls, x: DoubleArray, weights: DoubleArray, rng: np.random.RandomState) -> Self:
        """Return rows that are centred and scaled already, whose columns have no steps."""
        x, weights = merged(x, weights)
        zeros = np.zeros(x.shape[1])
        units = Units(zeros, 1.0, Reach(zeros, np.inf), zeros, _em.local_size(x))
        return cls(x, weights, units, rng.permutation(len(x)), np.zeros(0, dtype=int), rng)

    @property
    def center(self) -> DoubleArray:
        """What rows were shifted by."""
        return self.units.center

    @property
    def scale(self) -> float:
        """What rows were divided by."""
        return self.units.scale

    @property
    def steps(self) -> DoubleArray:
        """Step between the values of each column; 0 for columns without one."""
        return self.units.steps

    def head(self) -> Self:
        """Return at most `MANY_ROWS` of the rows: as many as a search needs."""
        n = min(MANY_ROWS, max(MAX_ENTRIES // self.known.shape[1], 1))
        if n >= len(self.known):
            return self
        some = np.sort(self.order[:n])
        order = np.searchsorted(some, self.order[:n])
        return replace(self, known=self.known[some], weights=self.weights[some], order=order)

    @property
    def counts(self) -> DoubleArray:
        """How often each row of a batch counts: once on average, since only ratios matter."""
        return self.weights * (len(self.weights) / max(self.weights.sum(), TINY))

    @cached_property
    def x(self) -> DoubleArray:
        """The rows with missing values filled in; `known` itself if none is missing."""
        with threads_for(self.known.size * self.known.shape[1]):
            return filled_rows(self)

    @property
    def has_holes(self) -> bool:
        """Whether values are missing."""
        return bool(np.isnan(self.known).any())

    @property
    def valid(self) -> IntArray:
        """The held-out rows, by position; all rows if they are very few."""
        return held_out(self.order[:SEARCH_ROWS])[0]

    @property
    def is_train(self) -> BoolArray:
        """Mask of the rows that are not held out; of all rows if they are very few."""
        valid = self.valid
        mask = np.full(len(self.known), len(valid) == len(self.known))
        mask[np.setdiff1d(np.arange(len(mask)), valid)] = True
        return mask


def units_of(x: FloatArray, weights: DoubleArray) -> tuple[DoubleArray, float]:
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


def _quantile(values: FloatArray, weights: DoubleArray, share: float) -> DoubleArray:
    """Return the quantile of weighted values along the first axis."""
    if weights.min() == weights.max():
        # A partition takes far less time than an order.
        rank = math.ceil(share * len(values) * (1 - ROUNDING)) - 1
        return np.partition(values, rank, axis=0)[rank]
    order = np.argsort(values, axis=0)
    sums = np.take_along_axis(weights, order, axis=0).cumsum(axis=0)
    first = (sums >= share * sums[-1] * (1 - ROUNDING)).argmax(axis=0)
    place = np.take_along_axis(order, first[None], axis=0)
    return np.take_along_axis(values, place, axis=0)[0]


def merged(x: DoubleArray, weights: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the distinct rows, in an order of their own, and the total weight of each.

    A row that occurs twice says no more about the noise than one row of twice the weight. For
    everything else, it counts as two rows. Rows that differ by less than a billionth of their size
    are the same row.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        Rows, centred and of about unit size, so that neither units nor the order of features nor
        rounding decides which rows are the same, and which comes first.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    Returns
    -------
    x : ndarray of shape (n_different, n_features)
        The distinct rows of weight above 0.

    weights : ndarray of shape (n_different,)
        Their weights, scaled so that the smallest is 1.
    """
    x, weights = x[weights > 0], weights[weights > 0]
    order = own_order(x)
    x, weights = x[order], weights[order]
    known = np.nan_to_num(x)
    size = np.abs(known).max(axis=1)
    is_new = np.abs(known[1:] - known[:-1]).max(axis=1) > 1e-9 * np.maximum(size[1:], size[:-1])
    is_new = np.r_[True, is_new | (np.isnan(x[1:]) != np.isnan(x[:-1])).any(axis=1)]
    sums = np.add.reduceat(weights, np.flatnonzero(is_new))
    return x[is_new], sums / sums.min()


def check_seen(X: FloatArray, names: Any = None, weights: DoubleArray | None = None) -> None:
    """Raise an error if a column holds nothing but NaN.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, with NaN for missing values.

    names : array-like of shape (n_features,) or None, default=None
        Names of the columns.

    weights : ndarray of shape (n_samples,) or None, default=None
        How often each sample counts; samples of weight 0 are not seen.

    Raises
    ------
    ValueError
        If a column holds only NaN; the message names the column.
    """
    seen = X if weights is None else X[weights > 0]
    unseen = np.flatnonzero(np.isnan(seen).all(axis=0))
    if len(unseen):
        shown = [repr(names[j]) if names is not None else str(j) for j in unseen]
        raise ValueError(
            f"X holds only NaN in column(s) {', '.join(shown)}. Drop these columns, since nothing "
            "can be learned about them."
        )


def filled_rows(rows: Prepared) -> DoubleArray:
    """Return rows with missing values filled in by draws from a mixture; if none is, the rows.

    The mixture is a rough one: it grows in rows that draws from one normal distribution have
    filled, and is then fitted to the known values. Draws vary as much as known values do; means
    would hide the noise around flat parts.
    """
    if not rows.has_holes:
        return rows.known
    weights, rng, missing = rows.weights, rows.rng, np.isnan(rows.known).mean()
    scale, family = scales_of(rows.known, weights), _em.Family(cut=False, shrinkage=3.0)
    steps = rows.steps / scale
    holed = _em.Rows.of(rows.known / scale, weights, steps=steps)
    one = replace(holed, h=np.nan_to_num(holed.h)).maximise(weights[:, None], family)
    # The zeros in the place of missing values have made this distribution too narrow.
    variances, noises = one.variances + missing, one.noise_variances + missing
    one = holed.em(replace(one, variances=variances, noise_variances=noises), family, *CHOICE)
    both = (_em.Rows.of(one.impute(holed.h, rng), weights, steps=steps),) * 2
    search = Search(both, rng.permutation(len(weights)), rng, n_splits=1).grow()
    return search.final((holed, holed), *CHOICE).impute(holed.h, rng) * scale


def scales_of(x: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the standard deviation of the known values of each feature.

    A constant feature gets the median over the other features, since new samples can differ in it.
    """
    known = ~np.isnan(x) * weights[:, None]
    n = known.sum(axis=0)
    values = np.nan_to_num(x)
    mean = (known * values).sum(axis=0) / n
    variance = (known * np.square(values - mean)).sum(axis=0) / n
    varies = variance > 16 * _em.ROUNDING_VARIANCE * np.square(values).max(axis=0)
    usual = float(np.median(variance[varies])) if varies.any() else 1.0
    return np.sqrt(np.where(varies, variance, usual))
