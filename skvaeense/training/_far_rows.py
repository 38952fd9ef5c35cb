"""Rows far from all others: a few would decide the centre, the scale and the training alone."""

import numpy as np
from sklearn.utils import gen_batches

from skvaeense.training._scaling import CHUNK
from skvaeense.training._structure import FAR, MAX_FAR_SHARE, typical_rows

# Rows that say what is far.
SAMPLE_ROWS = 4096
# Far rows that have less than this share of the variance are left where they are: the tails of a
# skewed distribution have.
LEAST_SHARE = 0.5


def find_far_rows(X: np.ndarray) -> np.ndarray:
    """Return the positions of the rows that are far from most others, and would outweigh them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in any units and order.

    Returns
    -------
    ndarray of int
        Ascending; empty if no row is far, if more than 5 % are, which are a part of the data, or
        if they have less than half of the variance.
    """
    n_rows = min(len(X), SAMPLE_ROWS)
    sample = X[np.random.RandomState(0).choice(len(X), n_rows, replace=False)].astype(np.float64)
    sizes = np.abs(sample).max(axis=1)
    unit = np.median(sizes) or sizes.max() or 1.0
    sample = _in_unit(sample, unit)
    sample = sample[typical_rows(sample)]
    center = sample.mean(axis=0)
    squares = np.empty(len(X))
    for rows in gen_batches(len(X), max(1, CHUNK // X.shape[1])):
        squares[rows] = np.square(_in_unit(X[rows], unit) - center).sum(axis=1)
    median = np.median(np.square(sample - center).sum(axis=1))
    far = squares > FAR**2 * median if median > 0 else np.zeros(len(X), dtype=bool)
    outweigh = squares[far].sum() > LEAST_SHARE * squares.sum()
    return np.flatnonzero(far) if outweigh and far.mean() <= MAX_FAR_SHARE else np.empty(0, int)


def _in_unit(X: np.ndarray, unit: float) -> np.ndarray:
    """Return rows in a unit in which squares are finite, whatever the units of X."""
    with np.errstate(over="ignore"):
        return np.clip(X.astype(np.float64) / unit, -1e100, 1e100)
