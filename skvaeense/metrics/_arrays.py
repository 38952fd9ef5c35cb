"""Validation and normalisation that several metrics share."""

from typing import Any

import numpy as np

from skvaeense.utils._arrays import check_array
from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import check_weights


def _drop_weightless(sample_weight: Any, *arrays: Any) -> tuple[Any, ...]:
    """Return the rows of the arrays whose weight is above 0, and their weights or None."""
    if sample_weight is None:
        return *arrays, None
    weights = check_weights(sample_weight, arrays[0])
    kept = weights > 0
    return *(array[kept] for array in arrays), weights[kept]


def _mean_inner(a: DoubleArray, b: DoubleArray, weights: DoubleArray | None) -> float:
    """Return the mean inner product of the rows of both arrays."""
    return float(np.average(np.einsum("ij,ij->i", a, b), weights=weights))


def _check_pair(
    X: Any, X_reconstructed: Any, sample_weight: Any
) -> tuple[DoubleArray, DoubleArray, DoubleArray | None]:
    """Check both arrays; return them as float64, and weights, without rows of weight 0."""
    X = check_array(X, dtype=np.float64, input_name="X")
    X_reconstructed = check_array(X_reconstructed, dtype=np.float64, input_name="X_reconstructed")
    if X.shape != X_reconstructed.shape:
        raise ValueError(
            "X and X_reconstructed must have the same shape, got "
            f"{X.shape} and {X_reconstructed.shape}."
        )
    return _drop_weightless(sample_weight, X, X_reconstructed)


def _check_nonzero_rows(values: DoubleArray, name: str, advice: str) -> None:
    """Raise a ValueError if rows have norm 0, with their number and `advice` on what to do."""
    n_zero = int(np.count_nonzero(~values.any(axis=1)))
    if n_zero:
        raise ValueError(f"{name} has norm 0 in {n_zero} of its {len(values)} row(s): {advice}.")


def _normalise_rows(values: DoubleArray) -> DoubleArray:
    """Return the rows scaled to norm 1, and rows of norm 0 unchanged."""
    scaled, _ = _in_unit(values, axis=1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norms == 0, 1.0, norms)


def _in_unit(values: DoubleArray, axis: int | None = None) -> tuple[DoubleArray, Any]:
    """Return values from -1 to 1, and the exponents of the powers of two that they are units of.

    Squares of them cannot overflow, and the division is exact.
    """
    exponents = np.frexp(np.abs(values).max(axis=axis, keepdims=axis is not None))[1]
    return np.ldexp(values, -exponents), exponents
