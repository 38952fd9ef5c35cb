"""What every generator shares: even splits, random frames, shuffling and noise."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from skvaeense.utils._typing import DoubleArray, IntArray

# Samples, the manifold each was drawn from, and its dimension.
Samples: TypeAlias = tuple[DoubleArray, IntArray, IntArray]


def _split_evenly(n_samples: int, n_parts: int) -> list[int]:
    """Return `n_parts` counts that add up to `n_samples` and differ by at most one."""
    quotient, remainder = divmod(n_samples, n_parts)
    return [quotient + (part < remainder) for part in range(n_parts)]


def _draw_frame(n_directions: int, n_features: int, rng: np.random.RandomState) -> DoubleArray:
    """Return orthonormal rows, shape (n_directions, n_features), of uniformly random span."""
    return _orthonormalise(rng.standard_normal((n_directions, n_features)))


def _orthonormalise(directions: DoubleArray) -> DoubleArray:
    """Return orthonormal rows; the first k span what the first k of `directions` span."""
    return np.linalg.qr(directions.T)[0].T


def _assemble(
    parts: Sequence[DoubleArray], dims: Sequence[int], *, noise: float, rng: np.random.RandomState
) -> Samples:
    """Stack noiseless `parts`, shuffle them, add noise, and return the generators' tuple.

    Noise comes last, so that one seed gives the same samples at every noise level.
    """
    counts = [len(part) for part in parts]
    manifold = np.repeat(np.arange(len(parts)), counts)
    dimension = np.repeat(np.asarray(dims, dtype=manifold.dtype), counts)
    order = rng.permutation(len(manifold))
    X = np.concatenate(parts)[order]
    if noise > 0:
        rms = np.sqrt(X.var(axis=0).mean())
        X += noise * rms * rng.standard_normal(X.shape)
    return X, manifold[order], dimension[order]
