"""VAEenseTransformer: sparse codes whose active latents adapt to each sample."""

import time
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skvaeense._base import BaseAutoencoder
from skvaeense._vaease import VAEase, VAEaseTraining
from skvaeense.explanations import FlatLaw, GateLaw
from skvaeense.explanations._em import Wanted
from skvaeense.explanations._explain import CodeStream, Explained, explain
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture import _rows as mixture_rows
from skvaeense.nets.networks import Network
from skvaeense.samples._rows import FLOATS, as_array, tensor_as_array, validated
from skvaeense.samples._sources import Source, refuse_loader
from skvaeense.samples._weights import checked_weights, imputations
from skvaeense.training._diagnosis import LARGER, MOST, SMALL, batch_messages
from skvaeense.utils import _rows, _typing, _validation
from skvaeense.utils._torch import DTYPES, draw_seed, resolve_device, threads_of_all
from skvaeense.utils._warnings import warn_user


def _may_have_density(estimator: Any) -> bool:
    """Return whether an estimator has a mixture, or will have one after fitting."""
    if hasattr(estimator, "_structure_"):
        return estimator._any_mixture() is not None
    if not estimator._has_net:
        return True
    return bool(Network.resolve(estimator._training.network).has_linear_decoder)


class DensityEstimator(VAEaseTraining):
    """Scores, components, missing features, outliers and draws, by laws."""

    explanation_nats_: dict[str, float]
    # The law of the density, and the mixture, which can be another law.
    _mixture_: Annotated[MixtureDensity, "d"]
    # Mean length of the codes of held-out samples, and the share of the variance that they keep.
    _held_out_codes_: dict[str, float]
    # Number of samples that were held out or looked at, up to a few thousand.
    _n_rows_: int
    # Seconds of the last fit; not saved.
    _seconds: dict[str, float]

    locations_: _typing.DoubleArray
    explanation_: str
    density_name_: str
    density_: Annotated[MixtureDensity | GateLaw | None, "d"]
    _coder_: Annotated[FlatLaw | GateLaw, "d k"]
    _units_: Annotated[mixture_rows.Units, "d"]
    _stream_: Annotated[CodeStream, "d"]

    @property
    def coder_(self) -> Any:
        """What codes the samples, in units of X."""
        if "_coder_" in vars(self):
            return self._coder_
        if "module_" in vars(self):
            return self._law_of(self.module_, self._scaling)
        raise AttributeError(f"This {type(self).__name__} is not fitted yet.")

    def _any_mixture(self) -> MixtureDensity | None:
        mixture: Any = vars(self).get("_mixture_", self.density_)
        return mixture

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

    def _by_density(self, X: Any, density: MixtureDensity, function: Any) -> Any:
        """Apply a function to chunks of rows in double precision."""

        def answer(rows: Any) -> Any:
            values = as_array(rows)
            if np.isinf(values).any():
                raise _validation.too_far(rows.dtype)
            return function(np.asarray(values, dtype=np.float64))

        return self._by_chunks(X, density, answer)

    # --- scores -------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike | _typing.SparseArray) -> _typing.FloatArray:
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
            return self.elbo_samples(X)
        if isinstance(law, MixtureDensity):
            return self._by_density(X, law, law.log_prob)
        law = law.placed(None, resolve_device(self.device))
        return self._by_chunks(X, law, law.log_prob)

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
            law: Any = self.density_
            size = f", {len(law)} components" if is_mixture else ""
            lines.append(f"density: {self.density_name_}{size}")
            nats = (f"{key} {value:.2f}" for key, value in self.explanation_nats_.items())
            lines.append("nats of held-out samples: " + ", ".join(nats))
        if times := getattr(self, "_seconds", {}):
            lines.append("seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in times.items()))
        return "\n".join(lines)

    def elbo_samples(self, X: ArrayLike | _typing.SparseArray) -> _typing.FloatArray:
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

        Returns
        -------
        ndarray of shape (n_samples,)
            Bounds in nats, in units of X.
        """
        samples = self._checked(X)
        law = self._law(samples.dtype)
        return self._by_chunks(samples, law, law.log_prob)

    def score(
        self,
        X: ArrayLike | _typing.SparseArray,
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
        if n_rows < _rows.MIN_ROWS_TO_SPLIT:
            warn_user(
                f"The density was learned from {n_rows} samples, too few to hold any out, so "
                "log-densities depend more on its minimum noise than on the samples. Fit with "
                "more samples."
            )
        samples: Any = self._check_samples(X, reset=False)
        rows = as_array(samples[: _rows.SEARCH_ROWS])
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(rows.shape[1])])
        is_discrete = _rows.find_discrete(rows) & (_rows.find_steps(rows) == 0)
        _rows.warn_of_discrete(
            np.asarray(names)[is_discrete].tolist(),
            "bounded only by the minimum noise of the density",
            "compare estimators by skvaeense.inspection.compare_scores, which adds noise",
        )

    # --- components ---------------------------------------------------------------------------

    @available_if(_may_have_density)
    def predict_proba(self, X: ArrayLike) -> _typing.FloatArray:
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
            _validation.check_array(X, input_name="X")
        X = self._checked(X)
        density = self._mixture("predict_proba")
        return self._by_density(
            X, density, lambda x: softmax(density.log_joint_of_parts(x), axis=1)
        )

    @available_if(_may_have_density)
    def predict(self, X: ArrayLike) -> _typing.IntArray:
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
    def component_ranks(self) -> _typing.IntArray:
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
        return self._mixture("component_ranks").part_ranks

    # --- missing features and draws -----------------------------------------------------------

    def _imputed(
        self,
        X: _typing.FloatArray,
        density: MixtureDensity,
        rng: np.random.RandomState | None,
    ) -> _typing.FloatArray:
        """Return samples with missing values filled in by conditional means, or by draws."""
        filled: _typing.FloatArray = self._by_density(X, density, lambda x: density.impute(x, rng))
        return np.where(np.isnan(X), filled, X)

    @available_if(_may_have_density)
    def impute(
        self, X: ArrayLike, *, n_draws: int | None = None, random_state: _typing.RandomState = None
    ) -> Any:
        """Fill in the missing features of samples.

        Each missing feature is replaced by its conditional mean, given the known features of the
        sample, under the density of `score_samples`. If another average of this mean, of that under
        one normal distribution and of the mean of all samples predicts entries of held-out samples
        better, it takes the average.

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
        samples: _typing.FloatArray = validate_data(
            self,
            _validation.plain(tensor_as_array(X), takes_missing=True),
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
    def outlier_p_values(self, X: ArrayLike) -> _typing.FloatArray:
        """Return the share of held-out samples that are at least as surprising as each sample.

        A sample is surprising if few held-out samples are less probable under the core, or farther
        from most others. The core is a mixture of the 65 % of the training samples that surprise
        least, so training samples may hold outliers, alike or not. A default fit compares with
        held-out samples, so these are conformal p-values [1]_: about 5 % of the samples from the
        distribution of the training samples have a p-value of at most 0.05, and fewer if held-out
        samples are outliers too. So you need not guess the share of outliers. If
        training samples have missing values, or for a `VAEase` without a gate, draws from the
        density take the place of held-out samples.

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
            draws, _ = density.sample(_rows.SOME_ROWS, np.random.RandomState(0))
            density = replace(density, held_out=density.log_probs(draws))
        return self._by_density(X, density, density.p_values)

    def sample(
        self, n_samples: int = 1, random_state: _typing.RandomState = None
    ) -> _typing.FloatArray:
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

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in units of X, noise included.

        Raises
        ------
        ValueError
            If `n_samples` is below 1.
        """
        check_is_fitted(self)
        n_samples = _validation.check_integer(n_samples, "n_samples", minimum=1)
        law: Any = self.coder_ if self.density_ is None else self.density_
        drawn: Any = law.sample(n_samples, check_random_state(random_state))
        return drawn[0] if isinstance(law, MixtureDensity) else drawn


@dataclass(eq=False, repr=False)
class VAEenseTransformer(DensityEstimator):  # numpydoc ignore=PR02
    """Sparse codes with as many active latents as each sample needs, and a density of the samples.

    `fit` looks for structure, and compares what it finds on held-out samples:

    * If the samples consist of a few *flat parts* that are clear of their noise, such as subspaces,
      each direction of a part has a latent. The number of active latents is then the dimension of
      the part that a sample lies on.
    * If samples are sums of a few *atoms* of a dictionary, each atom has a latent with a gate. The
      number of active latents is then the number of atoms in a sample.
    * If there is *neither*, nothing in the samples sets a length of codes. They are the shortest
      that keep 95 % of the variance, or what `target_l0` or `target_explained_variance` asks for.

    `transform` and `active_dimensions` use the result. `score`, `sample` and `outlier_p_values` use
    the density under which held-out samples are most probable. `summary` prints both.

    With ``model="vaease"`` it is the model of "Sparse Autoencoders, Again?" [1]_ instead, trained
    by gradients: see :class:`VAEase`.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of latents. None means one for each direction of the flat parts of the data if these
        explain the data, and as many as the samples need if gates do. With a target the number is
        four for each principal component that is needed for 99 % of the variance, at most 384 and
        half of the number of samples, but at least one for each of these components. Latents that
        are not needed stay closed.

    model : {"auto", "mixture", "gates", "vaease"} or VAEase, default="auto"
        What codes the samples. "auto" compares flat parts and gates. "mixture" looks for flat parts
        alone; if they are not clear, latents are the principal components above noise. "gates" fits
        gates alone. "vaease" means ``VAEase()``, the model of the paper, which is trained by
        gradients and never replaced by what else might be found.

    target_l0 : float or None, default=None
        Target for the mean number of active latents of new samples, estimated on held-out samples.
        Which latents are active, and how many, depends on the sample; the codes of all other
        latents are exactly 0. A price of open gates meets the target. With fewer than about 500
        samples, codes of new samples can be longer. None sets no target. It must be None for a
        `VAEase` and for ``model="mixture"``, which have no such price.

    target_explained_variance : "auto", float or None, default="auto"
        Share of the variance of new samples that codes keep, in (0, 1), like a fractional
        `n_components` of PCA. Codes are as short as this share allows, and keep more of the
        training samples. A price of open gates meets the share on held-out samples, as it meets a
        `target_l0`; only one of the two can be set. With fewer than about 500 samples, codes of new
        samples can keep several points less. "auto" means 95 % if ``model="auto"`` finds neither
        flat parts nor gates that explain the samples. None sets no share: latents are then the
        principal components above noise. A number must not be combined with a `VAEase` or with
        ``model="mixture"``.

    transform_l0 : float or None, default=None
        Mean number of active latents in the codes of a fitted model, at most that of its longest
        codes and at least 1/256 of it. It can be changed after fitting. None means the longest
        codes. Only if `fit` has fitted gates. Densities do not depend on it.

    transform_explained_variance : float or None, default=None
        Share of the variance that codes of a fitted model keep, at most the share that its longest
        codes keep. Like `transform_l0`, it can be changed after fitting; only one of the two can be
        set.

    positive_code : bool, default=False
        Whether codes are non-negative. Directions then have a sign, as in most sparse autoencoders.

    hard : "auto" or bool, default="auto"
        Whether `transform` sets latents that are not active to exactly 0. Soft codes of these
        latents are small but not 0. "auto" means False for a `VAEase` and True otherwise. Hard
        codes of gates are the best codes for the open gates, and soft codes are posterior means.

    sparse_output : bool, default=False
        Whether `transform` returns hard codes as a scipy.sparse CSR array.

    warm_start : bool, default=False
        Whether `fit` continues from what an earlier fit has found. `n_components`, `model` and
        `positive_code` must then not have changed.

    verbose : int, default=0
        Progress on the screen: 1 shows a bar on a terminal, and otherwise a line every second or
        two; 2 shows a line for each step.

    dtype : {"float32", "float64"}, default="float32"
        Precision in which a `VAEase` is trained. Codes and scores are computed in the precision of
        X.

    device : str, default="auto"
        Device of gates and of a `VAEase`: "cpu", "cuda", another torch device, or "auto" for CUDA
        if there is any.

    random_state : int, RandomState instance or None, default=None
        Seed of held-out samples, subsets of samples, first atoms and weights. Global generators are
        not touched.

    Attributes
    ----------
    coder_ : FlatLaw, GateLaw or NetLaw
        What codes the samples, in units of X: flat parts, gates or a module.

    density_ : MixtureDensity, GateLaw or None
        What scores and draws samples, in units of X: the law with the most nats of held-out
        samples. For a `VAEase` with a linear decoder a mixture in its span; otherwise None, and
        scores are bounds.

    components_ : ndarray of shape (n_components_, n_features)
        Decoder columns in units of X, one row for each latent. Only with a linear decoder.

    mean_ : ndarray of shape (n_features,)
        The sample whose code is 0; for a `VAEase`, the mean of the training samples.

    locations_ : ndarray of shape (n_locations, n_features)
        Points that groups of samples lie around, in units of X. Only if there are several such
        groups; see the notes.

    noise_variance_ : float
        Noise variance in squared units of X, per feature.

    n_components_ : int
        Number of latents.

    explanation_ : {"mixture", "gates", "normal", "share", "length"}
        What gives the codes, and sets their length. "mixture": the flat parts of the samples are
        few and clear of their noise, and each has its own latents. "gates": gates explain held-out
        samples best. "normal": one flat part, whose latents are the principal components above
        noise; also without a target, if nothing else explains the samples. "share" and "length":
        codes of a dictionary with gates meet a target. Not for a `VAEase`.

    explanation_nats_ : dict of str to float
        Mean log-density of held-out samples, in nats in units of X, under each law that was
        compared: "mixture", of normal distributions, flat or not; "normal", a single normal
        distribution; and "gates", which is a lower bound. Not for a `VAEase`.

    density_name_ : {"mixture", "gates"}
        The law that is `density_`. It is "gates" only if these give the codes, too. Not for a
        `VAEase`.

    module_ : torch.nn.Module
        The module of a `VAEase`, for samples that are centred and divided by `scale_`.

    scale_ : float
        Root mean square of the centred training samples. Only for a `VAEase`.

    n_iter_ : int
        Number of epochs of a `VAEase`; of steps and rounds of gates, or 1.

    loss_curve_ : list of float
        Mean negative bound on the training samples after each epoch of a `VAEase`, in nats in units
        of X, at the noise variance of that epoch.

    history_ : dict of ndarray
        Values for each epoch of a `VAEase`: "loss", as in `loss_curve_`; "kl" in nats; "error",
        summed over features, and "noise_variance", both in squared units of X; and "init", counted
        from 0. The last `n_iter_` epochs belong to the kept model. ``history_.to_frame()`` gives a
        DataFrame.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    VAEase : The model of the paper.
    IntrinsicDimensionEstimator : Intrinsic dimension, from active latents and neighbours.
    sklearn.decomposition.PCA : Linear model with the same dense latents for all samples.

    Notes
    -----
    The density is a mixture of normal distributions, as from
    :class:`skvaeense.mixture.SubspaceMixture`, or the gates, of whose log-density scores are lower
    bounds. Codes and density are laws: they hold parameters, and no training sample. Of more than
    65,536 samples a random part of that number is used, and of samples that are not in memory a
    random part is read.

    If groups of samples, such as clusters, lie in subspaces without a common point, each group has
    a *location*, a point that its samples lie around, and latents of its own. The latents that are
    active tell the location, which `inverse_transform` adds; `assign` returns it. The position of a
    cluster is not one of its dimensions.

    Samples far from all others count less the farther they are, and are left out in the end, with a
    warning, unless they are more than 5 % of the samples.

    Arrays and data frames can hold NaN for missing values, but not for a `VAEase`. Training samples
    are filled in with draws from a mixture that integrates missing values out. This mixture is then
    the density. New samples are filled in with conditional means.

    References
    ----------
    .. [1] Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> X, _, dimension = make_linear_subspaces(600, dims=(1, 2), n_features=8, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0).fit(X[:500])
    >>> n_active = vaeense.active_dimensions(X[500:]).sum(axis=1)
    >>> [round(float(n_active[dimension[500:] == r].mean())) for r in (1, 2)]
    [1, 2]
    """

    @property
    def _fitted_names(self) -> tuple[str, ...]:
        if "_coder_" in vars(self):
            return "density_", "_coder_", "_units_", "components_", "mean_"
        return "density_", *super()._fitted_names

    @property
    def _phases(self) -> tuple[str, ...]:
        """What a fit does."""
        return ("samples", "codes", "checks") if self._has_net else ("structure", "checks")

    _structural = ("n_components", "model", "positive_code")
    _length_cure = "Set target_l0 and fit again"

    _parameter_constraints = {
        "n_components": [None, _validation.NumberOfLatents()],
        "model": [_validation.StrOptions({"auto", "mixture", "gates", "vaease"}), VAEase],
        "target_l0": [_validation.POSITIVE, None],
        "target_explained_variance": [_validation.SHARE, _validation.StrOptions({"auto"}), None],
        "transform_explained_variance": [_validation.SHARE, None],
        "hard": ["boolean", _validation.StrOptions({"auto"})],
    } | {
        name: BaseAutoencoder._parameter_constraints[name]
        for name in (
            *("transform_l0", "positive_code", "sparse_output", "warm_start", "verbose"),
            *("dtype", "device", "random_state"),
        )
    }

    n_components: int | None = None
    _: KW_ONLY
    model: Literal["auto", "mixture", "gates", "vaease"] | VAEase = "auto"
    target_l0: float | None = None
    target_explained_variance: _typing.Auto | float | None = "auto"
    transform_l0: float | None = None
    transform_explained_variance: float | None = None
    positive_code: bool = False
    hard: _typing.Auto | bool = "auto"
    sparse_output: bool = False
    warm_start: bool = False
    verbose: int = 0
    dtype: _typing.Precision = "float32"
    device: str = "auto"
    random_state: _typing.RandomState = None

    # --- fitting ------------------------------------------------------------------------------

    @property
    def _has_net(self) -> bool:
        """Whether the model is trained by gradients."""
        return isinstance(self.model, VAEase) or self.model == "vaease"

    def _check_parameters(self, *, continues: bool) -> None:
        """Raise an error if a parameter contradicts another one, or an earlier fit."""
        if self._has_net or self.model == "mixture":
            for ask in ("target", "transform"):
                for name in (f"{ask}_l0", f"{ask}_explained_variance"):
                    value = getattr(self, name)
                    if value not in ("auto", None):
                        raise ValueError(
                            f"{name}={value!r} sets a price on gates, which model={self.model!r} "
                            'does not have. Leave it out, or set model="auto".'
                        )
        elif self.transform_l0 is not None and self.target_l0 is not None:
            self._check_shorter(self.target_l0)
        if continues and hasattr(self, "_structure_"):
            self._check_structure()

    def _wanted(self) -> Wanted:
        """Return what codes are wanted to be."""
        return Wanted(
            self.n_components,
            self.target_l0,
            self.target_explained_variance,
            self.positive_code,
            str(self.model),
            self._seed(),
            resolve_device(self.device),
        ).checked(self.n_features_in_)

    def _seed(self) -> int:
        """Return the seed of a fit; None means one seed."""
        return 0 if self.random_state is None else draw_seed(check_random_state(self.random_state))

    def _fit(self, X: Any, y: object, sample_weight: Any, progress: Any) -> None:
        self._check_parameters(continues=self.warm_start)
        way = super()._fit if self._has_net else self._fit_laws
        way(X, y, sample_weight, progress)

    def _partial_fit(self, X: Any, y: object, sample_weight: Any) -> None:
        self._check_parameters(continues=True)
        way = super()._partial_fit if self._has_net else self._partial_fit_laws
        way(X, y, sample_weight)

    def _fit_laws(self, X: Any, y: object, sample_weight: Any, progress: Any) -> None:
        """Fit laws."""
        begun = time.perf_counter()
        is_new = not (self.warm_start and hasattr(self, "_structure_"))
        samples = self._check_samples(X, least=2, reset=is_new)
        if not isinstance(samples, Source):
            samples = tensor_as_array(samples)
        if sample_weight is not None:
            refuse_loader(samples, "sample_weight")
        with threads_of_all(samples.shape):
            rows = self._rows_of(samples, checked_weights(sample_weight, samples))
            known = None if is_new else self._coder_
            found = explain(rows, self._wanted(), known, self.__dict__.pop("_searched", None))
            self._store(self._found_attributes(found) | {"_units_": rows.units})
            progress.begin("checks")
            self._check_fit(rows)
        self._seconds = {"fit": time.perf_counter() - begun}

    def _rows_of(
        self,
        samples: Any,
        weights: _typing.DoubleArray | None,
        units: mixture_rows.Units | None = None,
    ) -> mixture_rows.Prepared:
        """Return rows made ready; of samples that are not in memory, some are read."""
        taken, rng, positions = samples, np.random.RandomState(self._seed()), None
        if isinstance(samples, Source):
            n = max(mixture_rows.MOST_ENTRIES // samples.shape[1], 2)
            positions = samples.draw(min(len(samples), mixture_rows.MOST_ROWS, n), rng)
            weights = None if weights is None else weights[positions]
            taken = samples.take(positions)
        mixture_rows.check_seen(taken, getattr(self, "feature_names_in_", None), weights)
        rows = mixture_rows.Prepared.of(taken, weights, rng, units)
        far = rows.far if positions is None else positions[rows.far]
        described = "" if positions is None else samples.described(far.tolist())
        mixture_rows.warn_of_far(far, len(samples), described)
        return rows

    def _structure(self) -> dict[str, Any]:
        """Return the values of the parameters that a model is built from."""
        values = super()._structure()
        if self._has_net:
            # How a `VAEase` is trained may change.
            values["model"] = VAEase.alias
            for name in ("network", "gated", "prior"):
                values[f"model__{name}"] = clone(getattr(self._training, name), safe=False)
        return values

    def _found_attributes(self, found: Any) -> dict[str, Any]:
        """Return the fitted attributes of laws."""
        coder = found.coder
        attributes = {
            "_coder_": coder,
            "density_": found.density,
            "components_": coder.components,
            "mean_": coder.mean,
            "noise_variance_": coder.noise_variance,
            "n_components_": coder.n_components,
            "n_iter_": 1,
            "explanation_": found.name,
            "explanation_nats_": found.nats,
            "density_name_": "gates" if found.density is coder else "mixture",
            "_n_rows_": found.n_rows,
            "_structure_": self._structure(),
        }
        if found.density is coder:
            # What gates cannot do: fill in holes, and tell components.
            attributes["_mixture_"] = found.mixture
        if coder.points is not None and len(coder.points) > 1:
            attributes["locations_"] = coder.points
        return attributes

    def _check_fit(self, rows: mixture_rows.Prepared) -> None:
        """Warn of signs of failure, measured on held-out rows, or on all rows if those are few."""
        valid = rows.valid if len(rows.valid) >= _rows.MIN_ROWS_TO_SPLIT else np.arange(len(rows.x))
        x = rows.x[valid]
        if not (x != x[0]).any():
            return
        law = self._coder_
        codes = law.encode(x * rows.scale + rows.center)
        n_active = float(as_array(codes.active).sum(axis=1).mean())
        decoded = (as_array(law.decode(as_array(codes.values))) - rows.center) / rows.scale
        left, total = np.square(x - decoded).sum(), np.square(x - x.mean(axis=0)).sum()
        unexplained = float(left / total)
        self._held_out_codes_ = {"l0": n_active, "kept": 1 - unexplained}
        self._warn(self._signs(n_active, unexplained))

    def _signs(self, n_active: float, unexplained: float) -> list[str]:
        """Return a message for each sign of failure."""
        law: Any = self._coder_
        shown = f"{unexplained:.0%} of the variance is unexplained"
        target, share = self.target_l0, self.target_explained_variance
        if unexplained > LARGER:  # The mean alone leaves a share of 1.
            return [
                f"{shown} in held-out samples, more than their mean leaves: there are too few "
                "samples for this number of features. Fit with more samples, or set n_components."
            ]
        if n_active == 0:
            return [
                "No latent is active for any sample: codes are the mean alone, as on pure noise. "
                "Set target_explained_variance or target_l0."
            ]
        if target is not None and abs(law.table.longest / target - 1) > SMALL:
            return [
                f"{law.table.longest:.1f} latents are active on average instead of "
                f"target_l0={target:g}, whatever the price of an open gate. Lower target_l0, or "
                "set n_components."
            ]
        has_target = target is not None or share not in ("auto", None)
        if not has_target and unexplained > MOST and n_active < SMALL * law.n_components:
            return [
                f"{shown} with {n_active:.1f} latents active: there is much noise. Set "
                "target_explained_variance for codes that keep more."
            ]
        return []

    def _partial_fit_laws(self, X: Any, y: object, sample_weight: Any) -> None:
        """Add the sums over one more batch to those that laws follow from."""
        first = not hasattr(self, "_structure_")
        samples = as_array(validated(self, tensor_as_array(X), least=1 + first, reset=first))
        weights = checked_weights(sample_weight, samples)
        with threads_of_all(samples.shape):
            units = None if first else self._units_
            if units is not None:
                with np.errstate(over="ignore"):
                    # Squares stay in the range of floats.
                    x = np.clip((samples - units.center) / units.scale, -1e100, 1e100)
                batches = self._compared(np.nan_to_num(x if weights is None else x[weights > 0]))
            rows = self._rows_of(samples, weights, units)
            more: dict[str, Any] = {"n_iter_": 1 if first else self.n_iter_ + 1}
            if units is None:
                batches = self._compared(rows.x, is_first=True)
                found = explain(rows, self._wanted())
            elif len(rows.known) == 0:
                self.__dict__.update(more, _batches_=batches)
                return
            else:
                before = Explained(
                    self.explanation_,
                    self._coder_,
                    self.density_,
                    self._mixture("partial_fit"),
                    self.explanation_nats_,
                    self._n_rows_,
                )
                stream: Any = getattr(self, "_stream_", None)
                stream = stream or CodeStream.of(before, units, self._wanted())
                more["_stream_"], found = stream.absorb(rows, before)
            more |= {"_units_": units or rows.units, "_batches_": batches}
            self._store(self._found_attributes(found) | more)

    def _compared(
        self, x: _typing.DoubleArray, *, is_first: bool = False
    ) -> dict[str, torch.Tensor]:
        """Return a summary of all batches, with a warning if this one is unlike those before it."""
        before = None if is_first else getattr(self, "_batches_", None)
        rows = torch.from_numpy(x)
        messages, batches = batch_messages(rows, before, x.shape[1], is_first=is_first)
        self._warn(messages)
        return batches

    # --- coding -------------------------------------------------------------------------------

    def _law(self, dtype: Any) -> Any:
        """Return the law of the codes, for samples of a precision, and for the wanted length."""
        kind = dtype if isinstance(dtype, torch.dtype) else DTYPES[np.dtype(dtype).name]
        law = self.coder_.placed(kind, resolve_device(self.device))
        length = self._length()
        return law if length is None else law.at_length(length)

    def _length(self) -> float | None:
        """Return the mean length of codes that is wanted, if it is a possible one."""
        length, share, law = self.transform_l0, self.transform_explained_variance, self.coder_
        if length is None and share is None:
            return None
        if length is not None and share is not None:
            raise ValueError(
                "transform_l0 and transform_explained_variance both set the length of codes. Leave "
                "one of them None."
            )
        if law.table is None:
            name = "transform_explained_variance" if length is None else "transform_l0"
            shown = f"{name}={getattr(self, name)!r}"
            raise ValueError(
                f"{shown} sets a price on gates, but this model has no such prices. Set target_l0 "
                'or model="gates", and call fit.'
            )
        if length is None:
            return float(law.table.length_that_keeps(share))
        self._check_shorter(self.target_l0 or law.table.longest)
        return length

    @property
    def _is_hard(self) -> bool:
        """Whether codes of latents that are not active are exactly 0."""
        return (not self._has_net if self.hard == "auto" else self.hard) or self.sparse_output

    def _codes(self, X: Any) -> Any:
        X, law = self._ready(X)
        is_hard = self._is_hard

        def code(rows: Any) -> Any:
            if self._has_net and not is_hard:
                return law.soft_code(rows)
            return law.encode(rows, hard=is_hard).values

        return self._by_chunks(X, law, code)

    def _active_mask(self, X: Any) -> Any:
        X, law = self._ready(X)
        return self._by_chunks(X, law, lambda rows: law.encode(rows).active)

    def _active_codes(self, X: Any) -> tuple[Any, Any]:
        """Return the masks of `active_dimensions` and the codes of `transform`, found at once."""
        if self._has_net or not self._is_hard:
            return self.active_dimensions(X), self.transform(X)
        X, law = self._ready(X)
        masks = []

        def code(rows: Any) -> Any:
            found = law.encode(rows)
            masks.append(as_array(found.active))
            return found.values

        codes = self._by_chunks(X, law, code)
        return np.concatenate(masks), codes

    def _decoded(self, codes: Any) -> Any:
        kind = DTYPES[str(codes.dtype).split(".")[-1]]
        if self._has_net:
            law = self.coder_.placed(kind, resolve_device(self.device))
            return self._by_chunks(codes, law, law.decode)
        law = self.coder_.placed(kind, "cpu")
        return self._by_chunks(codes, law, lambda rows: law.decode(as_array(rows)))

    def _ready(self, X: Any) -> tuple[Any, Any]:
        """Return valid samples without holes, and the law for them."""
        X = self._checked(X)
        if isinstance(X, np.ndarray) and np.isnan(X).any():
            X = self._imputed(X, self._mixture("missing values"), None)
        return X, self._law(X.dtype)

    def assign(self, X: ArrayLike | _typing.SparseArray) -> Any:
        """Return the location of each sample; see the notes of the class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices of `locations_`; 0 if all samples have the same one.
        """
        samples, law = self._ready(X)
        if not hasattr(self, "locations_"):
            return np.zeros(samples.shape[0], dtype=int)
        return self._by_chunks(samples, law, law.assign)

    def posterior(self, X: ArrayLike | _typing.SparseArray) -> tuple[_typing.FloatArray, ...]:
        """Return the posterior of the latents before the gate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        openness : ndarray of shape (n_samples, n_components)
            How far latents open: probabilities of open gates, or ``1 - std``.

        mean : ndarray of shape (n_samples, n_components)
            Posterior means; with gates, of a latent whose gate is open.

        std : ndarray of shape (n_samples, n_components)
            Posterior standard deviations, in (0, 1] except for gates, and near 1 for closed
            latents; with gates, of a latent whose gate is open.
        """
        X, law = self._ready(X)

        def stacked(rows: Any) -> Any:
            return np.stack([as_array(part) for part in law.posterior(rows)], axis=1)

        found = self._by_chunks(X, law, stacked)
        return tuple(found[:, i] for i in range(3))

    # --- scikit-learn's protocols -------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_structure_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = not self._has_net
        return tags
