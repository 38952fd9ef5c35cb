"""Many linear subspaces through one point, more than independent components can tell apart.

The samples that point in about the same direction as one sample mostly are of its subspace, and
span it. The subspaces that most samples lie in are kept, one after the other.
"""

from dataclasses import dataclass

import numpy as np

from skvaeense.utils._principal import principal_directions

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
# What is less than this share of the largest singular value, or variance, is nothing: samples that
# are in a subspace by chance, or a shifted origin, can add a direction.
FLOOR = 0.02
# Squared distance from a subspace, in noise variances per direction, up to which a sample is in it.
TOLERANCE = 4.0
# Factors on the noise variance with which a subspace is fitted to its samples anew.
GROWTH = (16.0, 8.0, 4.0, 2.0, 1.0)


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
        """Fit a subspace of this dimension to samples."""
        values, directions = _principal(Y)
        normals = directions[dim:]
        levels = np.quantile(np.cumsum(np.abs(Y @ normals.T), axis=1), 0.99, axis=0)
        return cls(directions[:dim], values[:dim], normals, levels)


def find_subspaces(
    Y: np.ndarray, noise: float, most: int, rng: np.random.RandomState
) -> tuple[np.ndarray, list[Subspace]]:
    """Find the subspaces that most samples lie in.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, r)
        Samples, relative to a point near the one that all subspaces contain.

    noise : float
        Noise variance in each direction.

    most : int
        Number of dimensions that the subspaces have together, at most.

    rng : RandomState
        Generator that picks samples to start from.

    Returns
    -------
    point : ndarray of shape (r,)
        The point that they have in common.

    subspaces : list of Subspace
        Those of samples relative to that point. Empty where no few subspaces hold four fifths of
        the samples.
    """
    point = np.zeros(Y.shape[1])
    found, coverage = _cover(Y, noise, most, rng)
    # The mean of few samples is not in all subspaces, and cuts them in pieces.
    if len(found) > 1 and coverage > COVERAGE / 2:
        point = _common_point(Y, found, noise)
        Y = Y - point
        found, coverage = _cover(Y, noise, most, rng)
    if coverage < COVERAGE or len(found) < 2 or sum(map(len, found)) > most:
        return point, []
    return point, _refine(Y, found)


def _cover(
    Y: np.ndarray, noise: float, most: int, rng: np.random.RandomState
) -> tuple[list[np.ndarray], float]:
    """Return bases, one found after the other, and the share of the samples that they hold."""
    left = np.linalg.norm(Y, axis=1) > np.sqrt(TOLERANCE * noise * Y.shape[1])
    n_significant = max(int(left.sum()), 1)
    found: list[np.ndarray] = []
    coverage = 0.0
    while left.sum() > ROWS_PER_DIMENSION:
        basis = _best_basis(Y[left], noise, rng)
        if basis is None:
            break
        found.append(basis)
        left &= ~_contains(basis, Y, noise)
        coverage = 1 - left.sum() / n_significant
        n_dims = sum(map(len, found))
        # The first ones hold most. There is no end where as many again would not do.
        if n_dims > 2 * most or coverage * most < COVERAGE * n_dims:
            break
    rest = _rest(Y[left], noise)
    return found + ([] if rest is None else [rest]), coverage


def _rest(Y: np.ndarray, noise: float) -> np.ndarray | None:
    """Return the basis of the few samples that are left, if they lie in a subspace."""
    if len(Y) < 2:
        return None
    variances, directions = principal_directions(Y)
    dim = int((variances > TOLERANCE * noise).sum())
    if not 0 < dim < min(len(Y), Y.shape[1]) or variances[dim - 1] < DROP * variances[dim]:
        return None
    return directions[:dim]


def _common_point(Y: np.ndarray, bases: list[np.ndarray], noise: float) -> np.ndarray:
    """Return the point nearest to the affine hulls of the samples in the subspaces."""
    rank = Y.shape[1]
    matrix, target = 1e-6 * len(Y) * np.eye(rank), np.zeros(rank)
    for basis in bases:
        own = Y[_contains(basis, Y, noise)]
        mean = own.mean(axis=0)
        hull = principal_directions(own - mean)[1][: len(basis)]
        outside = len(own) * (np.eye(rank) - hull.T @ hull)
        matrix += outside
        target += outside @ mean
    return np.linalg.solve(matrix, target)


def _distances(basis: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Return the squared distance of each sample from a subspace."""
    return np.square(Y).sum(axis=1) - np.square(Y @ basis.T).sum(axis=1)


def _contains(basis: np.ndarray, Y: np.ndarray, noise: float) -> np.ndarray:
    """Return which samples lie in a subspace, but for noise."""
    return _distances(basis, Y) < TOLERANCE * noise * (Y.shape[1] - len(basis))


def _best_basis(Y: np.ndarray, noise: float, rng: np.random.RandomState) -> np.ndarray | None:
    """Return the basis of the subspace that saves most coordinates for each of its directions."""
    rank = Y.shape[1]
    if rank < 2:
        return None
    directions = Y / np.linalg.norm(Y, axis=1, keepdims=True)
    seeds = rng.permutation(len(Y))[:N_SEEDS]
    best, best_score, best_dim = None, 0.0, 0
    for n_pool, n_neighbors in SCALES:
        pool = directions[rng.permutation(len(Y))[:n_pool]]
        if len(pool) < n_neighbors:
            continue
        similar = np.abs(directions[seeds] @ pool.T)
        nearest = np.argpartition(-similar, n_neighbors - 1, axis=1)[:, :n_neighbors]
        neighbors = pool[nearest]
        # Eigenvalues of their inner products, falling: far cheaper than singular values.
        squares, vectors = np.linalg.eigh(neighbors @ neighbors.transpose(0, 2, 1))
        singular = np.sqrt(np.maximum(squares[:, ::-1], 0.0))
        # Half as many dimensions as neighbours, at most: fewer would fit by chance.
        most = min(n_neighbors // 2, rank - 1)
        floor = np.maximum(singular[:, 1 : most + 1], FLOOR * singular[:, :1])
        drops = singular[:, :most] / floor
        dims = drops.argmax(axis=1) + 1
        for i in np.flatnonzero(drops.max(axis=1) > DROP)[:MAX_TRIED]:
            leading = vectors[i, :, ::-1][:, : dims[i]] / singular[i, : dims[i]]
            inside = _contains(leading.T @ neighbors[i], Y, noise)
            # What a sample saves, for each direction: the span of two subspaces is no better.
            score = inside.sum() * (rank - dims[i]) / dims[i]
            if score > best_score and inside.sum() >= ROWS_PER_DIMENSION * dims[i]:
                best, best_score, best_dim = inside, score, dims[i]
    return None if best is None else _grow(_leading(Y[best], best_dim), Y, noise)


def _grow(basis: np.ndarray, Y: np.ndarray, noise: float) -> np.ndarray:
    """Fit a basis to the samples near it, ever nearer ones, if more of them are in it then.

    Noise tilts what few neighbours span, so that only some of the subspace's samples lie in it.
    This is the local optimisation of RANSAC.
    """
    grown = basis
    for factor in GROWTH:
        inside = _contains(grown, Y, factor * noise)
        if inside.sum() < ROWS_PER_DIMENSION * len(basis):
            return basis
        grown = _leading(Y[inside], len(basis))
    n_inside = [_contains(b, Y, noise).sum() for b in (basis, grown)]
    return grown if n_inside[1] > n_inside[0] else basis


def _leading(Y: np.ndarray, dim: int) -> np.ndarray:
    """Return the leading principal directions through the origin, those without variance not."""
    variances, directions = _principal(Y)
    return directions[: min(dim, int((variances > FLOOR * variances[0]).sum()))]


def _principal(Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all principal directions through the origin as rows, however few samples there are."""
    variances, vectors = np.linalg.eigh(Y.T @ Y / len(Y))
    return np.maximum(variances[::-1], 1e-12), vectors.T[::-1]


def _refine(Y: np.ndarray, bases: list[np.ndarray]) -> list[Subspace]:
    """Fit each subspace to the samples that are nearest to it, over and over."""
    for _ in range(5):
        nearest = np.stack([_distances(basis, Y) for basis in bases]).argmin(axis=0)
        parts = [(Y[nearest == i], len(basis)) for i, basis in enumerate(bases)]
        parts = [(own, dim) for own, dim in parts if len(own) > dim]
        bases = [_principal(own)[1][:dim] for own, dim in parts]
    return [Subspace.of(own, dim) for own, dim in parts]
