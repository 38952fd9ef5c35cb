"""The base class of methods that use an autoencoder, and the count of active latents."""

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from skvaeense.utils._typing import DoubleArray, FloatArray, IntArray, RandomState
from skvaeense.utils._validation import Specification


class AutoencoderMethod(Specification):
    """Estimate the dimension of each sample with a fitted autoencoder.

    Derive from this class and implement `estimate`. A method that learns from the training samples
    also implements `fit`, and keeps the results in attributes, such as arrays, numbers or searches
    for neighbours. :class:`~skvaeense.IntrinsicDimensionEstimator` fits a clone, so its parameter
    `method` is not changed. The autoencoder is not kept; it is passed again.

    See Also
    --------
    Count : The simplest method.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense import IntrinsicDimensionEstimator
    >>> from skvaeense.dimension import AutoencoderMethod
    >>> class Widest(AutoencoderMethod):
    ...     def fit(self, autoencoder, X, random_state=None):
    ...         self.widest_ = autoencoder.active_dimensions(X).sum(axis=1).max()
    ...         return self
    ...     def estimate(self, autoencoder, X):
    ...         return np.full(len(X), float(self.widest_)), np.full(len(X), np.nan)
    >>> class Components(PCA):
    ...     def active_dimensions(self, X):
    ...         return abs(self.transform(X)) > 0.5
    >>> X = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
    >>> IntrinsicDimensionEstimator(Components(), method=Widest()).fit(X).dimension_
    1.0
    """

    # The arguments of `fit` are not metadata: scikit-learn must not make requests for them.
    __metadata_request__fit = {"autoencoder": UNUSED, "random_state": UNUSED}

    # Methods that the autoencoder must have besides `active_dimensions`.
    requires: tuple[str, ...] = ()
    # Number of training samples that share their information, and so their errors.
    pool_size_: int = 1

    def fit(self, autoencoder: Any, X: FloatArray, random_state: RandomState = None) -> Self:
        """Learn from the training samples; by default, learn nothing.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder, with `active_dimensions` and the methods in `requires`.

        X : ndarray of shape (n_samples, n_features)
            Training samples, float32 or float64.

        random_state : int, RandomState instance or None, default=None
            Seed.

        Returns
        -------
        self : object
            The fitted method.
        """
        return self

    @abstractmethod
    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the dimension of samples, seen or unseen, and its standard error.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples, float32 or float64.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        std : ndarray of shape (n_samples,)
            Standard error of each dimension; NaN if it is unknown.
        """

    def explain(
        self, autoencoder: Any, X: FloatArray
    ) -> tuple[DoubleArray, dict[str, DoubleArray]]:
        """Return the dimension of samples, and the parts of its standard error by reason.

        By default, there is one part, the whole standard error.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples, float32 or float64.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        reasons : dict of str to ndarray of shape (n_samples,)
            Standard errors, whose squares add up; NaN if they are unknown.
        """
        dimension, std = self.estimate(autoencoder, X)
        return dimension, {"sampling": std}

    def dimension_scale(self, autoencoder: Any, X: FloatArray) -> tuple[IntArray, DoubleArray]:
        """Return the dimension by distances at several scales, if the method uses neighbours.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples, float32 or float64.

        Returns
        -------
        n_neighbors : ndarray of int, shape (n_scales,)
            The number of neighbours of each scale, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            The dimension by distances alone at each scale; NaN where it is unknown.

        Raises
        ------
        ValueError
            If the method does not use neighbours.
        """
        raise ValueError(
            f'{type(self).__name__} computes no distances to neighbours. Set method="auto" or '
            '"neighbors", with an autoencoder that can decode and at least 6 samples.'
        )


class Count(AutoencoderMethod):
    """Count the active latents of each sample.

    On unions of linear subspaces, this number is the dimension, however many subspaces there are.
    On a curved manifold, a linear decoder needs more latents: the dimension of the smallest linear
    space that holds the sample's neighbourhood.

    See Also
    --------
    Consensus : Uses neighbours too, and refines the count.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Count
    >>> X, *_ = make_linear_subspaces(200, dims=(1, 2), n_features=6, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0).partial_fit(X)
    >>> dimension, std = Count().estimate(vaeense, X)
    >>> bool((dimension == vaeense.active_dimensions(X).sum(axis=1)).all())
    True
    """

    alias = "count"

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the number of active latents of samples, without a standard error.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `active_dimensions`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The number of active latents of each sample.

        std : ndarray of shape (n_samples,)
            NaN.
        """
        active = autoencoder.active_dimensions(X)
        return active.sum(axis=1).astype(np.float64), np.full(len(X), np.nan)
