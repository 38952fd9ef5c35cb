"""Unions of spheres."""

from collections.abc import Iterable

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets import _checks
from skvaeense.datasets._assembly import Samples, _draw_frame, _draw_union
from skvaeense.utils._typing import DoubleArray, RandomState


def make_spheres(
    n_samples: int = 1000,
    *,
    dims: Iterable[int] = (2, 5, 10),
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
    n_samples, n_features, noise = _checks.common(n_samples, n_features, noise)
    dims = _checks.integers(dims, "dims")
    _checks.room(max(dims) + 1, n_features, f"A sphere of intrinsic dimension {max(dims)}")
    rng = check_random_state(random_state)
    frames = [_draw_frame(dim + 1, n_features, rng) for dim in dims]

    def draw(i: int, n: int) -> DoubleArray:
        X = rng.standard_normal((n, dims[i] + 1))
        return X * (np.sqrt(dims[i] + 1) / np.linalg.norm(X, axis=1, keepdims=True)) @ frames[i]

    return _draw_union(n_samples, dims, draw, noise=noise, rng=rng)
