"""Validation and normalisation that several metrics share."""

from typing import Any

import numpy as np

from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import check_array, check_weights


def drop_weightless(sample_weight: Any, *arrays: Any) -> tuple[Any, ...]:
    """Return the rows of the arrays whose weight is above 0, and their weights or None."""
    if sample_weight is None:
        return *arrays, None
    weights = check_weights(sample_weight, arrays[0])
    kept = weights > 0
    return *(array[kept] for array in arrays), weights[kept]


def mean_inner(a: DoubleArray, b: DoubleArray, weights: DoubleArray | None) -> float:
    """Return the mean inner product of the rows of both arrays."""
    return float(np.average(np.einsum("ij,ij->i", a, b), weights=weights))


def check_pair(
    first: Any, second: Any, sample_weight: Any, names: tuple[str, str] = ("X", "X_reconstructed")
) -> tuple[DoubleArray, DoubleArray, DoubleArray | None]:
    """Check both arrays; return them as float64, and weights, without rows of weight 0."""
    pair = zip((first, second), names, strict=True)
    a, b = (check_array(x, dtype=np.float64, input_name=name) for x, name in pair)
    if a.shape != b.shape:
        raise ValueError(f"{' and '.join(names)} must have the same shape, {a.shape} != {b.shape}.")
    return drop_weightless(sample_weight, a, b)


def check_nonzero_rows(values: DoubleArray, name: str, advice: str) -> None:
    """Raise a ValueError if rows have norm 0, with their number and `advice` on what to do."""
    n_zero = int(np.count_nonzero(~values.any(axis=1)))
    if n_zero:
        raise ValueError(f"{name} has norm 0 in {n_zero} of its {len(values)} row(s): {advice}.")


def normalise_rows(values: DoubleArray) -> DoubleArray:
    """Return the rows scaled to norm 1, and rows of norm 0 unchanged."""
    scaled, _ = in_unit(values, axis=1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norms == 0, 1.0, norms)


def in_unit(values: DoubleArray, axis: int | None = None) -> tuple[DoubleArray, Any]:
    """Return values from -1 to 1, and the exponents of the powers of two that they are units of.

    A power of two changes no digit, and squares of the values neither overflow nor vanish.
    """
    exponents = np.frexp(np.abs(values).max(axis=axis, keepdims=axis is not None))[1]
    return np.ldexp(values, -exponents), exponents
