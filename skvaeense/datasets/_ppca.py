"""Samples from the probabilistic PCA model."""

from typing import Literal, overload

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets import _checks
from skvaeense.datasets._assembly import Samples, _draw_frame
from skvaeense.utils._typing import DoubleArray, IntArray, RandomState
from skvaeense.utils._validation import check_flag, check_integer


@overload
def make_ppca(  # numpydoc ignore=GL08
    n_samples: int = ...,
    *,
    n_components: int = ...,
    n_features: int = ...,
    noise_variance: float = ...,
    return_parameters: Literal[False] = ...,
    random_state: RandomState = ...,
) -> Samples: ...
@overload
def make_ppca(  # numpydoc ignore=GL08
    n_samples: int = ...,
    *,
    n_components: int = ...,
    n_features: int = ...,
    noise_variance: float = ...,
    return_parameters: Literal[True],
    random_state: RandomState = ...,
) -> tuple[DoubleArray, IntArray, IntArray, DoubleArray, DoubleArray]: ...
def make_ppca(
    n_samples: int = 1000,
    *,
    n_components: int = 5,
    n_features: int = 20,
    noise_variance: float = 0.1,
    return_parameters: bool = False,
    random_state: RandomState = None,
) -> Samples | tuple[DoubleArray, IntArray, IntArray, DoubleArray, DoubleArray]:
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
    n_samples, n_features, _ = _checks.common(n_samples, n_features, 0)
    n_components = check_integer(n_components, "n_components", minimum=1)
    _checks.room(n_components, n_features, f"A model with {n_components} components")
    noise_variance = _checks.real(noise_variance, "noise_variance", positive=True)
    check_flag(return_parameters, "return_parameters")
    rng = check_random_state(random_state)
    norms = np.sqrt(np.linspace(2.0, 1.0, n_components))
    loadings = _draw_frame(n_components, n_features, rng).T * norms
    mean = rng.standard_normal(n_features)
    X = rng.standard_normal((n_samples, n_components)) @ loadings.T + mean
    X += np.sqrt(noise_variance) * rng.standard_normal(X.shape)
    samples = X, np.zeros(n_samples, dtype=int), np.full(n_samples, n_components)
    return (*samples, loadings, mean) if return_parameters else samples
