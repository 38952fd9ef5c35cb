"""Samples whose numbers are not all given once: weights, copies, and missing values."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skvaeense.utils import _validation
from skvaeense.utils._linalg import ROUNDING, TINY
from skvaeense.utils._rows import MANY_ROWS, row_blocks
from skvaeense.utils._typing import DoubleArray, FloatArray, IntArray, RandomState

# Number of columns that distinguish most rows.
FEW_COLUMNS = 8


def checked_weights(sample_weight: ArrayLike | None, X: Any) -> DoubleArray | None:
    """Return valid weights of samples.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
        Weights from a user.

    X : array-like of shape (n_samples, n_features)
        The samples; only their number is used.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        The weights; None if there are none. Weights become 0 if they are too small, compared with
        the largest, to change a sum of squares. If the sum of squares is out of range, weights are
        divided by the largest.

    Raises
    ------
    ValueError
        If weights are not one finite number for each sample, or one is negative, or all are 0.
    """
    if sample_weight is None:
        return None
    weights = _validation.check_weights(sample_weight, X)
    shares = weights / weights.max()
    squares = np.square(shares)
    with np.errstate(over="ignore"):
        is_in_range = 0 < np.square(weights).sum() < np.inf
    return np.where(squares < np.finfo(np.float64).eps, 0.0, weights if is_in_range else shares)


class LawMixin(_validation.DocLinkMixin):
    """Check samples, and score and draw them by a law, the first of the `_fitted_names`."""

    n_components_: int
    _fitted_names: tuple[str, ...]
    _takes_missing = False
    # The threads of results, for samples of a shape.
    _threads: Any = nullcontext

    @property
    def _law(self) -> Any:
        return getattr(self, self._fitted_names[0])

    def _check(self, X: Any, *, reset: bool = False) -> DoubleArray:
        if not reset:
            check_is_fitted(self)
        checked: DoubleArray = validate_data(
            self,
            _validation.plain(X, takes_missing=self._takes_missing),
            dtype=np.float64,
            ensure_all_finite="allow-nan" if self._takes_missing else True,
            ensure_min_samples=2 if reset else 1,
            reset=reset,
        )
        return checked

    def _by_law(self, X: ArrayLike, function: Callable[[Any, DoubleArray], Any]) -> Any:
        """Return what a function of the law and a block of samples returns, if it is finite."""
        rows = self._check(X)
        blocks = row_blocks(len(rows), rows.shape[1], self.n_components_)
        with self._threads(rows.shape), np.errstate(over="ignore", invalid="ignore"):
            found = [function(self._law, rows[block]) for block in blocks]
            return _validation.checked_results(np.concatenate(found))

    def score_samples(self, X: ArrayLike) -> DoubleArray:
        """Return the log-density of each sample, or a lower bound.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples. Under a mixture they can have missing values, given as NaN; the density is then
            the density of the known values.

        Returns
        -------
        ndarray of shape (n_samples,)
            Nats in units of X, as from `PCA.score_samples`. Under gates it is a lower bound: the
            density of the most probable pattern of open gates that a search finds, and of all
            patterns that differ from it in one gate.
        """
        return self._by_law(X, lambda law, rows: law.log_prob(rows))

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean log-density, or the mean of its lower bounds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each sample in the mean: how often it counts.

        Returns
        -------
        float
            Mean of `score_samples`.
        """
        scores = self.score_samples(X)
        return float(np.average(scores, weights=checked_weights(sample_weight, scores)))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> Any:
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or a tuple
            Samples, noise included. A mixture returns them in a tuple, with the component of each
            sample. No sample is drawn from the broad distribution of a mixture.

        Raises
        ------
        ValueError
            If `n_samples` is not an int, or below 1.
        """
        check_is_fitted(self)
        n_samples = _validation.check_integer(n_samples, "n_samples", minimum=1)
        return self._law.sample(n_samples, check_random_state(random_state))


class Distinct(NamedTuple):
    """Distinct rows, and how often each row counts.

    Attributes
    ----------
    X : ndarray of shape (n_distinct, n_features)
        The rows.

    weights : ndarray of shape (n_distinct,) or None
        Weights of the rows, the smallest of which is 1; None if all are equal.

    places : ndarray of int of shape (n_samples,) or slice
        Index of the distinct row of each sample; -1 for a sample of weight 0.
    """

    X: FloatArray
    weights: DoubleArray | None
    places: IntArray | slice

    @property
    def effective_size(self) -> float:
        """Number of equally weighted rows with equal information: Kish, "Survey Sampling", 1965."""
        if self.weights is None:
            return float(len(self.X))
        return float(self.weights.sum() ** 2 / np.square(self.weights).sum())


def distinct_rows(X: FloatArray, weights: DoubleArray | None = None) -> Distinct:
    """Return the distinct rows, and how often each row counts.

    With these, a row of weight 2 has the same effect as a row that occurs twice, and no row is both
    held out and trained on.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.

    weights : ndarray of shape (n_samples,) or None, default=None
        Weights of the samples; None means 1.

    Returns
    -------
    Distinct
        The distinct rows of weight above 0, or X itself if no row is left out. Their order does not
        depend on the order of X, unless all weights are equal.
    """
    if weights is None and len(np.unique(_hashes(X[:, :FEW_COLUMNS]))) == len(X):
        return Distinct(X, None, slice(None))
    places = np.full(len(X), -1)
    counts = np.ones(len(X), dtype=bool) if weights is None else weights > 0
    if weights is not None and not counts.all():
        X, weights = X[counts], weights[counts]
    _, first, which = np.unique(_hashes(X), return_index=True, return_inverse=True)
    if len(first) < len(X) and not np.array_equal(X[first][which], X, equal_nan=True):
        # Different rows have the same hash.
        _, first, which = np.unique(X, axis=0, return_index=True, return_inverse=True)
    if len(first) == 1:
        # A fit needs two rows.
        places[counts] = 0
        return Distinct(X[[0, 0]], None, places)
    sums = np.bincount(which.ravel(), weights)
    is_equal = sums.min() == sums.max()
    if is_equal and len(first) == len(places):
        return Distinct(X, None, slice(None))
    # By columns, and rows that agree in these by their hash: the order of X does not matter.
    order = np.argsort(first) if is_equal else np.lexsort(X[first, :FEW_COLUMNS].T[::-1])
    places[counts] = np.argsort(order)[which.ravel()]
    return Distinct(X[first[order]], None if is_equal else sums[order] / sums.min(), places)


def own_order(x: FloatArray, center: Any = 0.0, scale: float = 1.0) -> IntArray:
    """Return an order of rows that depends neither on their order nor on the order of features.

    Rows are sorted by their size, and among equal sizes by other sums over features. Sums count as
    equal up to rounding. Copies of a row follow one another, even if other rows have the same sums.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        Rows; NaN counts as the centre.

    center : array-like of shape (n_features,) or float, default=0
        Centre of the rows.

    scale : float, default=1
        Size of the rows.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Positions of the rows in this order.
    """
    keys, hashes = np.empty((3, len(x))), np.empty(len(x))
    for rows in row_blocks(*x.shape):
        with np.errstate(over="ignore", invalid="ignore"):
            known = np.nan_to_num((x[rows].astype(np.float64) - center) / scale)
            square = np.square(known)
            sums = square.sum(axis=1), (square * known).sum(axis=1), np.square(square).sum(axis=1)
        keys[:, rows], hashes[rows] = sums, _hashes(known)
    unit = np.maximum(np.abs(keys).mean(axis=1, where=np.isfinite(keys)), TINY)[:, None]
    return np.lexsort((hashes, *np.round(keys / (ROUNDING * unit))[::-1]))


def _hashes(X: FloatArray) -> Any:
    """Return a hash of each row: equal for equal rows, and seldom equal for other rows."""
    factors = np.random.RandomState(0).standard_normal(X.shape[1])
    blocks = row_blocks(*X.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [(np.nan_to_num(X[rows], nan=np.e) * factors).sum(axis=1) for rows in blocks]
    return np.concatenate(parts)


def n_draws(weights: DoubleArray) -> int:
    """Return the number of draws that represent weighted rows.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        Weights above 0.

    Returns
    -------
    int
        Enough that the lightest row is drawn once, but at most 8,192, or the number of rows if
        there are more.
    """
    return max(len(weights), min(round(weights.sum() / weights.min()), MANY_ROWS))


def drawn(weights: DoubleArray, offset: float = 0.5) -> IntArray:
    """Return positions of rows, each repeated according to its weight: a systematic sample.

    Parameters
    ----------
    weights : ndarray of shape (n_rows,)
        Weights above 0.

    offset : float, default=0.5
        Between 0 and 1. If it is uniform, row i is expected ``n w_i / sum(w)`` times.

    Returns
    -------
    ndarray of int of shape (n_draws(weights),)
        Positions, ascending. Row i occurs as often as expected, rounded up or down.
    """
    n, sums = n_draws(weights), np.cumsum(weights)
    # The ends of intervals with lengths in proportion to weights.
    ends = sums * (n / sums[-1])
    places = np.arange(n) + offset
    return np.minimum(np.searchsorted(ends, places, side="right"), len(weights) - 1)


def imputations(
    impute: Callable[[np.random.RandomState | None], FloatArray],
    X: Any,
    n_draws: int | None,
    random_state: RandomState,
) -> Any:
    """Return filled samples in the type of the input: once with means, or with several draws.

    Parameters
    ----------
    impute : callable
        Takes a source of randomness for draws, or None for means, and returns filled samples.

    X : array-like or data frame of shape (n_samples, n_features)
        The samples with missing values.

    n_draws : int or None
        Number of draws. None takes means.

    random_state : int, RandomState instance or None
        Seed of the draws.

    Returns
    -------
    ndarray or data frame of shape (n_samples, n_features), or a list of them
        Filled samples; a list if there are draws. Columns of a data frame keep their floating type.

    Raises
    ------
    ValueError
        If `n_draws` is less than 1.
    """

    def filled(rng: np.random.RandomState | None) -> Any:
        values = impute(rng)
        if not (hasattr(X, "iloc") and hasattr(X, "columns")):
            return values
        kept = {name: kind for name, kind in X.dtypes.items() if getattr(kind, "kind", "") == "f"}
        return type(X)(values, index=X.index, columns=X.columns).astype(float).astype(kept)

    if n_draws is None:
        return filled(None)
    rng = check_random_state(random_state)
    return [filled(rng) for _ in range(_validation.check_integer(n_draws, "n_draws", minimum=1))]
