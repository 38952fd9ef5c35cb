"""IntrinsicDimensionEstimator: the dimension of each sample, seen or unseen."""

from dataclasses import KW_ONLY, dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import mean_absolute_error
from sklearn.utils import gen_batches, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from skvaeense._vaeense import VAEenseTransformer
from skvaeense.dimension import AutoencoderMethod, Neighbors
from skvaeense.dimension._methods import PoolMethod
from skvaeense.dimension._posterior import probability_right, standard_error
from skvaeense.mixture._rows import Reach, check_seen
from skvaeense.samples._rows import tensor_as_array, validated
from skvaeense.samples._weights import checked_weights, distinct_rows
from skvaeense.utils import _callbacks, _validation
from skvaeense.utils._processes import find_processes
from skvaeense.utils._rows import SOME_ROWS, block_rows
from skvaeense.utils._torch import threads_of_all
from skvaeense.utils._typing import Auto, DoubleArray, FloatArray, IntArray, RandomState


def _median(x: DoubleArray, weights: DoubleArray | None) -> Any:
    """Return the weighted median: the mean of two values if half of the weight is on each side."""
    weights = np.ones(len(x)) if weights is None else weights
    middle = [np.quantile(y, 0.5, weights=weights, method="inverted_cdf") for y in (x, -x)]
    return (middle[0] - middle[1]) / 2


# Mean reliability by neighbours above which gates are not tried. On sums of few atoms, the mean is
# below .6 without gates, and gates hardly improve other dimensions.
ENOUGH = 0.6
# The last two, if gates or a given autoencoder are fitted at once.
PHASES = "mixture", "dimension by mixture", "autoencoder", "dimension"
AGGREGATES: dict[str, Any] = {"mean": np.average, "median": _median}


@dataclass(eq=False, repr=False)
class IntrinsicDimensionEstimator(  # numpydoc ignore=PR02
    _callbacks.CallbackSupportMixin,
    _validation.DocLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Estimate the intrinsic dimension of each sample, seen or unseen.

    An autoencoder is trained on the samples. It finds the active latents of each sample, and
    removes noise. The parameter `method` sets how the dimension follows from the active latents and
    from the neighbours of the sample.

    Parameters
    ----------
    autoencoder : estimator or None, default=None
        Any estimator with `fit` and `active_dimensions`. Without `transform` and
        `inverse_transform`, active latents are only counted. The autoencoder is cloned, and fitted
        unless it is a :class:`sklearn.frozen.FrozenEstimator`. None means
        ``VAEenseTransformer(target_explained_variance=None)``. Its gates are fitted only if
        neighbours leave the dimension of many samples open. Otherwise, it has ``model="mixture"``,
        which takes a fraction of the time.

    method : {"auto", "component_rank", "count", "neighbors"} or AutoencoderMethod, default="auto"
        "count" is the number of active latents. "component_rank" is the number of directions above
        the noise in the mixture component of the sample. "neighbors" measures how fast the number
        of neighbours grows with the distance, after denoising. "auto" takes, for each sample, the
        dimension that latents and neighbours agree on. These names are aliases of the default
        instances of :class:`~skvaeense.dimension.Count`,
        :class:`~skvaeense.dimension.ComponentRank`, :class:`~skvaeense.dimension.Neighbors` and
        :class:`~skvaeense.dimension.Consensus`.

    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples from which the dimension of a sample is estimated. "auto" means
        the `n_neighbors` of the method, by default 512, or a sixth of the samples if there are few.
        If noise moves samples by more than the distance to these neighbours, "auto" means a larger
        number, up to a sixth of the samples. An int replaces the `n_neighbors` of the method. Not
        used by "count" and "component_rank".

    aggregate : {"mean", "median"}, default="mean"
        How `dimension_` follows from the dimensions of the training samples.

    verbose : int, default=0
        Progress on the screen, of the autoencoder too: 1 shows a bar on a terminal, and otherwise a
        line every second or two; 2 shows a line for each step.

    random_state : int, RandomState instance or None, default=None
        Seed of the method, and of the default autoencoder; a given autoencoder has its own seed.

    Attributes
    ----------
    autoencoder_ : estimator
        The fitted autoencoder.

    dimension_ : float
        Dimension of the training set: the aggregate of `dimension_pw_`.

    dimension_std_ : float
        Standard error of `dimension_`; NaN if the method gives no standard errors, as for "count".

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
    The classes in :mod:`skvaeense.dimension` describe how each method works, and when it errs.
    Noise is not counted as a dimension, and `fit` warns if noise hides all directions. `fit` also
    fits the method. To compare several methods without training again, fit the autoencoder alone,
    and pass it as a ``FrozenEstimator``.

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

    autoencoder_: Any = field(init=False)
    dimension_: float = field(init=False)
    dimension_std_: float = field(init=False)
    dimension_pw_: DoubleArray = field(init=False)
    n_features_in_: int = field(init=False)
    feature_names_in_: NDArray[np.object_] = field(init=False)
    _fitted_names = ("autoencoder_", "_method_")

    _parameter_constraints = {
        "autoencoder": [_validation.HasMethods(["fit", "active_dimensions"]), None],
        "method": [_validation.AliasOf(AutoencoderMethod), AutoencoderMethod],
        "n_neighbors": Neighbors._parameter_constraints["n_neighbors"],
        "aggregate": [_validation.StrOptions(set(AGGREGATES))],
        "verbose": ["verbose"],
        "random_state": _validation.RANDOM_STATE,
    }

    autoencoder: BaseEstimator | None = None
    _: KW_ONLY
    method: str | AutoencoderMethod = "auto"
    n_neighbors: Auto | int = "auto"
    aggregate: Literal["mean", "median"] = "mean"
    verbose: int = 0
    random_state: RandomState = None

    @_callbacks.with_callbacks
    @_validation.fit_context(prefer_skip_nested_validation=False)
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
        is_first = find_processes().is_first
        phases = PHASES if self._may_skip_gates() else PHASES[2:]
        with (
            _validation.all_or_nothing(self),
            _callbacks.fit_progress(self, phases, is_first=is_first) as progress,
        ):
            samples: FloatArray = validated(self, tensor_as_array(X), least=2, reset=True)
            weights = checked_weights(sample_weight, samples)
            # Check the parameters of the method before the training, not after it.
            AutoencoderMethod.resolve(self.method)
            first = self._learn(samples, weights, progress)
            rest = samples[len(first[0]) :]
            answers = (first, self._estimate(rest)) if len(rest) else (first,)
            dimension, std = map(np.concatenate, zip(*answers, strict=True))
            n = distinct_rows(samples, weights).effective_size
            self._set_dimensions(dimension, std, weights, n)
        return self

    def _unfitted(self):
        """Return the unfitted autoencoder; short codes would lose directions of little variance."""
        if self.autoencoder is not None:
            return clone(self.autoencoder)
        default = VAEenseTransformer(target_explained_variance=None, random_state=self.random_state)
        if get_config()["enable_metadata_routing"]:
            default.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        return default

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata that the estimator needs, or passes on to the autoencoder.

        Returns
        -------
        MetadataRouter
            The routing of the metadata.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = (
            MethodMapping().add(caller="fit", callee="fit").add(caller="score", callee="score")
        )
        return router.add(autoencoder=self._unfitted(), method_mapping=mapping)

    def _params_of(self, method, autoencoder, weights):
        """Return the arguments that pass weights to a method of the autoencoder."""
        if weights is None:
            return {}
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, method, sample_weight=weights)
            return dict(routed.autoencoder[method])
        if "sample_weight" not in signature(getattr(autoencoder, method)).parameters:
            raise ValueError(
                f"Underlying autoencoder {type(autoencoder).__name__} does not support sample "
                "weights; leave sample_weight=None."
            )
        return {"sample_weight": weights}

    def _learn(self, X, weights, progress):
        """Fit the autoencoder and the method; return what `_estimate` would for the first samples.

        By default, gates are fitted only where neighbours leave the dimension open: they take
        several times as long as all other steps.
        """
        gated, may_skip_gates = self._unfitted(), self._may_skip_gates()
        if may_skip_gates:
            without = clone(gated).set_params(model="mixture")
            # The search for a mixture is the same in both fits.
            without._searched = gated._searched = {}
            without = self._fitted(without, X, weights, progress, PHASES[0])
            self._set_method(without, X, weights, progress, PHASES[1])
            dimension, reasons = self._explained(X[:SOME_ROWS])
            first = dimension, standard_error(reasons)
            # Very few samples have no neighbours at all.
            counted = reasons["small_coefficients"] + reasons.get("few_neighbors", 0.0) > 0
            if np.where(counted, 0.0, probability_right(first[1])).mean() >= ENOUGH:
                return first
        gated = self._fitted(gated, X, weights, progress, PHASES[2])
        if may_skip_gates and gated.explanation_ != "gates":
            # The mixture gives the codes again.
            return first
        earlier = self._method_ if may_skip_gates else None
        self._set_method(gated, X, weights, progress, PHASES[3], earlier)
        return np.empty(0), np.empty(0)

    def _may_skip_gates(self):
        method = AutoencoderMethod.resolve(self.method)
        return self.autoencoder is None and isinstance(method, PoolMethod)

    def _set_method(self, autoencoder, X, weights, progress, phase, earlier=None):
        progress.begin(phase)
        self.autoencoder_ = autoencoder
        self._method_ = self._fitted_method(X, weights, earlier)

    def _fitted(self, autoencoder, X, weights, progress, phase):
        """Return the fitted autoencoder."""
        progress.begin(phase, 1)
        method = AutoencoderMethod.resolve(self.method)
        if not all(hasattr(autoencoder, name) for name in method.requires):
            raise ValueError(
                f"{type(method).__name__} needs an autoencoder with "
                f"{' and '.join(method.requires)}, which {autoencoder!r} does not have. Set "
                'method="count".'
            )
        if not isinstance(autoencoder, FrozenEstimator):
            check_seen(X, getattr(self, "feature_names_in_", None))
            progress.fit_part(autoencoder, X, self._params_of("fit", autoencoder, weights))
        return autoencoder

    def _fitted_method(self, X, weights, earlier):
        """Return the method, fitted to the autoencoder, perhaps after another autoencoder's."""
        method = clone(AutoencoderMethod.resolve(self.method))
        if earlier is not None and not np.isnan(X).any():
            method._earlier = earlier
        if self.n_neighbors != "auto" and hasattr(method, "n_neighbors"):
            method.set_params(n_neighbors=self.n_neighbors)
        with threads_of_all(X.shape):
            # Far rows would also outweigh all others in the measurements of a method.
            X, weights, _ = distinct_rows(self._complete(X), weights)
            counts = np.ones(len(X)) if weights is None else weights
            near = X[Reach.of(X, counts, np.median(X, axis=0)).shares(X) > 0]
            return method.fit(self.autoencoder_, near, self.random_state)

    def _complete(self, X):
        """Return samples with missing values filled in by the autoencoder."""
        return self.autoencoder_.impute(X) if np.isnan(X).any() else X

    def _ask(self, function, X):
        """Return the outputs of a function of the autoencoder and samples, chunk by chunk."""
        X, autoencoder = self._complete(X), self.autoencoder_
        chunks = gen_batches(len(X), block_rows(X.shape[1], self._method_.pool_size_))
        try:
            with np.errstate(over="raise"), threads_of_all(X.shape):
                return [function(autoencoder, X[chunk]) for chunk in chunks]
        except FloatingPointError as error:
            raise _validation.too_far(X.dtype) from error

    def _estimate(self, X):
        parts = self._ask(self._method_.estimate, X)
        dimension, std = (np.concatenate(part) for part in zip(*parts, strict=True))
        # Neither active latents nor estimates by distances are limited by the number of features.
        return np.minimum(dimension, self.n_features_in_), std

    def _explained(self, X):
        """Return the dimension of samples, and the parts of its standard error by reason."""
        dimension, reasons = zip(*self._ask(self._method_.explain, X), strict=True)
        each = {name: np.concatenate([part[name] for part in reasons]) for name in reasons[0]}
        return np.minimum(np.concatenate(dimension), self.n_features_in_), each

    def _set_dimensions(self, dimension, std, weights, n):
        """Set the attributes for the dimensions of the training samples.

        The samples have these weights, and the effective sample size n.
        """
        self.dimension_pw_ = dimension
        self.dimension_ = float(AGGREGATES[self.aggregate](dimension, weights=weights))
        weights = np.ones(len(std)) if weights is None else weights
        # Neighbours share their pools, and so their errors.
        n_pools = max(n / self._method_.pool_size_, 1)
        known = np.isfinite(std) & (weights > 0)
        # An error is at most the number of features, however far away its sample is.
        squares = np.square(np.minimum(std, self.n_features_in_))
        error = np.nan
        if known.any():
            error = np.sqrt(np.average(squares[known], weights=weights[known]) / n_pools)
        center = np.average(dimension, weights=weights)
        variance = np.average(np.square(dimension - center), weights=weights)
        self.dimension_std_ = float(np.hypot(error, np.sqrt(variance / n)))

    def _check_new(self, X: ArrayLike) -> FloatArray:
        """Return validated samples, once the estimator is fitted."""
        check_is_fitted(self)
        return validated(self, tensor_as_array(X), reset=False)

    @overload
    def predict(  # numpydoc ignore=GL08
        self, X: ArrayLike, return_std: Literal[False] = ...
    ) -> DoubleArray: ...
    @overload
    def predict(  # numpydoc ignore=GL08
        self, X: ArrayLike, return_std: Literal[True]
    ) -> tuple[DoubleArray, DoubleArray]: ...
    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> DoubleArray | tuple[DoubleArray, DoubleArray]:
        """Return the local dimension of samples, seen or unseen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        return_std : bool, default=False
            Whether to return standard errors, too.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            Dimension at each sample, at most the number of features.

        std : ndarray of shape (n_samples,)
            Standard error of each dimension, if `return_std`. It includes all reasons of
            `reliability`, and is NaN if the method gives no standard errors, as for "count".
        """
        dimension, std = self._estimate(self._check_new(X))
        return (dimension, std) if return_std else dimension

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
            params = self._params_of("score", self.autoencoder_, weights)
            return self.autoencoder_.score(samples, **params)
        y = column_or_1d(check_array(_validation.plain(y, "y"), ensure_2d=False), warn=True)
        error = mean_absolute_error(y, self._estimate(samples)[0], sample_weight=weights)
        return -float(error)

    def reliability(self, X: ArrayLike, return_reasons: bool = False) -> Any:
        """Return the probability that dimensions of samples are right, and the reasons for doubt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, seen or unseen.

        return_reasons : bool, default=False
            Whether to return the reasons, too.

        Returns
        -------
        reliability : ndarray of shape (n_samples,)
            Probability, between 0 and 1, that the error of `predict` is under half a dimension:
            ``1 / (1 + std ** 2)`` with the standard error of `predict`. NaN where the standard
            error is NaN.

        reasons : dict of str to ndarray of shape (n_samples,)
            The parts of the standard error by reason, if `return_reasons`. The squares of the parts
            add up to the square of the standard error, so the largest part is the main reason why
            the dimension is uncertain.

            - "sampling": few samples, whose distances differ by chance;
            - "noise": the estimate by distances falls as the scale grows, as it does with noise;
            - "disagreement": the dimension differs from the estimates by distances at all scales;
            - "intersection": nearby groups of samples extend in different numbers of directions;
            - "small_coefficients": noise hides whether the sample uses some of the atoms;
            - "few_neighbors": hardly any training sample nearby has similar active latents;
            - "far": the sample lies far from all training samples.

            A method other than "auto" and "neighbors" may have other reasons.

        Examples
        --------
        >>> from skvaeense import IntrinsicDimensionEstimator
        >>> from skvaeense.datasets import make_linear_subspaces
        >>> X, *_ = make_linear_subspaces(1000, dims=(1, 3), n_features=8, random_state=0)
        >>> estimator = IntrinsicDimensionEstimator(random_state=0).fit(X)
        >>> bool((estimator.reliability(X) > 0.5).mean() > 0.9)
        True
        >>> reliability, reasons = estimator.reliability(X[:1] + 100, return_reasons=True)
        >>> max(reasons, key=reasons.get)
        'far'
        """
        reasons = self._explained(self._check_new(X))[1]
        right = probability_right(standard_error(reasons))
        return (right, reasons) if return_reasons else right

    def dimension_scale(self, X: ArrayLike) -> tuple[IntArray, DoubleArray]:
        """Return the local dimension by distances to neighbours at several scales.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, seen or unseen.

        Returns
        -------
        n_neighbors : ndarray of int, shape (n_scales,)
            Scales: the number of neighbours up to which distances are compared, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            The dimension by distances alone at each scale, not rounded; NaN if too few of the
            nearest training samples are like the sample. A fall from the first scale to the next
            comes from noise; a rise comes from curvature, or from other manifolds.

        Raises
        ------
        ValueError
            If neighbours are not used, as with ``method="count"``, an autoencoder that cannot
            decode, or too few training samples.
        """
        X = self._check_new(X)
        parts = self._ask(self._method_.dimension_scale, X)
        n_neighbors, dimensions = zip(*parts, strict=True)
        return n_neighbors[0], np.concatenate(dimensions)

    # --- scikit-learn's protocols -------------------------------------------------------------

    @property
    def _n_features_out(self):
        return 1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        autoencoder = VAEenseTransformer() if self.autoencoder is None else self.autoencoder
        allows = hasattr(autoencoder, "impute") and get_tags(autoencoder).input_tags.allow_nan
        tags.input_tags.allow_nan = allows
        return tags
