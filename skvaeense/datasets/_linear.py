"""Unions of random linear and affine subspaces."""

from collections.abc import Iterable

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets import _checks
from skvaeense.datasets._assembly import Samples, _draw_union, _orthonormalise
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import check_flag, check_integer


def make_linear_subspaces(
    n_samples: int = 1000,
    *,
    dims: Iterable[int] = (4, 4, 4),
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
    n_samples, n_features, noise = _checks.common(n_samples, n_features, noise)
    rng = check_random_state(random_state)
    dims, bases = _draw_bases(dims, n_features, shared, orthogonal, rng)

    def draw(i: int, n: int) -> DoubleArray:
        return rng.standard_normal((n, dims[i])) @ bases[i]

    return _draw_union(n_samples, dims, draw, noise=noise, rng=rng)


def make_affine_subspaces(
    n_samples: int = 1000,
    *,
    dims: Iterable[int] = (4, 4, 4),
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
    n_samples, n_features, noise = _checks.common(n_samples, n_features, noise)
    offset_scale = _checks.real(offset_scale, "offset_scale")
    rng = check_random_state(random_state)
    dims, bases = _draw_bases(dims, n_features, shared, orthogonal, rng)
    offsets = offset_scale * rng.standard_normal((len(dims), n_features))

    def draw(i: int, n: int) -> DoubleArray:
        return rng.standard_normal((n, dims[i])) @ bases[i] + offsets[i]

    return _draw_union(n_samples, dims, draw, noise=noise, rng=rng)


def _draw_bases(
    dims: Iterable[int], n_features: int, shared: int, orthogonal: bool, rng: np.random.RandomState
) -> tuple[tuple[int, ...], list[DoubleArray]]:
    """Check the geometry, and return the dimensions and a basis of each subspace as rows."""
    dims = _checks.integers(dims, "dims")
    shared = check_integer(shared, "shared", minimum=0)
    check_flag(orthogonal, "orthogonal")
    if shared > min(dims):
        raise ValueError(
            f"shared={shared} directions do not fit in a subspace of dimension {min(dims)}: "
            "lower shared to min(dims) or below."
        )
    n_private = [dim - shared for dim in dims]
    _checks.room(max(dims), n_features, f"A subspace of dimension {max(dims)}")
    if orthogonal:
        n_needed = shared + sum(n_private)
        _checks.room(n_needed, n_features, f"orthogonal=True with dims={dims} and shared={shared}")
    directions = rng.standard_normal((shared + sum(n_private), n_features))
    if orthogonal:
        directions = _orthonormalise(directions)
    common, *private = np.split(directions, shared + np.cumsum([0, *n_private[:-1]]))
    # QR keeps the span of the leading rows, so the common directions stay common.
    return dims, [_orthonormalise(np.concatenate([common, own])) for own in private]
