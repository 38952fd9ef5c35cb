"""Steps that the generators share: checks, random frames, equal shares, shuffling and noise."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from skvaeense.utils._typing import DoubleArray, IntArray
from skvaeense.utils._validation import AT_LEAST_ONE, NON_NEGATIVE, SIZES

# Samples, the manifold of each sample, and the dimension of that manifold.
Samples: TypeAlias = tuple[DoubleArray, IntArray, IntArray]
# Returns n samples of manifold i, without noise.
Draw: TypeAlias = Callable[[int, int], DoubleArray]
# Constraints of the parameters that generators share.
COMMON: dict[str, list[Any]] = {
    "n_samples": [AT_LEAST_ONE],
    "n_features": [AT_LEAST_ONE],
    "dims": [SIZES],
    "noise": [NON_NEGATIVE],
}


def check_room(n_needed: int, n_features: int, reason: str) -> None:
    """Raise a ValueError if `n_features` is less than the `n_needed` that `reason` requires."""
    if n_needed > n_features:
        raise ValueError(
            f"{reason} needs at least {n_needed} features, got n_features={n_features}: "
            f"raise n_features to {n_needed} or lower the dimensions."
        )


def draw_frame(n_directions: int, n_features: int, rng: np.random.RandomState) -> DoubleArray:
    """Return orthonormal rows, shape (n_directions, n_features), of uniformly random span."""
    return orthonormalise(rng.standard_normal((n_directions, n_features)))


def orthonormalise(directions: DoubleArray) -> DoubleArray:
    """Return orthonormal rows; the first k span the same space as the first k `directions`."""
    return np.linalg.qr(directions.T)[0].T


def draw_union(
    n_samples: int, dims: Any, draw: Draw, noise: float, rng: np.random.RandomState
) -> Samples:
    """Draw equal shares of samples from all manifolds, shuffle them, and add noise.

    Noise is drawn last, so that a seed gives the same samples at every noise level.
    """
    counts = [len(share) for share in np.array_split(np.arange(n_samples), len(dims))]
    X = np.concatenate([draw(i, count) for i, count in enumerate(counts)])
    order = rng.permutation(n_samples)
    X, manifold = X[order], np.repeat(np.arange(len(dims)), counts)[order]
    if noise > 0:
        rms = np.sqrt(X.var(axis=0).mean())
        X += noise * rms * rng.standard_normal(X.shape)
    return X, manifold, np.asarray(dims, dtype=manifold.dtype)[manifold]
