"""Many linear subspaces through one point, more than independent components can tell apart.

The samples that point in about the same direction as one sample mostly are of its subspace, and
span it. The subspaces that most samples lie in are kept, one after the other.
"""

from dataclasses import dataclass

import numpy as np

# Samples that subspaces are looked for around, and how many of the spans found are tried.
N_SEEDS = 100
MAX_TRIED = 50
# How many neighbours may span a subspace, and of how many samples they are the nearest: of few,
# they are not so near that they are all alike.
SCALES = ((16, 4), (64, 4), (64, 8), (256, 8), (2048, 8), (512, 16), (4096, 16), (4096, 32))
# A subspace needs this many samples for each of its dimensions.
ROWS_PER_DIMENSION = 4
# Share of the samples that the subspaces have to hold together.
COVERAGE = 0.8
# By which factor singular values drop after those of a subspace.
DROP = 4.0
# What is less than this share of the largest singular value, or variance, is nothing.
FLOOR = 0.02
# Squared distance from a subspace, in noise variances per direction, up to which a sample is in it.
TOLERANCE = 4.0


@dataclass(frozen=True)
class Subspace:
    """A linear subspace of R^r, and the samples in it.

    Attributes
    ----------
    basis : ndarray of shape (dim, r)
        Orthonormal rows.

    variances : ndarray of shape (dim,)
        Variances of its samples along them.

    normals : ndarray of shape (r - dim, r)
        Orthonormal rows that are orthogonal to the subspace.

    levels : ndarray of shape (r - dim,)
        At entry q - 1, what the sum of the samples' absolute coordinates along the first q normals
        exceeds for one sample in a hundred.
    """

    basis: np.ndarray
    variances: np.ndarray
    normals: np.ndarray
    levels: np.ndarray

    def level(self, n_normals: int) -> float:
        """Return the entry of `levels` for so many normals."""
        return float(self.levels[n_normals - 1])

    @classmethod
    def of(cls, Y: np.ndarray, dim: int) -> "Subspace":
        """Fit a subspace of at most this dimension to samples."""
        values, vectors = np.linalg.eigh(Y.T @ Y / len(Y))
        directions, values = vectors.T[::-1], np.maximum(values[::-1], 1e-12)
        # Samples that are in it by chance, or a shifted origin, can add a direction.
        dim = min(dim, int((values > FLOOR * values[0]).sum()))
        normals = directions[dim:]
        levels = np.quantile(np.cumsum(np.abs(Y @ normals.T), axis=1), 0.99, axis=0)
        return cls(directions[:dim], values[:dim], normals, levels)

    def distances(self, Y: np.ndarray) -> np.ndarray:
        """Return the squared distance of each sample."""
        return np.square(Y).sum(axis=1) - np.square(Y @ self.basis.T).sum(axis=1)


def find_subspaces(
    Y: np.ndarray, noise: float, most: int, rng: np.random.RandomState
) -> list[Subspace]:
    """Find the subspaces that most samples lie in.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, r)
        Samples, relative to the point that all subspaces contain.

    noise : float
        Noise variance in each direction.

    most : int
        Number of dimensions that the subspaces have together, at most.

    rng : RandomState
        Generator that picks samples to start from.

    Returns
    -------
    list of Subspace
        Empty where no few subspaces hold four fifths of the samples.
    """
    rank = Y.shape[1]
    left = np.linalg.norm(Y, axis=1) > np.sqrt(TOLERANCE * noise * rank)
    n_significant = int(left.sum())
    found: list[Subspace] = []
    while left.sum() > (1 - COVERAGE) / 2 * n_significant:
        subspace = _best_subspace(Y[left], noise, rng)
        if subspace is None:
            break
        found.append(subspace)
        if sum(len(s.basis) for s in found) > most:
            return []
        left &= ~_contains(subspace.basis, Y, noise)
    if left.sum() > (1 - COVERAGE) * n_significant or len(found) < 2:
        return []
    return _refine(Y, found)


def _contains(basis: np.ndarray, Y: np.ndarray, noise: float) -> np.ndarray:
    """Return which samples lie in a subspace, but for noise."""
    distances = np.square(Y).sum(axis=1) - np.square(Y @ basis.T).sum(axis=1)
    return distances < TOLERANCE * noise * (Y.shape[1] - len(basis))


def _best_subspace(Y: np.ndarray, noise: float, rng: np.random.RandomState) -> Subspace | None:
    """Return the subspace that saves most coordinates for each of its directions."""
    rank = Y.shape[1]
    if rank < 2:
        return None
    directions = Y / np.linalg.norm(Y, axis=1, keepdims=True)
    seeds = rng.permutation(len(Y))[:N_SEEDS]
    best, best_score = None, 0.0
    for n_pool, n_neighbors in SCALES:
        pool = directions[rng.permutation(len(Y))[:n_pool]]
        if len(pool) < n_neighbors:
            continue
        similar = np.abs(directions[seeds] @ pool.T)
        nearest = np.argpartition(-similar, n_neighbors - 1, axis=1)[:, :n_neighbors]
        _, singular, spans = np.linalg.svd(pool[nearest], full_matrices=False)
        # Half as many dimensions as neighbours, at most: fewer would fit by chance.
        most = min(n_neighbors // 2, rank - 1)
        floor = np.maximum(singular[:, 1 : most + 1], FLOOR * singular[:, :1])
        drops = singular[:, :most] / floor
        dims = drops.argmax(axis=1) + 1
        for i in np.flatnonzero(drops.max(axis=1) > DROP)[:MAX_TRIED]:
            inside = _contains(spans[i, : dims[i]], Y, noise)
            # What a sample saves, for each direction: the span of two subspaces is no better.
            score = inside.sum() * (rank - dims[i]) / dims[i]
            if score > best_score and inside.sum() >= ROWS_PER_DIMENSION * dims[i]:
                best, best_score = Subspace.of(Y[inside], dims[i]), score
    return best


def _refine(Y: np.ndarray, subspaces: list[Subspace]) -> list[Subspace]:
    """Fit each subspace to the samples that are nearest to it, over and over."""
    for _ in range(5):
        nearest = np.stack([subspace.distances(Y) for subspace in subspaces]).argmin(axis=0)
        parts = [(Y[nearest == i], len(s.basis)) for i, s in enumerate(subspaces)]
        subspaces = [
            Subspace.of(own, dim) for own, dim in parts if len(own) >= ROWS_PER_DIMENSION * dim
        ]
    return subspaces
