"""Density of samples: scores, components, missing features, outliers and draws."""

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import softmax
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skvaeense._base import LawEvaluation
from skvaeense.mixture import MixtureDensity
from skvaeense.nets.networks import Network
from skvaeense.samples._rows import FLOATS, as_array, tensor_as_array
from skvaeense.samples._scaling import SPECTRUM_ROWS
from skvaeense.samples._weights import checked_weights, imputations
from skvaeense.utils._rows import (
    MIN_ROWS_TO_SPLIT,
    SOME_ROWS,
    find_discrete,
    find_steps,
    warn_of_discrete,
)
from skvaeense.utils._torch import resolve_device
from skvaeense.utils._typing import FloatArray, IntArray, RandomState, SparseArray
from skvaeense.utils._validation import check_array, check_integer, plain, too_far


def _may_have_density(estimator: Any) -> bool:
    """Return whether an estimator has a mixture, or will have one after fitting."""
    if hasattr(estimator, "_structure_"):
        return estimator._any_mixture() is not None
    if not estimator._has_net:
        return True
    return bool(Network.resolve(estimator._training.network).has_linear_decoder)


class DensityMixin(LawEvaluation):
    """Scores, components, missing features, outliers and draws, by laws."""

    # What the estimator has.
    device: str
    n_components_: int
    explanation_nats_: dict[str, float]
    # The law of the density, and the mixture, which can be another law.
    density_: Any
    _mixture_: MixtureDensity
    # Mean length of the codes of held-out samples, and the share of the variance that they keep.
    _held_out_codes_: dict[str, float]
    # Number of samples that were held out or looked at, up to a few thousand.
    _n_rows_: int
    # Seconds of the last fit; not saved.
    _seconds: dict[str, float]

    if TYPE_CHECKING:

        @property
        def coder_(self) -> Any: ...

        def _check_samples(self, X: Any, *, reset: bool, least: int = ...) -> Any: ...

        def _law(self, dtype: Any) -> Any: ...

    def _any_mixture(self) -> MixtureDensity | None:
        return getattr(self, "_mixture_", self.density_)

    def _mixture(self, name: str) -> MixtureDensity:
        """Return the mixture, or raise an error that names the method that needs it."""
        check_is_fitted(self)
        density = self._any_mixture()
        if density is None:
            raise ValueError(
                f"{name} needs a density of the samples, but this model has none. Fit it with "
                'model="auto", or with a network whose decoder is linear.'
            )
        return density

    def _by_density(self, X: Any, density: MixtureDensity, function: Any, out: Any = None) -> Any:
        """Apply a function to chunks of rows in double precision."""

        def answer(rows: Any) -> Any:
            values = as_array(rows)
            if np.isinf(values).any():
                raise too_far(rows.dtype)
            return function(np.asarray(values, dtype=np.float64))

        return self._by_rows(X, density, answer, out)

    # --- scores -------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the log-density of each sample, or a lower bound.

        Scores are exact log-densities under a mixture of normal distributions. If `density_name_`
        is "gates", they are lower bounds of the log-density under the gates. If there is no
        density, as for a `VAEase` with a nonlinear decoder, scores are the bounds of
        `elbo_samples`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples. If there is a mixture, they can have missing values, given as NaN. The score is
            then the log-density of the known values under the mixture.

        out : array of shape (n_samples,) or None, default=None
            Array that the scores are written to, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities or bounds in nats, in units of X, as from `PCA.score_samples`. Outliers
            have low values.
        """
        X = self._checked(X)
        has_holes = isinstance(X, np.ndarray) and np.isnan(X).any()
        law = self._any_mixture() if has_holes else self.density_
        if law is None:
            return self.elbo_samples(X, out=out)
        if isinstance(law, MixtureDensity):
            return self._by_density(X, law, law.log_prob, out)
        law = law.placed(None, resolve_device(self.device))
        return self._by_rows(X, law, law.log_prob, out)

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._check_samples(X, reset=False)

    def get_density(self) -> Any:
        """Return the law that `score_samples` and `sample` use, in units of X.

        Returns
        -------
        MixtureDensity or GateLaw
            `density_`.

        Raises
        ------
        ValueError
            If there is no density.
        """
        self._mixture("get_density")
        return self.density_

    def summary(self) -> str:
        """Return what `fit` has found: codes, density, nats and the time.

        Returns
        -------
        str
            A few lines. Lengths and shares are of held-out samples; times are known only to the
            estimator that was fitted, not to one that was loaded.

        Examples
        --------
        >>> from skvaeense import VAEenseTransformer
        >>> from skvaeense.datasets import make_linear_subspaces
        >>> X, *_ = make_linear_subspaces(600, dims=(1, 2), n_features=8, random_state=0)
        >>> print(VAEenseTransformer(random_state=0).fit(X).summary().splitlines()[0])
        codes: mixture, 3 latents, 1.6 active, 100.0 % of the variance
        """
        check_is_fitted(self)
        name = getattr(self, "explanation_", "vaease")
        lines = [f"codes: {name}, {self.n_components_} latents"]
        if found := getattr(self, "_held_out_codes_", {}):
            lines[0] += f", {found['l0']:.1f} active, {100 * found['kept']:.1f} % of the variance"
        if hasattr(self, "density_name_"):
            is_mixture = self.density_name_ == "mixture"
            size = f", {len(self.density_)} components" if is_mixture else ""
            lines.append(f"density: {self.density_name_}{size}")
            nats = (f"{key} {value:.2f}" for key, value in self.explanation_nats_.items())
            lines.append("nats of held-out samples: " + ", ".join(nats))
        if times := getattr(self, "_seconds", {}):
            lines.append("seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in times.items()))
        return "\n".join(lines)

    def elbo_samples(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return a bound of the log-density of each sample under what gives the codes, `coder_`.

        For flat parts it is the log-density itself, and for gates a lower bound. For a `VAEase` it
        is the evidence lower bound, which training maximises. With the gate of a `VAEase`, the
        encoder chooses for each sample how far latents open. This choice costs nothing in the
        bound, which can therefore exceed the log-density of any normalised model. Compare models by
        `score_samples`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        out : array of shape (n_samples,) or None, default=None
            Array that the bounds are written to, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Bounds in nats, in units of X.
        """
        samples = self._checked(X)
        law = self._law(samples.dtype)
        return self._by_rows(samples, law, law.log_prob, out)

    def score(
        self,
        X: ArrayLike | SparseArray,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the mean log-density, or the mean of its lower bounds.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each sample in the mean: how often it counts.

        Returns
        -------
        float
            Mean of `score_samples`, in nats per sample in units of X; comparable with `PCA.score`.

        Warns
        -----
        UserWarning
            If the mean is not meaningful: in some column one value fills at least 10 % of the rows,
            or the density was learned from so few samples that none were held out.
        """
        scores = as_array(self.score_samples(X))
        if self._any_mixture() is not None:
            self._warn_of_spikes(X)
        weights = None if sample_weight is None else checked_weights(sample_weight, scores)
        return float(np.average(scores, weights=weights))

    def _warn_of_spikes(self, X: Any) -> None:
        """Warn if only the minimum noise of the density bounds the log-density."""
        n_rows = self._n_rows_
        if n_rows < MIN_ROWS_TO_SPLIT:
            warnings.warn(
                f"The density was learned from {n_rows} samples, too few to hold any out, so "
                "log-densities depend more on its minimum noise than on the samples. Fit with "
                "more samples.",
                stacklevel=3,
            )
        samples: Any = self._check_samples(X, reset=False)
        rows = as_array(samples[:SPECTRUM_ROWS])
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(rows.shape[1])])
        warn_of_discrete(
            [str(names[j]) for j in np.flatnonzero(find_discrete(rows) & (find_steps(rows) == 0))],
            "bounded only by the minimum noise of the density",
            "compare estimators by skvaeense.inspection.compare_scores, which adds noise",
            stacklevel=3,
        )

    # --- components ---------------------------------------------------------------------------

    @available_if(_may_have_density)
    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probabilities of the components of the mixture for each sample.

        On a union of subspaces there is one component for each subspace, in an arbitrary order.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_mixture_components)
            Probabilities, which sum to 1 for each sample.

        Raises
        ------
        AttributeError
            If there is no density.

        TypeError
            If X is sparse.
        """
        if sparse.issparse(X):
            # scikit-learn's checks allow probabilities of sparse samples only for classifiers.
            check_array(X, input_name="X")
        X = self._checked(X)
        density = self._mixture("predict_proba")
        return self._by_density(X, density, lambda x: softmax(density.log_joint(x), axis=1))

    @available_if(_may_have_density)
    def predict(self, X: ArrayLike) -> IntArray:
        """Return the most probable component of the mixture for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices of the columns of `predict_proba`.

        Raises
        ------
        AttributeError
            If there is no density.

        TypeError
            If X is sparse.
        """
        return self.predict_proba(X).argmax(axis=1)

    @available_if(_may_have_density)
    def component_ranks(self) -> IntArray:
        """Return the number of directions with a variance above the noise in each component.

        Returns
        -------
        ndarray of int of shape (n_mixture_components,)
            A dimension for each column of `predict_proba`.

        Raises
        ------
        AttributeError
            If there is no density.
        """
        return self._mixture("component_ranks").ranks

    # --- missing features and draws -----------------------------------------------------------

    def _imputed(
        self,
        X: FloatArray,
        density: MixtureDensity,
        rng: np.random.RandomState | None,
    ) -> FloatArray:
        """Return samples with missing values filled in by conditional means, or by draws."""
        filled: FloatArray = self._by_density(X, density, lambda x: density.impute(x, rng))
        return np.where(np.isnan(X), filled, X)

    @available_if(_may_have_density)
    def impute(
        self, X: ArrayLike, *, n_draws: int | None = None, random_state: RandomState = None
    ) -> Any:
        """Fill in the missing features of samples.

        Each missing feature is replaced by its conditional mean, given the known features of the
        sample, under the density of `score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, with NaN for missing values.

        n_draws : int or None, default=None
            Number of draws from the conditional distribution of the missing values, for multiple
            imputation. None fills in the conditional mean.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features), or a list of them
            The samples without NaN, in the type of X; known values are unchanged. With `n_draws`, a
            list of `n_draws` arrays or data frames.

        Raises
        ------
        AttributeError
            If there is no density.

        ValueError
            If `n_draws` is less than 1.
        """
        check_is_fitted(self)
        samples: FloatArray = validate_data(
            self,
            plain(tensor_as_array(X), takes_missing=True),
            dtype=FLOATS,
            reset=False,
            ensure_all_finite="allow-nan",
        )
        density = self._mixture("impute")

        def filled(rng: np.random.RandomState | None) -> Any:
            values = self._imputed(samples, density, rng)
            return torch.as_tensor(values).to(X.device) if isinstance(X, torch.Tensor) else values

        return imputations(filled, X, n_draws, random_state)

    @available_if(_may_have_density)
    def outlier_p_values(self, X: ArrayLike) -> FloatArray:
        """Return the share of held-out samples that are at least as surprising as each sample.

        This share is a p-value. P-values of samples from the distribution of the training samples
        are about uniform on (0, 1]: about 5 % of them are at most 0.05. So you need not guess the
        share of outliers. A sample is surprising if few held-out samples have a lower density, or
        if few are farther from the bulk of the samples. So a few outliers that are alike do not
        pass for usual because training samples contain some of them. A default fit compares with
        held-out samples, so these are conformal p-values [1]_. If training samples have missing
        values, or for a `VAEase` without a gate, draws from the density take the place of held-out
        samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples without missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            Conformal p-values, which are small for outliers.

        Raises
        ------
        AttributeError
            If there is no density.

        ValueError
            If values are missing.

        References
        ----------
        .. [1] S. Bates, E. Candes, L. Lei, Y. Romano and M. Sesia (2023). Testing for outliers with
           conformal p-values. Annals of Statistics 51.

        Examples
        --------
        >>> from skvaeense import VAEenseTransformer
        >>> from skvaeense.datasets import make_linear_subspaces
        >>> X, *_ = make_linear_subspaces(600, dims=(1, 2), n_features=8, random_state=0)
        >>> vaeense = VAEenseTransformer(random_state=0).fit(X[:500])
        >>> bool(vaeense.outlier_p_values(X[:1] + 10)[0] < 0.01)
        True
        """
        X = self._checked(X)
        if np.isnan(as_array(X)).any():
            raise ValueError("X has missing values; fill them first, with impute.")
        density = self._mixture("outlier_p_values")
        if density.held_out is None:
            draws, _ = density.sample(SOME_ROWS, np.random.RandomState(0))
            density = replace(density, held_out=density.log_probs(draws))
        # Chunks share the smoothed mixture, which takes longer than a chunk.
        p_values = partial(density.p_values, smoothed=density.smoothed())
        return self._by_density(X, density, p_values)

    @overload
    def sample(  # numpydoc ignore=GL08
        self,
        n_samples: int = ...,
        random_state: RandomState = ...,
        *,
        return_labels: Literal[False] = ...,
    ) -> FloatArray: ...

    @overload
    def sample(  # numpydoc ignore=GL08
        self,
        n_samples: int = ...,
        random_state: RandomState = ...,
        *,
        return_labels: Literal[True],
    ) -> tuple[FloatArray, IntArray]: ...

    def sample(
        self,
        n_samples: int = 1,
        random_state: RandomState = None,
        *,
        return_labels: bool = False,
    ) -> FloatArray | tuple[FloatArray, IntArray]:
        """Draw samples from the model.

        Samples are drawn from `density_`. If there is none, as for a `VAEase` with a nonlinear
        decoder, latents are drawn from the prior. If the gate is on, they are then multiplied by
        ``1 - s``, with the posterior standard deviations s of a random training sample. With
        ``positive_code=True`` their absolute values are taken.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        return_labels : bool, default=False
            Whether to also return the component that each sample is drawn from.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in units of X, noise included.

        labels : ndarray of int of shape (n_samples,)
            Component of each sample, numbered as by `predict`. Only if ``return_labels=True``.

        Raises
        ------
        ValueError
            If `n_samples` is not an int, or below 1, or if ``return_labels=True`` without a
            density.
        """
        check_is_fitted(self)
        n_samples = check_integer(n_samples, "n_samples", minimum=1)
        rng = check_random_state(random_state)
        if return_labels:
            return self._mixture("return_labels=True").sample(n_samples, rng)
        law = self.coder_ if self.density_ is None else self.density_
        drawn = law.sample(n_samples, rng)
        return drawn[0] if isinstance(law, MixtureDensity) else drawn
