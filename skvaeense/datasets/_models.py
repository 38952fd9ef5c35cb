"""Samples from models: sparse combinations of atoms, and probabilistic PCA."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skvaeense.datasets._assembly import COMMON, check_room, draw_frame, draw_union
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, SIZES, validate_params


@validate_params(
    COMMON
    | {
        "n_atoms": [AT_LEAST_ONE],
        "n_active": [AT_LEAST_ONE, SIZES],
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


@validate_params(
    COMMON
    | {
        "n_components": [AT_LEAST_ONE],
        "noise_variance": [POSITIVE],
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
