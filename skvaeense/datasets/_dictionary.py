"""Sparse combinations of the atoms of a random dictionary."""

import numbers
from collections.abc import Iterable
from typing import Literal, overload

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets import _checks
from skvaeense.datasets._assembly import Samples, _draw_union
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState
from skvaeense.utils._validation import check_flag, check_integer


@overload
def make_sparse_dictionary(  # numpydoc ignore=GL08
    n_samples: int = ...,
    *,
    n_atoms: int = ...,
    n_active: int | Iterable[int] = ...,
    n_features: int = ...,
    noise: float = ...,
    signed: bool = ...,
    return_atoms: Literal[False] = ...,
    random_state: RandomState = ...,
) -> Samples: ...
@overload
def make_sparse_dictionary(  # numpydoc ignore=GL08
    n_samples: int = ...,
    *,
    n_atoms: int = ...,
    n_active: int | Iterable[int] = ...,
    n_features: int = ...,
    noise: float = ...,
    signed: bool = ...,
    return_atoms: Literal[True],
    random_state: RandomState = ...,
) -> tuple[DoubleArray, IntArray, IntArray, DoubleArray]: ...
def make_sparse_dictionary(
    n_samples: int = 1000,
    *,
    n_atoms: int = 20,
    n_active: int | Iterable[int] = 4,
    n_features: int = 40,
    noise: float = 0.0,
    signed: bool = True,
    return_atoms: bool = False,
    random_state: RandomState = None,
) -> Samples | tuple[DoubleArray, IntArray, IntArray, DoubleArray]:
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
    n_samples, n_features, noise = _checks.common(n_samples, n_features, noise)
    n_atoms = check_integer(n_atoms, "n_atoms", minimum=1)
    if isinstance(n_active, numbers.Integral):
        n_active = (check_integer(n_active, "n_active", minimum=1),)
    n_active = _checks.integers(n_active, "n_active")
    if max(n_active) > n_atoms:
        raise ValueError(
            f"n_active={max(n_active)} atoms cannot be drawn from n_atoms={n_atoms}: "
            "lower n_active or raise n_atoms."
        )
    _checks.room(max(n_active), n_features, f"n_active={max(n_active)}")
    check_flag(signed, "signed")
    check_flag(return_atoms, "return_atoms")
    rng = check_random_state(random_state)
    atoms = rng.standard_normal((n_atoms, n_features))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)

    def draw(i: int, n: int) -> DoubleArray:
        # The positions of the smallest of n_atoms random keys form a uniformly random subset.
        support = np.argsort(rng.random_sample((n, n_atoms)), axis=1)[:, : n_active[i]]
        codes = np.zeros((n, n_atoms))
        np.put_along_axis(codes, support, rng.standard_normal(support.shape), axis=1)
        return (codes if signed else np.abs(codes)) @ atoms

    samples = _draw_union(n_samples, n_active, draw, noise=noise, rng=rng)
    return (*samples, atoms) if return_atoms else samples
