"""How likely samples are, and what follows: draws, components, missing features."""

import copy
import math
import warnings
from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import log_softmax, softmax
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skvaeense._base import BaseAutoencoder
from skvaeense._evaluation import FLOATS, Answers, like, too_far
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._density import conformal_p_values
from skvaeense.models import VAE, DecodedDensity
from skvaeense.priors import CodedSamples, CodeMixture
from skvaeense.training._sizes import MIN_ROWS_TO_SPLIT, SPECTRUM_ROWS
from skvaeense.training._sources import Source, as_array, tensor_as_array
from skvaeense.utils._blocks import SOME_ROWS, block_rows
from skvaeense.utils._callbacks import row_chunks
from skvaeense.utils._discrete import find_discrete, warn_of_discrete
from skvaeense.utils._missing import imputations
from skvaeense.utils._seeding import draw_seed, make_generator
from skvaeense.utils._typing import DoubleArray, FloatArray, IntArray, RandomState, SparseArray
from skvaeense.utils._weights import checked_weights


def _may_have_density(estimator: Any) -> bool:
    """Return whether an estimator has a density, or may have one once it is fitted."""
    model = getattr(estimator, "module_", None)
    return model is None or model.has_density


def _may_impute(estimator: Any) -> bool:
    """Return whether an estimator has a density whose conditional means are known."""
    model = getattr(estimator, "module_", None)
    if model is not None and model.linear_decoder is None:
        raise AttributeError(
            'impute needs a linear decoder, as network="linear" has: with another one conditional '
            "means are not known."
        )
    return _may_have_density(estimator)


class DensityAutoencoder(BaseAutoencoder):
    """An autoencoder with a prior, which may give a density of samples."""

    module_: VAE
    noise_variance_: float
    # What explains the samples, and the mean log-density of held-out ones by each explanation.
    explanation_: str
    explanation_nats_: dict[str, float]
    # Which location the samples are at whose gates the model remembers.
    _gate_labels_: IntArray

    # --- the density --------------------------------------------------------------------------

    def _has_free_density(self, model: Any) -> bool:
        """Return whether samples may vary in other directions than those of the decoder.

        A model of a width that somebody has chosen answers for what it leaves out.
        """
        has_columns = model.linear_decoder is not None
        return has_columns and model.prior.keeps_samples and self.n_components is None

    def _density(self) -> MixtureDensity | DecodedDensity | None:
        """Return the density of centred and scaled samples, if there is one.

        It is kept in the prior of the model. Threads that ask at the same time find the same.
        """
        prior = self.module_.prior
        if not self.module_.has_density:
            return None
        if not hasattr(prior, "density_"):
            samples = self._coded_samples()
            density = prior.density(samples)
            has_columns = self.module_.linear_decoder is not None
            prior.density_ = density if has_columns else self._code_mixture(density, samples)
        if isinstance(prior.density_, MixtureDensity):
            return prior.density_
        return self._decoded(prior.density_)

    def _decoded(self, codes: CodeMixture) -> DecodedDensity:
        """Return the density of what is decoded from a mixture of codes."""
        model = copy.deepcopy(self.module_).cpu().double()
        return DecodedDensity(model, codes, self.module_.prior.n_draws)

    def _code_mixture(self, density: MixtureDensity, samples: CodedSamples) -> CodeMixture:
        """Return the mixture of codes whose multiples have a density."""
        noise = samples.noise_variance
        codes = CodeMixture.of(density, np.diagonal(samples.weight), noise)
        prior = self.module_.prior
        if not prior.keeps_samples:
            return codes
        x = prior.rows_.x
        some = x[:: -(-len(x) // SOME_ROWS)].astype(np.float64)
        return self._decoded(codes).with_noise_of(some)

    def _complete(self) -> None:
        if not self.module_.prior.lazy:
            self._density()

    def _coded_samples(self) -> CodedSamples:
        """Return training samples about the mean, with a column of the code for each location."""
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

    def _mixture(self, name: str) -> MixtureDensity | DecodedDensity:
        """Return the density, which a method of this name needs."""
        check_is_fitted(self)
        density = self._density()
        if density is None:
            raise ValueError(
                f"{name} needs a density of the samples, and this model has none: fit it with "
                'prior="mixture".'
            )
        return density

    def _by_density(
        self, X: Any, density: MixtureDensity | DecodedDensity, function: Any, out: Any = None
    ) -> Any:
        """Apply a function to centred and scaled rows in double precision, some at a time."""

        def answer(rows: Any) -> FloatArray:
            rows = as_array(rows)
            with np.errstate(over="ignore", invalid="ignore"):
                x = (rows.astype(np.float64) - self.mean_) / self.scale_
                known = x.astype(rows.dtype, copy=False)
                answers: FloatArray = function(x).astype(rows.dtype, copy=False)
            # Missing features are no numbers.
            if np.isinf(known).any() or not np.isfinite(answers).all():
                raise too_far(rows.dtype)
            return answers

        answers, n_rows = Answers(X, out), block_rows(X.shape[1], density.n_entries)
        with row_chunks(self, X.shape[0], n_rows) as chunks:
            for chunk in chunks:
                answers.append(answer(X[chunk]))
        return answers.joined

    # --- scores -------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the log-density of each sample, or a lower bound of it.

        With a linear decoder, which is the default, it is exact for ``prior="mixture"``, and for
        ``prior="standard_normal"`` without a gate: that of a mixture of normal distributions, which
        needs no encoder. With a nonlinear decoder it is a lower bound for these priors: the
        logarithm of a mean over few draws that are the same for every sample, whose expectation is
        at most the log-density; see `skvaeense.models.DecodedDensity`. Where `explanation_` is
        "dictionary" or "gates", it is the density of two models together: the gates and that
        mixture. Their shares are proportional to ``exp(a)``, with the mean log-density a of
        held-out samples under each. The evidence bound stands for the density of the gates, so that
        this is a lower bound, too. Otherwise, with ``prior="standard_normal"`` and a gate, it is
        what `elbo_samples` gives. The first call fits the mixture.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples. With a linear decoder values may be missing, as NaN: of such a sample it is the
            density of the others, under the mixture.

        out : array of shape (n_samples,) or None, default=None
            Where the scores are written, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats, in units of X, as `PCA.score_samples` has them. Outliers have
            the lowest.
        """
        X, _ = self._check_for_coding(X, fill=False)
        density = self._density()
        if density is None:
            return self.elbo_samples(X, out=out)

        def log_prob(x: DoubleArray) -> DoubleArray:
            n_known = np.count_nonzero(~np.isnan(x), axis=1)
            scores: DoubleArray = density.log_prob(x)
            if self._gates_explain:
                whole = n_known == x.shape[1]
                both = np.stack([scores[whole], self._bounds(x[whole])], axis=1)
                scores[whole] = np.logaddexp.reduce(both + self._log_shares(density), axis=1)
            return scores - n_known * math.log(self.scale_)

        scores: FloatArray = self._by_density(X, density, log_prob, out)
        return scores

    @property
    def _gates_explain(self) -> bool:
        has_gates = self.module_.has_prices
        explains = getattr(self, "explanation_", None) in ("gates", "dictionary")
        return has_gates and explains and not self._n_locations

    def _log_shares(self, density: Any) -> DoubleArray:
        """Return the logarithms of the shares that the mixture and the gates have in the density.

        Shares are proportional to ``exp(a)``, with the mean log-density a of held-out rows under
        each. Both are a half if no rows were held out.
        """
        held_out = getattr(density, "held_out", None)
        nats = np.zeros(2)
        if held_out is not None:
            of_mixture = held_out.mean() - self.n_features_in_ * math.log(self.scale_)
            nats = np.array([of_mixture, self.explanation_nats_[self.explanation_]])
        shares: DoubleArray = log_softmax(nats)
        return shares

    def _bounds(self, x: DoubleArray) -> DoubleArray:
        """Return the evidence bounds of scaled rows without missing features."""
        weight = next(self.module_.parameters())
        with torch.no_grad():
            bounds = self.module_.bound(torch.as_tensor(x).to(weight)).double().cpu().numpy()
        found: DoubleArray = np.where(np.isfinite(bounds), bounds, -np.inf)
        return found

    def elbo_samples(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the evidence lower bound of each sample, which training maximises.

        With ``gated=False`` it is a lower bound of the log-density. With the gate, how far latents
        open is chosen with the sample in view, and this choice is not charged for: the bound can
        exceed the log-density of any normalised model. Compare models by `score_samples`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        out : array of shape (n_samples,) or None, default=None
            Where the bounds are written, as for `transform`.

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

        bounds: FloatArray = self._by_chunks(X, model, elbo, out=out, at_locations=of_location)
        return bounds

    def score(
        self,
        X: ArrayLike | SparseArray,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the mean log-density.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts in the mean.

        Returns
        -------
        float
            Mean of `score_samples`: nats per sample in units of X, comparable with `PCA.score`.

        Warns
        -----
        UserWarning
            If the mean says little: one value fills 10 % of the rows or more in some columns, or
            the density was learned from so few samples that none were held out.
        """
        scores = as_array(self.score_samples(X))
        if self.module_.learns_density:
            self._warn_of_spikes(X)
        return float(np.average(scores, weights=checked_weights(sample_weight, scores)))

    def _warn_of_spikes(self, X: Any) -> None:
        """Warn where a log-density has no bound but the least noise of the density."""
        n_rows = len(self.module_.prior.rows_.x)
        if n_rows < MIN_ROWS_TO_SPLIT:
            warnings.warn(
                f"The density was learned from {n_rows} samples, too few to hold any out, so that "
                "log-densities say more of its least noise than of them. Fit with more samples.",
                stacklevel=3,
            )
        samples: Any = self._check_samples(X, reset=False)
        is_source = isinstance(samples, Source)
        rows: Any = samples.head(SPECTRUM_ROWS) if is_source else samples[:SPECTRUM_ROWS]
        rows = as_array(rows.toarray() if hasattr(rows, "toarray") else rows)
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(rows.shape[1])])
        warn_of_discrete(
            [str(names[j]) for j in np.flatnonzero(find_discrete(rows))],
            "only by the least noise of the density",
            "compare estimators by skvaeense.inspection.compare_scores, which adds noise",
            stacklevel=3,
        )

    # --- components ---------------------------------------------------------------------------

    @available_if(_may_have_density)
    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return how probably samples come from each component of the mixture.

        On a union of subspaces there is a component for each, in an order without meaning.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_mixture_components)
            Probabilities, which are 1 together.

        Raises
        ------
        AttributeError
            If there is no density.

        TypeError
            If X is sparse.
        """
        if sparse.issparse(X):
            # scikit-learn's checks expect a classifier where sparse samples have probabilities.
            check_array(X, input_name="X")
        X, _ = self._check_for_coding(X, fill=False)
        density = self._mixture("predict_proba")
        shares: FloatArray = self._by_density(
            X, density, lambda x: softmax(density.log_joint(x), axis=1)
        )
        return shares

    @available_if(_may_have_density)
    def predict(self, X: ArrayLike) -> IntArray:
        """Return the component of the mixture that each sample most probably comes from.

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
        labels: IntArray = self.predict_proba(X).argmax(axis=1)
        return labels

    @available_if(_may_have_density)
    def component_ranks(self) -> IntArray:
        """Return the number of directions of each component whose variance is above the noise.

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

    def _filled(self, X: Any) -> Any:
        if not isinstance(X, np.ndarray) or not np.isnan(X).any():
            return X
        return self._imputed(X, self._linear_mixture("missing values"), None)

    def _linear_mixture(self, name: str) -> MixtureDensity:
        """Return the density of samples under a linear decoder, which `name` needs."""
        density = self._mixture(name)
        if not isinstance(density, MixtureDensity):
            raise TypeError("Only with a linear decoder are conditional means known.")
        return density

    def _imputed(
        self, X: FloatArray, density: MixtureDensity, rng: np.random.RandomState | None
    ) -> FloatArray:
        """Return samples filled in by conditional means, or by draws."""
        filled: FloatArray = self._by_density(
            X, density, lambda x: density.impute(x, rng) * self.scale_ + self.mean_
        )
        return np.where(np.isnan(X), filled, X)

    @available_if(_may_impute)
    def impute(
        self, X: ArrayLike, *, n_draws: int | None = None, random_state: RandomState = None
    ) -> Any:
        """Return samples whose missing features are filled in.

        Each missing feature becomes its conditional mean, given the others of the sample, under the
        density of `score_samples`. The decoder has to be linear.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, with NaN for what is missing.

        n_draws : int or None, default=None
            Number of draws from the distribution of what is missing, given the rest, for multiple
            imputation. None takes its mean, once.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features), or a list of them
            The samples without NaN, as they came in; what was known is as it was. With `n_draws`
            there are that many.

        Raises
        ------
        AttributeError
            If there is no density, or the decoder is not linear.

        ValueError
            If `n_draws` is less than 1.
        """
        check_is_fitted(self)
        samples: FloatArray = validate_data(
            self,
            tensor_as_array(X),
            dtype=FLOATS,
            reset=False,
            ensure_all_finite="allow-nan",
        )
        density = self._linear_mixture("impute")
        return imputations(
            lambda rng: like(X, self._imputed(samples, density, rng)), X, n_draws, random_state
        )

    @available_if(_may_have_density)
    def outlier_p_values(self, X: ArrayLike) -> FloatArray:
        """Return how unusual samples are: the share of held-out samples as improbable as each.

        For a sample from the distribution of the training samples it is uniform on (0, 1]: 5 % of
        such samples have at most 0.05, so that no share of outliers need be guessed. A default fit
        compares with samples that were held out, which makes them conformal p-values [1]_; other
        models compare with draws of their own.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples without missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            Conformal p-values; small ones are those of outliers.

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
        held_out = getattr(density, "held_out", None)
        if held_out is None:
            draws, _ = density.sample(SOME_ROWS, np.random.RandomState(0))
            held_out = np.sort(density.log_prob(draws))
        p_values: FloatArray = self._by_density(
            X, density, lambda x: conformal_p_values(density.log_prob(x), held_out)
        )
        return p_values

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

        They are drawn from the mixture of `score_samples`. Where there is none, latents are drawn
        from the prior; with the gate on they are multiplied by ``1 - s`` with the deviations s of a
        random training sample, and with ``positive_code=True`` their absolute values are taken.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        return_labels : bool, default=False
            Whether to return the components that samples are drawn from, too.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in units of X, noise included.

        labels : ndarray of int of shape (n_samples,)
            The component of each, as `predict` numbers them. Only if ``return_labels=True``.

        Raises
        ------
        ValueError
            If `n_samples` is no int, or below 1, or if labels are wanted
            without a density.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an int, at least 1; got {n_samples!r}.")
        density = self._mixture("return_labels=True") if return_labels else self._density()
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
