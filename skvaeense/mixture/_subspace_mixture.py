"""SubspaceMixture: the flat parts of data, and the density of the data."""

from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state

from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import MAX_COMPONENTS
from skvaeense.mixture._fit import fit_mixture
from skvaeense.mixture._rows import Prepared, check_seen, warn_of_far
from skvaeense.samples._weights import LawMixin, checked_weights, imputations
from skvaeense.utils import _validation
from skvaeense.utils._callbacks import CallbackSupportMixin, fit_progress, with_callbacks
from skvaeense.utils._typing import Auto, DoubleArray, IntArray, RandomState


class SubspaceMixture(CallbackSupportMixin, LawMixin, DensityMixin, BaseEstimator):
    """A mixture of normal distributions, each with its own few directions.

    The mixture finds the flat parts of data: their number, locations and dimensions, and the noise
    around each part. It is also a density, so it can score samples, draw samples, and fill in
    missing features. No parameter needs to be set: held-out rows choose the number of components
    and the regularisation of their covariances.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Number of components. "auto" chooses it by held-out rows.

    max_components : int, default=64
        Maximum number that "auto" tries. It tries at most an eighth of the number of rows.

    verbose : int, default=0
        Progress on the screen: 1 shows a bar on a terminal, and otherwise a line every second or
        two; 2 shows a line for each step.

    random_state : int, RandomState instance or None, default=None
        Seed of the held-out rows and of the places where components start.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components_,)
        Share of the rows in each component.

    means_ : ndarray of shape (n_components_, n_features)
        Means of the components.

    bases_ : list of ndarray of shape (rank, n_features)
        Orthonormal directions in which each component varies by more than its noise.

    ranks_ : ndarray of int of shape (n_components_,)
        Number of these directions: the dimension of each flat part.

    noise_variances_ : ndarray of shape (n_components_,)
        Variance of each component in any other direction.

    n_components_ : int
        Number of components.

    density_ : MixtureDensity
        The density of samples.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    skvaeense.VAEenseTransformer : Sparse codes, which start from such a mixture.
    sklearn.mixture.GaussianMixture : Mixture with a given number of components.

    Notes
    -----
    Component c has weight p_c, mean m_c, directions U_c with variances v_c, and noise g_c::

        x = m_c + U_c (v_c - g_c)^(1/2) w + g_c^(1/2) n,    w, n ~ N(0, I)

    which is a mixture of probabilistic principal component analyzers [1]_. Components are added one
    after the other, each grown from the neighbourhood of one row in an old component, with noise
    that falls step by step. A direction is kept if its variance is above the variance that noise
    alone would show in the same number of rows [2]_. With few rows covariances are uncertain, so a
    component can also keep all directions, with a shrunk covariance; the density then has more
    directions than `ranks_` says. Held-out rows choose between cut and shrunk covariances, and
    between features as they are and features divided by their standard deviations. Below 1,000 rows
    there are three splits, otherwise one.

    If shrunk covariances are best, the data is not flat, and no single mixture is the right one.
    Then `density_` averages those that the search has tried, on all splits, with the weights under
    which held-out rows are most probable [3]_; components that are alike merge. `weights_`,
    `means_` and `predict` describe the best single mixture: each component of the average belongs
    to one of its components. With holes, with a given `n_components` and with more than 128
    features, the density is the best mixture itself.

    A broad distribution has the weight of one row, or more if there are rows far from all others.
    So every sample keeps some density, wherever it lies.

    Repeated rows count as one row with their total weight. NaN marks a missing value, which is
    integrated out, in `fit` and in every method but `outlier_p_values`. This assumes that a value
    is missing at random: whether it is missing may depend on known values, but not on the value
    itself.

    References
    ----------
    .. [1] Tipping and Bishop (1999). Mixtures of Probabilistic Principal Component Analyzers.
       Neural Computation 11.
    .. [2] Johnstone (2001). On the distribution of the largest eigenvalue in principal components
       analysis. Annals of Statistics 29.
    .. [3] Smyth and Wolpert (1999). Linearly combining density estimators via stacking. Machine
       Learning 36.

    Examples
    --------
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.mixture import SubspaceMixture
    >>> X, *_ = make_linear_subspaces(
    ...     1000, dims=(1, 3), n_features=8, noise=0.05, random_state=0
    ... )
    >>> mixture = SubspaceMixture(random_state=0).fit(X)
    >>> sorted(mixture.ranks_.tolist())
    [1, 3]
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    density_: Annotated[MixtureDensity, "d"]
    _fitted_names = ("density_",)
    _takes_missing = True

    _parameter_constraints = {
        "n_components": [_validation.AT_LEAST_ONE, _validation.StrOptions({"auto"})],
        "max_components": [_validation.AT_LEAST_ONE],
        "verbose": ["verbose"],
        "random_state": _validation.RANDOM_STATE,
    }

    def __init__(
        self,
        n_components: Auto | int = "auto",
        *,
        max_components: int = MAX_COMPONENTS,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.max_components = max_components
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    @_validation.fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples; NaN marks a missing value.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts, at least 0. A whole number n counts as n copies,
            and only ratios matter.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X holds infinity, has fewer than two samples, or a column that is never seen; if
            it has fewer samples than `n_components`, or a variance beyond the range of float64.
        """
        with _validation.all_or_nothing(self), fit_progress(self, ["structure"]) as progress:
            progress.begin("structure")
            x, weights = self._check(X, reset=True), checked_weights(sample_weight, X)
            check_seen(x, getattr(self, "feature_names_in_", None), weights)
            n_samples = len(x) if weights is None else np.count_nonzero(weights)
            wanted = None if self.n_components == "auto" else int(self.n_components)
            if wanted is not None and wanted > n_samples:
                raise ValueError(
                    "Expected n_samples >= n_components but got "
                    f'n_components = {wanted}, n_samples = {n_samples}. Set n_components="auto".'
                )
            rows = Prepared.of(x, weights, check_random_state(self.random_state))
            warn_of_far(rows.far, len(x))
            found = fit_mixture(rows, n_components=wanted, max_components=self.max_components)
            parts = [part.in_units(rows.center, rows.scale) for part in found.parts]
            self.density_ = found.density.in_units(rows.center, rows.scale)
            self.n_components_ = len(parts)
            self.weights_ = np.array([part.weight for part in parts])
            self.means_ = np.array([part.mean for part in parts])
            self.bases_ = [part.basis for part in parts]
            self.ranks_ = np.array([part.rank for part in parts])
            self.noise_variances_ = np.array([part.noise_variance for part in parts])
        return self

    def outlier_p_values(self, X: ArrayLike) -> DoubleArray:
        """Return the share of held-out samples that are at least as surprising as each sample.

        A sample is surprising if few held-out samples are less probable under the core, or farther
        from most others. The core is a mixture of the 65 % of the training samples that surprise
        least, so training samples may hold outliers, alike or not. The shares are conformal
        p-values [1]_: about 5 % of the samples from the distribution of the training samples have a
        p-value of at most 0.05, and fewer if held-out samples are outliers too.
        You need not guess the share of outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples without missing values.

        Returns
        -------
        ndarray of shape (n_samples,)
            The p-values, which are small for outliers.

        Raises
        ------
        ValueError
            If values are missing, here or in the training samples.

        References
        ----------
        .. [1] S. Bates, E. Candes, L. Lei, Y. Romano and M. Sesia (2023). Testing for outliers with
           conformal p-values. Annals of Statistics 51.
        """
        if np.isnan(self._check(X)).any() or self.density_.held_out is None:
            raise ValueError(
                "p-values need complete samples, but X or the training samples have missing "
                "values. Fill them with impute first."
            )
        return self._by_law(X, MixtureDensity.p_values)

    def predict_proba(self, X: ArrayLike) -> DoubleArray:
        """Return the probability that each sample comes from each component.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Probabilities. Each row sums to 1.
        """
        return self._by_law(X, lambda law, x: softmax(law.log_joint_of_parts(x), axis=1))

    def predict(self, X: ArrayLike) -> IntArray:
        """Return the component that each sample most probably comes from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices of the columns of `predict_proba`.
        """
        return self.predict_proba(X).argmax(axis=1)

    def impute(
        self, X: ArrayLike, *, n_draws: int | None = None, random_state: RandomState = None
    ) -> Any:
        """Return samples with their missing features filled in.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, with NaN for missing values.

        n_draws : int or None, default=None
            Number of draws from the distribution of the missing values, given the known values, for
            multiple imputation. None takes the mean of this distribution instead, averaged with
            that of one normal distribution and that of all samples as suits held-out samples best.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray or data frame of shape (n_samples, n_features), or a list of them
            The samples without NaN, in the type of X; known values are unchanged. With `n_draws`, a
            list of `n_draws` arrays or data frames, one for each draw.

        Raises
        ------
        ValueError
            If `n_draws` is less than 1.
        """

        def filled(rng: np.random.RandomState | None) -> DoubleArray:
            return self._by_law(X, lambda law, x: law.impute(x, rng))

        return imputations(filled, X, n_draws, random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
