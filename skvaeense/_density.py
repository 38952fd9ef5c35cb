"""Density of samples: scores, components, missing features, outliers and draws."""

import copy
import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import softmax
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skvaeense._base import BaseAutoencoder
from skvaeense._evaluation import in_chunks
from skvaeense.explanations import Gates
from skvaeense.mixture import MixtureDensity
from skvaeense.models import VAE
from skvaeense.priors import CodedSamples
from skvaeense.samples._batches import SPECTRUM_ROWS
from skvaeense.samples._missing import imputations
from skvaeense.samples._rows import FLOATS, as_array, tensor_as_array
from skvaeense.samples._sources import Source
from skvaeense.samples._weights import checked_weights
from skvaeense.training._threads import suited_threads, threads_of_all
from skvaeense.utils._arrays import check_array, plain
from skvaeense.utils._rows import (
    MIN_ROWS_TO_SPLIT,
    SOME_ROWS,
    block_rows,
    find_discrete,
    find_steps,
    warn_of_discrete,
)
from skvaeense.utils._torch import draw_seed, make_generator
from skvaeense.utils._typing import DoubleArray, FloatArray, IntArray, RandomState, SparseArray
from skvaeense.utils._validation import AT_LEAST_ONE, too_far


def _may_have_density(estimator: Any) -> bool:
    """Return whether an estimator has a density, or may have one after fitting."""
    model = getattr(estimator, "module_", None)
    return model is None or model.has_density


class DensityAutoencoder(BaseAutoencoder):
    """Autoencoder whose prior can define a density of samples."""

    module_: VAE
    noise_variance_: float
    # Explanation of the samples, and mean log-density of held-out samples for each explanation.
    explanation_: str
    explanation_nats_: dict[str, float]
    # The explanation with the most of them, which samples are scored by.
    density_name_: str
    # Mean length of the codes of held-out samples, and the share of the variance that they keep.
    _held_out_codes_: dict[str, float]
    # Number of samples that were held out or looked at, up to a few thousand.
    _n_rows_: int
    # Seconds of each phase of the last fit; not saved.
    _seconds: dict[str, float]
    # Location of each sample whose gates the model keeps.
    _gate_labels_: IntArray

    # --- the density --------------------------------------------------------------------------

    def _has_free_density(self, model: Any) -> bool:
        """Return whether components of the density may vary outside the span of decoder columns.

        With a given `n_components` they may not.
        """
        return model.learns_density and self.n_components is None

    def _density(self) -> MixtureDensity | None:
        """Return the density of centred and scaled samples, if there is one.

        The prior of the model stores it. Concurrent threads find the same density.
        """
        prior = self.module_.prior
        if not self.module_.has_density:
            return None
        if not hasattr(prior, "density_"):
            shape = prior.rows_.x.shape if prior.keeps_samples else (1, self.n_features_in_)
            with threads_of_all(shape), suited_threads(self.module_, shape[0]):
                prior.density_ = prior.density(self._coded_samples())
        return prior.density_

    def _complete(self) -> None:
        if not self.module_.prior.lazy:
            self._density()

    def _coded_samples(self) -> CodedSamples:
        """Return centred training samples and decoder columns, with a column for each location."""
        model = copy.deepcopy(self.module_).cpu().double()
        if not model.prior.keeps_samples:
            return model.coded(torch.zeros((1, model.n_features), dtype=torch.float64))
        rows = model.prior.rows_
        coded = model.coded(torch.from_numpy(rows.x.astype(np.float64)))
        coded = coded._replace(sample_weight=rows.weight)
        n_locations = self._n_locations
        if n_locations:
            offsets = self._scaling.offsets / self.scale_
            coded = coded._replace(
                x=coded.x + offsets[rows.location],
                weight=np.hstack([coded.weight, offsets.T]),
                used=np.r_[coded.used, np.ones(n_locations, dtype=bool)],
            )
        if self._has_free_density(self.module_):
            d = self.n_features_in_
            coded = coded._replace(weight=np.eye(d), used=np.ones(d, dtype=bool))
        return coded

    def _mixture(self, name: str) -> MixtureDensity:
        """Return the density, or raise an error that names the method that needs it."""
        check_is_fitted(self)
        density = self._density()
        if density is None:
            raise ValueError(
                f"{name} needs a density of the samples, but this model has none. Fit it with "
                'prior="mixture", and with a network whose decoder is linear.'
            )
        return density

    def _by_density(self, X: Any, density: MixtureDensity, function: Any, out: Any = None) -> Any:
        """Apply a function to chunks of centred and scaled rows in double precision."""

        def answer(rows: Any) -> FloatArray:
            rows = as_array(rows)
            with np.errstate(over="ignore", invalid="ignore"):
                x = (rows.astype(np.float64) - self.mean_) / self.scale_
                known = x.astype(rows.dtype, copy=False)
                with suited_threads(self.module_, len(x)):
                    values: FloatArray = function(x).astype(rows.dtype, copy=False)
            # A feature may be NaN, for a missing value, but not infinite.
            if np.isinf(known).any() or not np.isfinite(values).all():
                raise too_far(rows.dtype)
            return values

        return in_chunks(self, X, block_rows(X.shape[1], density.n_entries), answer, out)

    # --- scores -------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the log-density of each sample, or a lower bound.

        Scores are exact log-densities under a mixture of normal distributions, without the encoder.
        A default fit has found this mixture; otherwise the first call fits it. If `density_name_`
        is "gates", scores are lower bounds of the log-density under the gates.

        With a nonlinear decoder, and with ``prior="standard_normal"`` and a gate, there is no
        density, and scores are the evidence lower bounds of `elbo_samples`.

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
        X, _ = self._check_for_coding(X, fill=False)
        has_holes = isinstance(X, np.ndarray) and np.isnan(X).any()
        density = None if self._has_density_of_gates and not has_holes else self._density()
        if density is None:
            return self.elbo_samples(X, out=out)

        def log_prob(x: DoubleArray) -> DoubleArray:
            n_known = np.count_nonzero(~np.isnan(x), axis=1)
            scores: DoubleArray = density.log_prob(x)
            return scores - n_known * math.log(self.scale_)

        return self._by_density(X, density, log_prob, out)

    def get_density(self) -> MixtureDensity | Gates:
        """Return the density that `score_samples` and `sample` use, in units of X.

        Returns
        -------
        MixtureDensity or Gates
            The explanation of the samples with the most held-out nats, as `density_name_` says.

        Raises
        ------
        ValueError
            If there is no density.
        """
        if self._has_density_of_gates:
            gates: Any = self.module_.gates
            return gates.in_units(self.mean_, self.scale_)
        return self._mixture("get_density").in_units(self.mean_, self.scale_)

    def summary(self) -> str:
        """Return what `fit` has found: codes, density, nats and the time of each phase.

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
        name = getattr(self, "explanation_", type(self.module_).__name__)
        lines = [f"codes: {name}, {self.module_.n_components} latents"]
        if found := getattr(self, "_held_out_codes_", {}):
            lines[0] += f", {found['l0']:.1f} active, {100 * found['kept']:.1f} % of the variance"
        if hasattr(self, "density_name_"):
            size = (
                f", {len(self._mixture('summary'))} components"
                if self.density_name_ == "mixture"
                else ""
            )
            lines.append(f"density: {self.density_name_}{size}")
            nats = (f"{key} {value:.2f}" for key, value in self.explanation_nats_.items())
            lines.append("nats of held-out samples: " + ", ".join(nats))
        if times := getattr(self, "_seconds", {}):
            lines.append("seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in times.items()))
        return "\n".join(lines)

    @property
    def _has_density_of_gates(self) -> bool:
        return getattr(self, "density_name_", None) == "gates"

    def elbo_samples(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the evidence lower bound of each sample, which training maximises.

        With ``gated=False`` it is a lower bound of the log-density. With the gate, the encoder
        chooses for each sample how far latents open. This choice costs nothing in the bound, which
        can therefore exceed the log-density of any normalised model. Compare models by
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
        X, model = self._check_for_coding(X)
        log_scale = X.shape[1] * math.log(self.scale_)

        def elbo(model, x):
            return model.bound(x) - log_scale

        def of_location(bounds, labels):
            return bounds + torch.as_tensor(self._locations_.log_shares[labels]).to(bounds)

        return self._by_chunks(X, model, elbo, out=out, at_locations=of_location)

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
        if self.module_.learns_density:
            self._warn_of_spikes(X)
        return float(np.average(scores, weights=checked_weights(sample_weight, scores)))

    def _warn_of_spikes(self, X: Any) -> None:
        """Warn if only the minimum noise of the density bounds the log-density."""
        rows = getattr(self.module_.prior, "rows_", None)
        n_rows = self._n_rows_ if rows is None else len(rows.x)
        if n_rows < MIN_ROWS_TO_SPLIT:
            warnings.warn(
                f"The density was learned from {n_rows} samples, too few to hold any out, so "
                "log-densities depend more on its minimum noise than on the samples. Fit with "
                "more samples.",
                stacklevel=3,
            )
        samples: Any = self._check_samples(X, reset=False)
        is_source = isinstance(samples, Source)
        rows = samples.head(SPECTRUM_ROWS) if is_source else as_array(samples[:SPECTRUM_ROWS])
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
        X, _ = self._check_for_coding(X, fill=False)
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

    def _imputed_samples(self, X: Any) -> Any:
        if not isinstance(X, np.ndarray) or not np.isnan(X).any():
            return X
        return self._imputed(X, self._mixture("missing values"), None)

    def _imputed(
        self,
        X: FloatArray,
        density: MixtureDensity,
        rng: np.random.RandomState | None,
    ) -> FloatArray:
        """Return samples with missing values filled in by conditional means, or by draws."""
        filled: FloatArray = self._by_density(
            X, density, lambda x: density.impute(x, rng) * self.scale_ + self.mean_
        )
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
        values, or with ``prior="standard_normal"``, draws from the model take the place of held-out
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
        X, _ = self._check_for_coding(X, fill=False)
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

        Samples are drawn from the mixture of `score_samples`. If there is no mixture, latents are
        drawn from the prior. If the gate is on, they are then multiplied by ``1 - s``, with the
        posterior standard deviations s of a random training sample. With ``positive_code=True``
        their absolute values are taken.

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
        n_samples = AT_LEAST_ONE.checked(n_samples, "n_samples", f"{type(self).__name__}.sample")
        density = None if self._has_density_of_gates else self._density()
        if return_labels:
            density = self._mixture("return_labels=True")
        rng = check_random_state(random_state)
        if density is not None:
            x, labels = density.sample(n_samples, rng)
            X = x * self.scale_ + self.mean_
            return (X, labels) if return_labels else X
        codes, rows = self.module_.sample(n_samples, make_generator(draw_seed(rng)))
        if self._n_locations:
            codes = self._with_locations(codes, self._gate_labels_[rows])
        X = self.inverse_transform(codes.numpy()).astype(np.float64)
        return X + math.sqrt(self.noise_variance_) * rng.standard_normal(X.shape)
