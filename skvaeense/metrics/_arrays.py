"""Validation and normalisation that several metrics share."""

from typing import Any

import numpy as np
from sklearn.utils import check_array

from skvaeense.utils._typing import DoubleArray


def _check_pair(X: Any, X_reconstructed: Any) -> tuple[DoubleArray, DoubleArray]:
    """Return both arrays as float64, once their shapes agree."""
    X = check_array(X, dtype=np.float64, input_name="X")
    X_reconstructed = check_array(X_reconstructed, dtype=np.float64, input_name="X_reconstructed")
    if X.shape != X_reconstructed.shape:
        raise ValueError(
            "X and X_reconstructed must have the same shape, got "
            f"{X.shape} and {X_reconstructed.shape}."
        )
    return X, X_reconstructed


def _check_nonzero_rows(values: DoubleArray, name: str, advice: str) -> None:
    """Raise if rows have norm 0, with their number and `advice` on what to do."""
    n_zero = int(np.count_nonzero(np.linalg.norm(values, axis=1) == 0))
    if n_zero:
        raise ValueError(f"{name} has norm 0 in {n_zero} of its {len(values)} row(s): {advice}.")


def _normalise_rows(values: DoubleArray) -> DoubleArray:
    """Return the rows at norm 1, and those of norm 0 as they are."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(norms == 0, 1.0, norms)
