"""Noise that makes samples continuous, so that no density of them is without bound."""

import numpy as np


def find_widths(X, dequantize):
    """Return the width of the uniform noise of each column, in units of X; 0 means none."""
    if dequantize is None:
        return np.zeros(X.shape[1])
    if isinstance(dequantize, str):
        if dequantize != "auto":
            raise ValueError(
                f"dequantize must be 'auto', None, a float or an array, got {dequantize!r}."
            )
        return (X == np.round(X)).all(axis=0).astype(float)
    widths = np.asarray(dequantize, dtype=float)
    if widths.shape not in {(), X.shape[1:]} or not (np.isfinite(widths) & (widths >= 0)).all():
        raise ValueError(
            f"dequantize must have one width, or one for each of the {X.shape[1]} features, none "
            f"of them negative; got {dequantize!r}."
        )
    return np.broadcast_to(widths, X.shape[1:])


def smooth(X, widths, noise_floor, rng):
    """Return X with uniform and Gaussian noise, and the standard deviations of the latter.

    These are `noise_floor` times the standard deviation of the column, or `noise_floor` itself for
    a column that is constant.
    """
    X = X + widths * rng.random(X.shape)
    spread = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), 1.0)
    noise_std = noise_floor * spread
    return X + noise_std * rng.standard_normal(X.shape), noise_std
