"""The base class of dimension estimators: one contract, whatever they learn from the samples."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import mean_absolute_error
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from skvaeense.training._sources import tensor_as_array, validated
from skvaeense.utils._callbacks import with_callbacks
from skvaeense.utils._fitted import all_or_nothing
from skvaeense.utils._repr import DocLinkMixin
from skvaeense.utils._typing import DoubleArray, FloatArray
from skvaeense.utils._validation import RANDOM_STATE, StrOptions, fit_context
from skvaeense.utils._weights import checked_weights, distinct_rows


def _median(x: DoubleArray, weights: DoubleArray | None) -> Any:
    """Return the weighted median: the mean of two values if half of the weight is on each side."""
    weights = np.ones(len(x)) if weights is None else weights
    middle = [np.quantile(y, 0.5, weights=weights, method="inverted_cdf") for y in (x, -x)]
    return (middle[0] - middle[1]) / 2


AGGREGATES: dict[str, Any] = {"mean": np.average, "median": _median}


class BaseDimensionEstimator(
    DocLinkMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC
):
    """Estimate the dimension of each sample, seen or unseen.

    A subclass has the parameters `method`, `aggregate` and `random_state`. It defines what to learn
    (`_learn`), how the dimension of a sample follows (`_estimate`), and how well the model fits
    samples of unknown dimension (`_score_fit`).
    """

    # Class of the parameter `method`: AutoencoderMethod or ScoreMethod.
    _method_kind: type[Any]

    # Fitted attributes that users see.
    dimension_: float
    dimension_pw_: DoubleArray
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints = {
        "aggregate": [StrOptions(set(AGGREGATES))],
        "random_state": RANDOM_STATE,
    }

    # --- defined by a subclass ----------------------------------------------------------------

    @abstractmethod
    def _learn(self, X, weights):
        """Set the fitted attributes from validated samples, and their weights or None."""

    @abstractmethod
    def _estimate(self, X):
        """Return the dimension at validated samples, and its standard error, NaN if unknown.

        Both are float64 arrays of shape (n_samples,).
        """

    @abstractmethod
    def _score_fit(self, X, weights):
        """Return a score of the fit to validated samples, perhaps weighted; higher is better."""

    # --- the contract -------------------------------------------------------------------------

    # The decorator does nothing for a subclass without CallbackSupportMixin.
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from the training samples, and estimate the dimension at each of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts, at least 0, in training and in `dimension_`. A whole
            number n counts as n copies. Distances between neighbours are distances between
            different samples, whatever their weights.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X holds infinity, or NaN where missing values are not supported, or has fewer than
            two samples, or if a parameter of the method is out of its range, or a weight is
            negative, or all are 0.

        TypeError
            If X is sparse.

        FloatingPointError
            If training diverges. Attributes of an earlier fit are kept.
        """
        with all_or_nothing(self):
            samples: FloatArray = validated(self, tensor_as_array(X), least=2, reset=True)
            weights = checked_weights(sample_weight, samples)
            # Check the parameters of the method before the training, not after it.
            self._resolved_method()
            self._learn(samples, weights)
            dimension, std = self._estimate(samples)
            n = distinct_rows(samples, weights).effective_size
            self._set_dimensions(dimension, std, weights, n)
        return self

    def _resolved_method(self):
        """Return the method, with checked parameters."""
        return self._method_kind.resolve(self.method)

    def _set_dimensions(self, dimension, std, weights, n):
        """Set the attributes for the dimensions of the training samples.

        The samples have these weights, and the effective sample size n.
        """
        self.dimension_pw_ = dimension
        self.dimension_ = float(AGGREGATES[self.aggregate](dimension, weights=weights))

    def _check_new(self, X: ArrayLike) -> FloatArray:
        """Return validated samples, once the estimator is fitted."""
        check_is_fitted(self)
        return validated(self, tensor_as_array(X), reset=False)

    def predict(self, X: ArrayLike) -> DoubleArray:
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
        return self._estimate(self._check_new(X))[0]

    def fit_predict(self, X: ArrayLike, y: object = None) -> DoubleArray:
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

    def transform(self, X: ArrayLike) -> FloatArray:
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
        samples = self._check_new(X)
        return self._estimate(samples)[0][:, None].astype(samples.dtype, copy=False)

    if TYPE_CHECKING:
        # The inherited method has no annotations.
        def fit_transform(self, X: ArrayLike, y: object = None) -> FloatArray: ...

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the score of predicted dimensions, or of the model's fit to the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            True dimensions, if known.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts in the mean.

        Returns
        -------
        float
            With y, the negative mean absolute error of `predict`. Without y, the quality of the
            model's fit to X, where higher is better. So a grid search works without known
            dimensions.
        """
        samples = self._check_new(X)
        weights = checked_weights(sample_weight, samples)
        if y is None:
            return self._score_fit(samples, weights)
        y = column_or_1d(check_array(y, ensure_2d=False), warn=True)
        error = mean_absolute_error(y, self._estimate(samples)[0], sample_weight=weights)
        return -float(error)

    # --- scikit-learn's protocols -------------------------------------------------------------

    @property
    def _n_features_out(self):
        return 1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
