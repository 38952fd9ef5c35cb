"""IntrinsicDimensionEstimator: the dimension of each sample, seen or unseen."""

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone

from skvaeense._dimension import BaseDimensionEstimator
from skvaeense._vaeense import VAEenseTransformer
from skvaeense.utils._validation import HasMethods


class IntrinsicDimensionEstimator(MetaEstimatorMixin, BaseDimensionEstimator):
    """Estimate the intrinsic dimension of each sample by its count of active latents.

    An autoencoder is trained on the samples; the local dimension of a sample is the number of
    latents that it says are active. An unseen sample needs one pass through the encoder.

    Parameters
    ----------
    autoencoder : estimator or None, default=None
        Anything with `fit` and `active_dimensions`. It is cloned. None means
        ``VAEenseTransformer()``. Its `threshold` says what counts as active.

    aggregate : {"mean", "median"}, default="mean"
        How `dimension_` follows from the dimensions of the training samples.

    random_state : int, RandomState instance or None, default=None
        Seed of the default autoencoder; a given one has its own.

    Attributes
    ----------
    autoencoder_ : estimator
        The fitted autoencoder.

    dimension_ : float
        Dimension of the training set: the aggregate of `dimension_pw_`.

    dimension_pw_ : ndarray of shape (n_samples,)
        Dimension at each training sample.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    VAEenseTransformer : The default autoencoder.
    DiffusionDimensionEstimator : The same from a learned score, without an autoencoder.

    Notes
    -----
    The count is exact on unions of linear subspaces. On a curved manifold a linear decoder needs
    as many latents as the smallest linear space that holds the sample's neighbourhood, which is
    more than the dimension. ``VAEenseTransformer(network="mlp")`` can follow the curve.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> X, _, dimension = make_linear_subspaces(1200, dims=(1, 3), n_features=8, random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(random_state=0).fit(X[:1000])
    >>> round(estimator.dimension_)
    2
    >>> estimator.predict(X[1000:]).shape
    (200,)
    """

    _parameter_constraints = BaseDimensionEstimator._parameter_constraints | {
        "autoencoder": [HasMethods(["fit", "active_dimensions"]), None],
    }

    def __init__(self, autoencoder=None, *, aggregate="mean", random_state=None):
        self.autoencoder = autoencoder
        self.aggregate = aggregate
        self.random_state = random_state

    def _learn(self, X):
        if self.autoencoder is None:
            autoencoder = VAEenseTransformer(random_state=self.random_state)
        else:
            autoencoder = clone(self.autoencoder)
        self.autoencoder_ = autoencoder.fit(X)

    def _local_dimension(self, X):
        return self.autoencoder_.active_dimensions(X).sum(axis=1).astype(np.float64)

    def _score_fit(self, X):
        return self.autoencoder_.score(X)
