"""Arrays in forms that scikit-learn does not read rightly, and its checks of such arrays."""

from typing import Any

import numpy as np
from sklearn.utils import validation


def plain(X: Any, name: str = "X", *, takes_missing: bool = False) -> Any:
    """Return X in a form that scikit-learn reads rightly.

    scikit-learn ignores masks, and cannot read a tensor with a gradient or a pending negation.

    Parameters
    ----------
    X : object
        Samples, weights or labels in any form.

    name : str, default="X"
        Their name in error messages.

    takes_missing : bool, default=False
        Whether masked entries become NaN, instead of an error.

    Returns
    -------
    object
        A tensor without its graph; an array with NaN for masked entries; anything else as it is.

    Raises
    ------
    ValueError
        If entries are masked, and missing values are not supported.
    """
    if hasattr(X, "resolve_neg"):
        return X.detach().resolve_conj().resolve_neg()
    if isinstance(X, list | tuple) and any(map(np.ma.isMaskedArray, X)):
        X = np.ma.asanyarray(X)
    if not np.ma.is_masked(X):
        return X
    if not takes_missing:
        raise ValueError(
            f"{name} has {np.ma.count_masked(X)} masked entries, but missing values are not "
            f"supported here. Fill them in first, for instance by {name}.filled(value)."
        )
    kind = X.dtype if X.dtype.kind in "fc" else np.float64
    return np.ma.filled(X.astype(kind), np.nan)


def dense(X: Any) -> Any:
    """Return an array, also of a sparse one."""
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)


def check_array(
    X: Any,
    *,
    dtype: Any = "numeric",
    accept_sparse: Any = False,
    input_name: str = "",
    ensure_min_samples: int = 1,
) -> Any:
    """Return a valid array without missing values, by scikit-learn, of what `plain` reads."""
    return validation.check_array(
        plain(X, input_name or "X"),
        dtype=dtype,
        accept_sparse=accept_sparse,
        input_name=input_name,
        ensure_min_samples=ensure_min_samples,
    )


def column_or_1d(y: Any, *, dtype: Any = None, input_name: str = "y", warn: bool = False) -> Any:
    """Return one entry for each sample, by scikit-learn, of what `plain` reads."""
    return validation.column_or_1d(
        plain(y, input_name), dtype=dtype, input_name=input_name, warn=warn
    )
