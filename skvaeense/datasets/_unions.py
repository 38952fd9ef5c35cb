"""Unions of random subspaces and of spheres."""

from collections.abc import Collection

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets._assembly import (
    COMMON,
    Samples,
    check_room,
    draw_frame,
    draw_union,
    orthonormalise,
)
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import AT_LEAST_ZERO, NON_NEGATIVE, validate_params

SUBSPACES = COMMON | {"shared": [AT_LEAST_ZERO], "orthogonal": ["boolean"]}


@validate_params(SUBSPACES)
def make_linear_subspaces(
    n_samples: int = 1000,
    *,
    dims: Collection[int] = (4, 4, 4),
    n_features: int = 40,
    shared: int = 0,
    orthogonal: bool = False,
    noise: float = 0.0,
    random_state: RandomState = None,
) -> Samples:
    """Draw samples from a union of random linear subspaces.

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
    A sample of subspace i is ``x = z @ B_i``, with z from N(0, I) and B_i orthonormal
    rows whose span is uniformly random (given the shared directions).

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
    return _draw_subspaces(n_samples, dims, n_features, shared, orthogonal, noise, random_state)


@validate_params(SUBSPACES | {"offset_scale": [NON_NEGATIVE]})
def make_affine_subspaces(
    n_samples: int = 1000,
    *,
    dims: Collection[int] = (4, 4, 4),
    n_features: int = 40,
    shared: int = 0,
    orthogonal: bool = False,
    offset_scale: float = 1.0,
    noise: float = 0.0,
    random_state: RandomState = None,
) -> Samples:
    """Draw samples from a union of random affine subspaces.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the subspaces as evenly as possible.
    dims : sequence of int, default=(4, 4, 4)
        Dimension of each subspace.
    n_features : int, default=40
        Number of ambient dimensions.
    shared : int, default=0
        Number of directions that all subspaces share, at most ``min(dims)``.
    orthogonal : bool, default=False
        Whether the directions that are not shared are orthogonal between subspaces. True requires
        ``shared + sum(dim - shared for dim in dims) <= n_features``.
    offset_scale : float, default=1.0
        Standard deviation of each of the n_features coordinates of a subspace's offset
        from the origin, in the units of X. With 0 the subspaces are linear.
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
    rows as in `make_linear_subspaces`, and the offset c_i from N(0, offset_scale^2 I),
    one for each subspace.

    To get training and test samples of the same subspaces, draw one set and split it.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.datasets import make_affine_subspaces
    >>> X, manifold, dimension = make_affine_subspaces(
    ...     300, dims=(1, 3), n_features=5, random_state=0
    ... )
    >>> part = X[manifold == 1]
    >>> int(np.linalg.matrix_rank(part)), int(np.linalg.matrix_rank(part - part[0]))
    (4, 3)
    """
    return _draw_subspaces(
        n_samples, dims, n_features, shared, orthogonal, noise, random_state, offset_scale
    )


@validate_params(COMMON)
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


def _draw_subspaces(
    n_samples: int,
    dims: Collection[int],
    n_features: int,
    shared: int,
    orthogonal: bool,
    noise: float,
    random_state: RandomState,
    offset_scale: float | None = None,
) -> Samples:
    """Check the geometry, and draw samples of subspaces: affine ones if offsets have a scale."""
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
    if offset_scale is not None:
        offsets = offset_scale * rng.standard_normal((len(dims), n_features))

    def draw(i: int, n: int) -> DoubleArray:
        return rng.standard_normal((n, dims[i])) @ bases[i] + offsets[i]

    return draw_union(n_samples, dims, draw, noise, rng)
