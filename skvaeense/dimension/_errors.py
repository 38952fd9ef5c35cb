"""The sources of errors in dimensions, and the reliability that follows from them."""

from collections.abc import Mapping

import numpy as np

from skvaeense.dimension._local import LocalDimension
from skvaeense.utils._typing import DoubleArray

# Weights of the sources of error: distances differ by chance; the answer is outside the range of
# the estimates by distances; ranks nearby differ from the answer. Of a dozen choices, these weights
# left the most answers certain, while at most 1 % of all answers were certain but wrong, in two
# draws of the families `CHOSEN_BY` of `python -m benchmarks dimension_unseen`, at each size and
# with noise.
SAMPLING, DISAGREEMENT, SPREAD = 0.7, 2.0, 0.35
# The standard error at which a dimension is as likely right as wrong: of 2, 2.5, 3, 3.5 and 4, the
# largest with at most 0.3 % of all answers certain but wrong, on the families `CHOSEN_BY`, by
# `python -m benchmarks dimension_unseen chances`.
EVEN_CHANCE = 3


def neighbor_errors(around: LocalDimension, answer: DoubleArray) -> dict[str, DoubleArray]:
    """Return the standard errors of answers by neighbours, by reason.

    Parameters
    ----------
    around : LocalDimension
        Measurements by the neighbours.

    answer : ndarray of shape (n_samples,)
        The dimension that follows from these measurements.

    Returns
    -------
    dict of str to ndarray of shape (n_samples,)
        Standard errors in dimensions.
    """
    between = np.clip(answer, around.least, np.maximum(around.ratio, around.least))
    return {
        "sampling": SAMPLING * around.error,
        # If noise hides all directions, the answer may be noise alone.
        "noise": np.hypot(np.maximum(around.fall, 0.0), around.hidden * answer),
        "disagreement": DISAGREEMENT * np.abs(answer - between),
        "intersection": SPREAD * around.spread,
    }


def standard_error(errors: Mapping[str, DoubleArray]) -> DoubleArray:
    """Return the standard errors of dimensions from their independent parts.

    Parameters
    ----------
    errors : mapping of str to ndarray of shape (n_samples,)
        Standard errors by reason; NaN where they are unknown.

    Returns
    -------
    ndarray of shape (n_samples,)
        Roots of the sums of squares.
    """
    return np.sqrt(np.square(list(errors.values())).sum(axis=0))


def probability_right(std: DoubleArray) -> DoubleArray:
    """Return the probabilities that errors are under half a dimension.

    A standard error covers the dimensions that the measurements leave open, and the answer is the
    most plausible of them. So the answer is right more often than normal errors would allow: its
    odds are inversely proportional to the standard error.

    Parameters
    ----------
    std : ndarray of shape (n_samples,)
        Standard errors; NaN where they are unknown.

    Returns
    -------
    ndarray of shape (n_samples,)
        Probabilities, ``1 / (1 + std / 3)``; NaN where they are unknown.
    """
    return np.asarray(1 / (1 + std / EVEN_CHANCE))
