"""Validation of the generators' arguments, with error messages that say what to change."""

import math
import numbers
from typing import Any

from skvaeense.utils._validation import check_integer


def integers(values: Any, name: str) -> tuple[int, ...]:
    """Return `values` as a non-empty tuple of ints, each at least 1."""
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(
            f"{name} must be a sequence of int such as (4, 4, 4), got {values!r}. "
            "Write (4,) for a single value."
        )
    values = tuple(values)
    if not values:
        raise ValueError(f"{name} is empty: give at least one int of at least 1.")
    return tuple(
        check_integer(value, f"{name}[{position}]", minimum=1)
        for position, value in enumerate(values)
    )


def real(value: Any, name: str, *, positive: bool = False) -> float:
    """Return `value` as a finite float of at least 0, or above 0 if it must be `positive`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a float, got {value!r} of type {type(value).__name__}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    if value < 0 or (positive and value == 0):
        kind = "positive" if positive else "0 or positive"
        raise ValueError(f"{name} must be {kind}, got {value}.")
    return float(value)


def common(n_samples: Any, n_features: Any, noise: Any) -> tuple[int, int, float]:
    """Validate and return the arguments that the generators share."""
    n_samples = check_integer(n_samples, "n_samples", minimum=1)
    n_features = check_integer(n_features, "n_features", minimum=1)
    return n_samples, n_features, real(noise, "noise")


def room(n_needed: int, n_features: int, reason: str) -> None:
    """Raise a ValueError if `n_features` is less than the `n_needed` that `reason` requires."""
    if n_needed > n_features:
        raise ValueError(
            f"{reason} needs at least {n_needed} features, got n_features={n_features}: "
            f"raise n_features to {n_needed} or lower the dimensions."
        )
