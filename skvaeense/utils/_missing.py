"""Rows with missing values."""

from typing import Any

import numpy as np

from skvaeense.utils._typing import FloatArray


def check_seen(X: FloatArray, names: Any = None) -> None:
    """Raise an error if a column holds nothing but NaN.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, with NaN for what is missing.

    names : array-like of shape (n_features,) or None, default=None
        Names of the columns.

    Raises
    ------
    ValueError
        If there is one; the message names it.
    """
    unseen = np.flatnonzero(np.isnan(X).all(axis=0))
    if len(unseen):
        shown = [repr(names[j]) if names is not None else str(j) for j in unseen]
        raise ValueError(
            f"X holds nothing but NaN in column {', '.join(shown)}, so that nothing is known of "
            "it; leave it out."
        )


def like_input(filled: FloatArray, X: Any) -> Any:
    """Return filled samples as what came in: a data frame with its columns, or an array.

    Parameters
    ----------
    filled : ndarray of shape (n_samples, n_features)
        Samples without NaN.

    X : array-like or data frame of shape (n_samples, n_features)
        The same with holes.

    Returns
    -------
    ndarray or data frame
        Filled samples. Columns of a data frame of pandas keep their floating type.
    """
    if not (hasattr(X, "iloc") and hasattr(X, "columns")):
        return filled
    frame = X.astype(float)
    frame = frame.fillna(type(X)(filled, index=X.index, columns=X.columns))
    kept = {name: kind for name, kind in X.dtypes.items() if getattr(kind, "kind", "") == "f"}
    return frame.astype(kept)
