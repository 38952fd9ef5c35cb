"""IntrinsicDimensionEstimator: the dimension of each sample, seen or unseen."""

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.metrics import mean_absolute_error
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from skvaeense._fitting import FLOATS, all_or_nothing
from skvaeense._vaeense import VAEenseTransformer
from skvaeense.utils._validation import HasMethods, StrOptions, fit_context

_AGGREGATES = {"mean": np.mean, "median": np.median}


class IntrinsicDimensionEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, MetaEstimatorMixin, BaseEstimator
):
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

    _parameter_constraints = {
        "autoencoder": [HasMethods(["fit", "active_dimensions"]), None],
        "aggregate": [StrOptions(set(_AGGREGATES))],
        "random_state": ["random_state"],
    }

    def __init__(self, autoencoder=None, *, aggregate="mean", random_state=None):
        self.autoencoder = autoencoder
        self.aggregate = aggregate
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train the autoencoder and count the active latents of the training samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.

        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, is sparse, or has fewer than two samples.
        """
        with all_or_nothing(self):
            X = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
            if self.autoencoder is None:
                autoencoder = VAEenseTransformer(random_state=self.random_state)
            else:
                autoencoder = clone(self.autoencoder)
            self.autoencoder_ = autoencoder.fit(X)
            self.dimension_pw_ = self._count(X)
            self.dimension_ = float(_AGGREGATES[self.aggregate](self.dimension_pw_))
        return self

    def _count(self, X):
        return self.autoencoder_.active_dimensions(X).sum(axis=1).astype(np.float64)

    def predict(self, X):
        """Return the local dimension of samples, seen or unseen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Dimension at each sample.
        """
        check_is_fitted(self)
        return self._count(validate_data(self, X, dtype=FLOATS, reset=False))

    def fit_predict(self, X, y=None):
        """Fit, and return the local dimension of the training samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.

        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_samples,)
            `dimension_pw_`.
        """
        return self.fit(X).dimension_pw_

    def transform(self, X):
        """Return the local dimension as one column, for a FeatureUnion.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, 1)
            Dimension at each sample, in the precision of X.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return self._count(X)[:, None].astype(X.dtype, copy=False)

    def score(self, X, y=None):
        """Return how well dimensions are predicted, or how well the autoencoder fits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            True dimensions, if known.

        Returns
        -------
        float
            With y, the negative mean absolute error of `predict`. Without, the score of the
            autoencoder, so that a grid search works without known dimensions.
        """
        check_is_fitted(self)
        if y is None:
            return self.autoencoder_.score(validate_data(self, X, dtype=FLOATS, reset=False))
        y = column_or_1d(check_array(y, ensure_2d=False), warn=True)
        return -float(mean_absolute_error(y, self.predict(X)))

    @property
    def _n_features_out(self):
        return 1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
