"""Steps that the generators share: random frames, even shares, shuffling and noise."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from skvaeense.utils._typing import DoubleArray, IntArray

# Samples, the manifold of each sample, and the dimension of that manifold.
Samples: TypeAlias = tuple[DoubleArray, IntArray, IntArray]


def _draw_frame(n_directions: int, n_features: int, rng: np.random.RandomState) -> DoubleArray:
    """Return orthonormal rows, shape (n_directions, n_features), of uniformly random span."""
    return _orthonormalise(rng.standard_normal((n_directions, n_features)))


def _orthonormalise(directions: DoubleArray) -> DoubleArray:
    """Return orthonormal rows; the first k span the same space as the first k `directions`."""
    return np.linalg.qr(directions.T)[0].T


def _draw_union(
    n_samples: int,
    dims: Sequence[int],
    draw: Callable[[int, int], DoubleArray],
    *,
    noise: float,
    rng: np.random.RandomState,
) -> Samples:
    """Draw equal shares of samples from all manifolds, shuffle them, and add noise.

    ``draw(i, n)`` returns n samples of manifold i, without noise. Noise is drawn last, so that a
    seed gives the same samples at every noise level.
    """
    counts = [len(share) for share in np.array_split(np.arange(n_samples), len(dims))]
    X = np.concatenate([draw(i, count) for i, count in enumerate(counts)])
    order = rng.permutation(n_samples)
    X, manifold = X[order], np.repeat(np.arange(len(dims)), counts)[order]
    if noise > 0:
        rms = np.sqrt(X.var(axis=0).mean())
        X += noise * rms * rng.standard_normal(X.shape)
    return X, manifold, np.asarray(dims, dtype=manifold.dtype)[manifold]
