"""Rows with missing values."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.utils._typing import FloatArray, RandomState
from skvaeense.utils._validation import check_integer


def like_input(filled: FloatArray, X: Any) -> Any:
    """Return filled samples in the type of the input: a data frame with its columns, or an array.

    Parameters
    ----------
    filled : ndarray of shape (n_samples, n_features)
        Samples without NaN.

    X : array-like or data frame of shape (n_samples, n_features)
        The samples with missing values.

    Returns
    -------
    ndarray or data frame
        Filled samples. Columns of a data frame of pandas keep their floating type.
    """
    if not (hasattr(X, "iloc") and hasattr(X, "columns")):
        return filled
    kept = {name: kind for name, kind in X.dtypes.items() if getattr(kind, "kind", "") == "f"}
    return type(X)(filled, index=X.index, columns=X.columns).astype(float).astype(kept)


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
        Filled samples, as from `like_input`; a list if there are draws.

    Raises
    ------
    ValueError
        If `n_draws` is less than 1.
    """
    if n_draws is None:
        return like_input(impute(None), X)
    n_draws = check_integer(n_draws, "n_draws", minimum=1)
    rng = check_random_state(random_state)
    return [like_input(impute(rng), X) for _ in range(n_draws)]
