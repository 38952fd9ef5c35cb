"""Data sets with known structure: subspaces, spheres, dictionaries and normal distributions."""

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skvaeense.utils import _validation
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState

# Samples, the manifold of each sample, and the dimension of that manifold.
Samples: TypeAlias = tuple[DoubleArray, IntArray, IntArray]
# Returns n samples of manifold i, without noise.
Draw: TypeAlias = Callable[[int, int], DoubleArray]
# Constraints of the parameters that generators share.
COMMON: dict[str, list[Any]] = {
    "n_samples": [_validation.AT_LEAST_ONE],
    "n_features": [_validation.AT_LEAST_ONE],
    "dims": [_validation.SIZES],
    "noise": [_validation.NON_NEGATIVE],
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


@_validation.validate_params(
    COMMON
    | {
        "shared": [_validation.AT_LEAST_ZERO],
        "orthogonal": ["boolean"],
        "offset_scale": [_validation.NON_NEGATIVE],
    }
)
def make_linear_subspaces(
    n_samples: int = 1000,
    *,
    dims: Collection[int] = (4, 4, 4),
    n_features: int = 40,
    shared: int = 0,
    orthogonal: bool = False,
    offset_scale: float = 0.0,
    noise: float = 0.0,
    random_state: RandomState = None,
) -> Samples:
    """Draw samples from a union of random linear or affine subspaces.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the subspaces as evenly as possible.
    dims : sequence of int, default=(4, 4, 4)
        Dimension of each subspace.
    n_features : int, default=40
        Number of ambient dimensions.
    shared : int, default=0
        Number of directions that lie in every subspace, at most ``min(dims)``. With 0
        the subspaces are independent, and they meet only at the origin if
        ``sum(dims) <= n_features``.
    orthogonal : bool, default=False
        Whether the directions that are not shared are orthogonal between subspaces. True requires
        ``shared + sum(dim - shared for dim in dims) <= n_features``.
    offset_scale : float, default=0.0
        Standard deviation of each of the n_features coordinates of a subspace's offset
        from the origin, in the units of X. Above 0 the subspaces are affine.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added in every ambient direction, as a
        fraction of the root mean square (over samples and features) of the noiseless
        data, offsets included, around its mean.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the subspaces, the samples, their order and the noise. Pass
        an int for a reproducible result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples, shuffled.
    manifold : ndarray of int of shape (n_samples,)
        Index into `dims` of the subspace that each sample was drawn from.
    dimension : ndarray of int of shape (n_samples,)
        Dimension of that subspace.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or the subspaces do not fit in R^n_features.

    Notes
    -----
    A sample of subspace i is ``x = c_i + z @ B_i``, with z from N(0, I), B_i orthonormal
    rows whose span is uniformly random (given the shared directions), and one offset c_i from
    N(0, offset_scale^2 I) for each subspace.

    To get training and test samples of the same subspaces, draw one set and split it: two
    calls with the same integer seed repeat the samples as well as the subspaces, so the second set
    cannot serve as a test set for the first. A seed gives the same samples at every noise level.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> X, manifold, dimension = make_linear_subspaces(
    ...     300, dims=(2, 4, 8), n_features=40, random_state=0
    ... )
    >>> X.shape
    (300, 40)
    >>> [int(np.linalg.matrix_rank(X[manifold == label])) for label in range(3)]
    [2, 4, 8]
    """
    rng, dims = check_random_state(random_state), tuple(dims)
    if shared > min(dims):
        raise ValueError(
            f"shared={shared} directions do not fit in a subspace of dimension {min(dims)}: "
            "lower shared to min(dims) or below."
        )
    n_private = [dim - shared for dim in dims]
    n_needed = shared + sum(n_private)
    check_room(max(dims), n_features, f"A subspace of dimension {max(dims)}")
    directions = rng.standard_normal((n_needed, n_features))
    if orthogonal:
        check_room(n_needed, n_features, f"orthogonal=True with dims={dims} and shared={shared}")
        directions = orthonormalise(directions)
    common, *private = np.split(directions, shared + np.cumsum([0, *n_private[:-1]]))
    # QR keeps the span of the leading rows, so the common directions stay common.
    bases = [orthonormalise(np.concatenate([common, own])) for own in private]
    offsets = np.zeros((len(dims), 1))
    if offset_scale > 0:
        offsets = offset_scale * rng.standard_normal((len(dims), n_features))

    def draw(i: int, n: int) -> DoubleArray:
        return rng.standard_normal((n, dims[i])) @ bases[i] + offsets[i]

    return draw_union(n_samples, dims, draw, noise, rng)


@_validation.validate_params(COMMON)
def make_spheres(
    n_samples: int = 1000,
    *,
    dims: Collection[int] = (2, 5, 10),
    n_features: int = 60,
    noise: float = 0.0,
    random_state: RandomState = None,
) -> Samples:
    """Draw samples from a union of spheres around the origin, each in its own subspace.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the spheres as evenly as possible.
    dims : sequence of int, default=(2, 5, 10)
        Intrinsic dimension r of each sphere S^r, which needs r + 1 ambient dimensions.
    n_features : int, default=60
        Number of ambient dimensions.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added in every ambient direction, as a
        fraction of the root mean square (over samples and features) of the noiseless
        data around its mean.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the subspaces, the samples, their order and the noise. Pass
        an int for a reproducible result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples, shuffled.
    manifold : ndarray of int of shape (n_samples,)
        Index into `dims` of the sphere that each sample was drawn from.
    dimension : ndarray of int of shape (n_samples,)
        Intrinsic dimension of that sphere.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or ``max(dims) + 1 > n_features``.

    Notes
    -----
    A sample of sphere i is ``x = sqrt(r + 1) u @ B_i``, with u uniform on the unit sphere
    of R^(r + 1) and B_i orthonormal rows of uniformly random span. The radius sqrt(r + 1)
    gives each of the r + 1 coordinates in the sphere's subspace mean 0 and variance 1. The
    smallest linear subspace that holds the sphere has dimension r + 1, one more than the
    sphere itself.

    To get training and test samples of the same spheres, draw one set and split it.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.datasets import make_spheres
    >>> X, manifold, dimension = make_spheres(200, dims=(2, 5), random_state=0)
    >>> squared_radius = np.sum(X**2, axis=1)
    >>> np.allclose(squared_radius, dimension + 1)
    True
    """
    dims = tuple(dims)
    check_room(max(dims) + 1, n_features, f"A sphere of intrinsic dimension {max(dims)}")
    rng = check_random_state(random_state)
    frames = [draw_frame(dim + 1, n_features, rng) for dim in dims]

    def draw(i: int, n: int) -> DoubleArray:
        X = rng.standard_normal((n, dims[i] + 1))
        return X * (np.sqrt(dims[i] + 1) / np.linalg.norm(X, axis=1, keepdims=True)) @ frames[i]

    return draw_union(n_samples, dims, draw, noise, rng)


@_validation.validate_params(
    COMMON
    | {
        "n_atoms": [_validation.AT_LEAST_ONE],
        "n_active": [_validation.AT_LEAST_ONE, _validation.SIZES],
        "signed": ["boolean"],
        "return_atoms": ["boolean"],
    }
)
def make_sparse_dictionary(
    n_samples: int = 1000,
    *,
    n_atoms: int = 20,
    n_active: int | Collection[int] = 4,
    n_features: int = 40,
    noise: float = 0.0,
    signed: bool = True,
    return_atoms: bool = False,
    random_state: RandomState = None,
) -> tuple[NDArray[Any], ...]:
    """Draw samples that are sparse combinations of the atoms of a random dictionary.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the counts in `n_active` as evenly as possible.
    n_atoms : int, default=20
        Number of atoms in the dictionary.
    n_active : int or sequence of int, default=4
        Number of atoms in each sample. With a sequence such as ``(2, 4, 8)`` each count
        gets an equal share of the samples. At most ``min(n_atoms, n_features)``.
    n_features : int, default=40
        Number of ambient dimensions.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise added in every ambient direction, as a
        fraction of the root mean square (over samples and features) of the noiseless
        data around its mean.
    signed : bool, default=True
        Whether coefficients may be negative. If False, their absolute values are taken.
    return_atoms : bool, default=False
        Whether to return the atoms too.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the atoms, the samples, their order and the noise. Pass an
        int for a reproducible result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples, shuffled.
    manifold : ndarray of int of shape (n_samples,)
        Index into `n_active` of the count that each sample was drawn with; 0 for an int.
    dimension : ndarray of int of shape (n_samples,)
        Number of atoms in each sample, which is the dimension of the subspace it lies in.
    atoms : ndarray of shape (n_atoms, n_features)
        The atoms, of norm 1. Only if `return_atoms`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or a count exceeds n_atoms or n_features.

    Notes
    -----
    A sample is ``x = sum_{j in S} c_j a_j``. The atoms a_j are uniform on the unit sphere of
    R^n_features, the support S is a uniformly random subset of the atoms, drawn anew for each
    sample, and the coefficients c_j are N(0, 1), or their absolute values. So the samples lie
    on a union of ``binom(n_atoms, n_active)`` subspaces that share atoms; `manifold`
    distinguishes the counts, not these subspaces.

    To get training and test samples of one dictionary, draw one set and split it.

    References
    ----------
    B. A. Olshausen and D. J. Field, "Sparse coding with an overcomplete basis set: a
    strategy employed by V1?", Vision Research 37(23), 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.datasets import make_sparse_dictionary
    >>> X, manifold, dimension = make_sparse_dictionary(300, n_active=(2, 4, 8), random_state=0)
    >>> X.shape
    (300, 40)
    >>> np.bincount(dimension).tolist()
    [0, 0, 100, 0, 100, 0, 0, 0, 100]
    """
    counts = np.atleast_1d(np.asarray(n_active))
    most = counts.max()
    if most > n_atoms:
        raise ValueError(
            f"n_active={most} atoms cannot be drawn from n_atoms={n_atoms}: lower n_active or "
            "raise n_atoms."
        )
    check_room(most, n_features, f"n_active={most}")
    rng = check_random_state(random_state)
    atoms = rng.standard_normal((n_atoms, n_features))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)

    def draw(i: int, n: int) -> DoubleArray:
        # The positions of the smallest of n_atoms random keys form a uniformly random subset.
        support = np.argsort(rng.random_sample((n, n_atoms)), axis=1)[:, : counts[i]]
        codes = np.zeros((n, n_atoms))
        np.put_along_axis(codes, support, rng.standard_normal(support.shape), axis=1)
        return (codes if signed else np.abs(codes)) @ atoms

    samples = draw_union(n_samples, counts, draw, noise, rng)
    return (*samples, atoms) if return_atoms else samples


@_validation.validate_params(
    COMMON
    | {
        "n_components": [_validation.AT_LEAST_ONE],
        "noise_variance": [_validation.POSITIVE],
        "return_parameters": ["boolean"],
    }
)
def make_ppca(
    n_samples: int = 1000,
    *,
    n_components: int = 5,
    n_features: int = 20,
    noise_variance: float = 0.1,
    return_parameters: bool = False,
    random_state: RandomState = None,
) -> tuple[NDArray[Any], ...]:
    """Draw samples from the probabilistic PCA model, whose likelihood is known exactly.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_components : int, default=5
        Number k of latent dimensions, at most n_features.
    n_features : int, default=20
        Number d of ambient dimensions.
    noise_variance : float, default=0.1
        Variance of the noise in every ambient direction, in squared units of X. It is a
        parameter of the model, and so not relative to the data.
    return_parameters : bool, default=False
        Whether to return the model's loadings and mean as well.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the model and the samples. Pass an int for a reproducible
        result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples.
    manifold : ndarray of int of shape (n_samples,)
        Zero for every sample: there is one manifold.
    dimension : ndarray of int of shape (n_samples,)
        The value of `n_components` for every sample.
    loadings : ndarray of shape (n_features, n_components)
        The matrix W, in the units of X. Only if `return_parameters` is True.
    mean : ndarray of shape (n_features,)
        The mean m. Only if `return_parameters` is True.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or ``n_components > n_features``.

    Notes
    -----
    A sample is ``x = W z + m + e``, with z from N(0, I_k) and e from
    N(0, noise_variance I_d), so x is N(m, C) with ``C = W W^T + noise_variance I_d``.
    The mean m is drawn from N(0, I_d). The columns of W are orthogonal and have uniformly random
    directions. Their squared norms v_1, ..., v_k fall evenly from 2 to 1 (v_1 = 2 if k = 1). The
    log-likelihood of a sample, in nats, is::

        log p(x) = -(d log(2 pi) + log det C + (x - m)^T C^{-1} (x - m)) / 2

    Its expectation does not depend on the random directions::

        E log p(x) = -(d log(2 pi e) + sum_i log(v_i + noise_variance)
                       + (d - k) log(noise_variance)) / 2

    To get training and test samples of the same model, draw one set and split it.

    References
    ----------
    M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis", Journal
    of the Royal Statistical Society, Series B 61(3), 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense.datasets import make_ppca
    >>> X, manifold, dimension = make_ppca(5000, noise_variance=0.1, random_state=0)
    >>> pca = PCA(n_components=5).fit(X)
    >>> f"{pca.noise_variance_:.2f}"
    '0.10'
    """
    check_room(n_components, n_features, f"A model with {n_components} components")
    rng = check_random_state(random_state)
    norms = np.sqrt(np.linspace(2.0, 1.0, n_components))
    loadings = draw_frame(n_components, n_features, rng).T * norms
    mean = rng.standard_normal(n_features)
    X = rng.standard_normal((n_samples, n_components)) @ loadings.T + mean
    X += np.sqrt(noise_variance) * rng.standard_normal(X.shape)
    samples = X, np.zeros(n_samples, dtype=int), np.full(n_samples, n_components)
    return (*samples, loadings, mean) if return_parameters else samples
