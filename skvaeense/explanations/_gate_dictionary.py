"""GateDictionary: sparse codes by expectation maximisation."""

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skvaeense.explanations._em import EM, MOST_DOUBLE, make_em
from skvaeense.explanations._gates import FIT_LOOKS, restricted_code
from skvaeense.explanations._search import FoundGates, find_gates, search_gates
from skvaeense.samples._weights import MeanScoreMixin, checked_weights, distinct_rows, own_order
from skvaeense.utils._arrays import check_array, plain
from skvaeense.utils._estimators import DocLinkMixin, all_or_nothing
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._torch import draw_seed, make_generator
from skvaeense.utils._typing import DoubleArray, FloatArray, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, RANDOM_STATE, SHARE, fit_context


class GateDictionary(
    MeanScoreMixin, DocLinkMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Sparse codes over a dictionary, fitted by expectation maximisation.

    A sample is a sum of a few atoms, and each atom has a gate that is open with its own
    probability. The samples determine which gates are open, how many atoms there are, and the
    noise: no penalty and no length has to be chosen. The model is also a density, so it can score
    samples and draw new ones.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of atoms. None means as many as the samples need; with a target, four for each
        principal component that is needed for 99 % of the variance, at most 384, and at most half
        the number of samples.

    target_l0 : float or None, default=None
        Mean number of open gates. None sets no length.

    target_explained_variance : float or None, default=None
        Share of the variance that codes keep, in (0, 1). Codes are as short as this share allows.
        Only one of the two targets can be set.

    positive_code : bool, default=False
        Whether codes are not negative.

    random_state : int, RandomState instance or None, default=None
        Seed of the first atoms and of the subsets of samples.

    Attributes
    ----------
    components_ : ndarray of shape (n_components_, n_features)
        Atoms, of norm 1.

    mean_ : ndarray of shape (n_features,)
        The sample whose gates are all closed.

    gate_probability_, slab_mean_, slab_variance_ : ndarray of shape (n_components_,)
        Probability that each gate is open, and mean and variance of its code if it is.

    noise_variance_ : float
        Variance of the noise in each feature.

    price_ : float
        Amount by which a target lowers the log-odds of all gates; 0 without a target.

    n_components_ : int
        Number of atoms.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    skvaeense.VAEenseTransformer : Chooses between such a dictionary and flat parts of the data.
    sklearn.decomposition.DictionaryLearning : Atoms with a penalty on the size of codes.

    Notes
    -----
    With atoms w_j of norm 1, in ``x = b + sum_j s_j z_j w_j + noise``::

        s_j ~ Bernoulli(p_j),    z_j | s_j = 1 ~ N(m_j, t_j),    noise ~ N(0, g I)

    The *E-step* infers gates and codes given the parameters: by mean field at first [1]_, and by a
    search over patterns of open gates in the end. The *M-step* sets all parameters to their best
    values, which follow from sums over samples: atoms and b solve one system of linear equations,
    and the others are moments. Steps are taken from small random subsets, whose noise leads out of
    bad optima. There are more atoms than needed at first: equal ones are merged, and atoms that
    explain less than they cost, by the Bayesian information criterion, are dropped.

    References
    ----------
    .. [1] M. K. Titsias and M. Lazaro-Gredilla, "Spike and slab variational inference for
       multi-task and multiple kernel learning", NIPS 2011.

    Examples
    --------
    >>> from skvaeense.datasets import make_sparse_dictionary
    >>> from skvaeense.explanations import GateDictionary
    >>> X = make_sparse_dictionary(
    ...     2000, n_atoms=20, n_active=3, n_features=20, noise=0.05, random_state=0
    ... )[0]
    >>> dictionary = GateDictionary(random_state=0).fit(X)
    >>> dictionary.n_components_
    20
    >>> round(float((dictionary.transform(X) != 0).sum(axis=1).mean()), 1)
    2.8
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints = {
        "n_components": [AT_LEAST_ONE, None],
        "target_l0": [POSITIVE, None],
        "target_explained_variance": [SHARE, None],
        "positive_code": ["boolean"],
        "random_state": RANDOM_STATE,
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        target_l0: float | None = None,
        target_explained_variance: float | None = None,
        positive_code: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.target_l0 = target_l0
        self.target_explained_variance = target_explained_variance
        self.positive_code = positive_code
        self.random_state = random_state

    # --- fitting ------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit atoms, gates and noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training samples.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts, at least 0. Only ratios matter.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X has fewer than two samples, or NaN or infinite values, or if both targets are set.
        """
        with all_or_nothing(self):
            x, weights, em = self._begin(self._check(X, reset=True), sample_weight)
            em.fit(x, weights)
            self._store(em)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn from one more batch of samples.

        The first batch fixes centre, scale and the first atoms, so it should be a fair sample of
        the data. The first 192 batches are steps of a fit, whose noise is large and whose atoms are
        many. Later batches are added to the sums over earlier ones, which fade slowly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            How often each sample counts, at least 0.

        Returns
        -------
        self : object
            The estimator.
        """
        with all_or_nothing(self):
            em = getattr(self, "_em_", None)
            X = self._check(X, reset=em is None)
            x, weights, self._em_ = self._begin(X, sample_weight, em)
            if em is not None:
                em.n_samples += float(weights.sum())
            self._em_.absorb(x, weights)
            self._store(self._em_)
        return self

    def _begin(
        self, X: DoubleArray, sample_weight: ArrayLike | None, em: EM | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, EM]:
        """Return scaled samples, their weights, and the fit, which is new unless it is given."""
        distinct: Any = distinct_rows(X, checked_weights(sample_weight, X))
        X, weights = distinct.X, distinct.weights
        weights = np.ones(len(X)) if weights is None else weights
        # The order of the samples has no say in which of them a price is found on.
        size = float(X.std()) or 1.0
        order = np.random.RandomState(0).permutation(own_order(X, X.mean(axis=0), size))
        X, weights = X[order], weights[order]
        if em is not None:
            x = self._scaled(X).to(em.gates.weight)
            return x, torch.from_numpy(weights).to(x), em
        self._center_ = np.average(X, axis=0, weights=weights)
        squares = np.average(np.square(X - self._center_), axis=0, weights=weights)
        self._scale_ = float(np.sqrt(squares.mean())) or 1.0
        x = self._scaled(X).to(torch.float64 if X.size <= MOST_DOUBLE else torch.float32)
        share = self.target_explained_variance
        if share is not None and self.target_l0 is not None:
            raise ValueError(
                "target_l0 and target_explained_variance cannot both be set. Leave one of them "
                "None."
            )
        em = make_em(
            x,
            float(weights.sum()),
            generator=make_generator(draw_seed(check_random_state(self.random_state))),
            n_components=self.n_components,
            positive=self.positive_code,
            length=self.target_l0,
            share=None if share is None else 1 - share,
        )
        return x, torch.from_numpy(weights).to(x), em

    def _store(self, em: EM) -> None:
        self._gates_ = em.result(self.n_components)
        own = self._gates_.in_units(self._center_, self._scale_)
        weight, bias, *slabs = (value.double().numpy() for value in own[:5])
        self.components_, self.mean_, self.n_components_ = weight, bias, len(weight)
        self.gate_probability_, self.slab_mean_, self.slab_variance_ = slabs
        self.noise_variance_, self.price_ = float(own.noise_variance), float(own.price)

    # --- codes --------------------------------------------------------------------------------

    def transform(self, X: ArrayLike) -> FloatArray:
        """Return the codes of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Codes in units of X: least squares on the atoms whose gates are open, and 0 elsewhere.
        """
        X = self._check(X)
        weight = self._gates_.weight.double().T

        def codes(x: torch.Tensor) -> torch.Tensor:
            found = self._search(x).posterior
            given = found.mean, found.is_open, found.seen, weight, FIT_LOOKS
            return restricted_code(*given, positive=self.positive_code)

        return self._scale_ * self._by_blocks(X, codes)

    def inverse_transform(self, X: ArrayLike) -> DoubleArray:
        """Return the samples that codes decode to.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructions in units of the training samples.

        Raises
        ------
        ValueError
            If X does not have `n_components_` columns.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but this {type(self).__name__} has "
                f"{self.n_components_} components; give codes as transform returns them."
            )
        return codes @ self.components_ + self.mean_

    # --- density ------------------------------------------------------------------------------

    def score_samples(self, X: ArrayLike) -> FloatArray:
        """Return a lower bound of the log-density of each sample.

        It is the density of the most probable pattern of open gates that a search finds, and of all
        patterns that differ from it in one gate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Bounds in nats, in units of X, as from `PCA.score_samples`.
        """
        X = self._check(X)
        bounds = self._by_blocks(X, lambda x: self._search(x).log_prob)
        return bounds - X.shape[1] * math.log(self._scale_)

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> DoubleArray:
        """Draw samples.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Samples, noise included.

        Raises
        ------
        ValueError
            If `n_samples` is not an int, or below 1.
        """
        check_is_fitted(self)
        n_samples = AT_LEAST_ONE.checked(n_samples, "n_samples", f"{type(self).__name__}.sample")
        rng = check_random_state(random_state)
        shape = n_samples, self.n_components_
        is_open = rng.uniform(size=shape) < expit(logit(self.gate_probability_) - self.price_)
        z = self.slab_mean_ + np.sqrt(self.slab_variance_) * rng.standard_normal(shape)
        noise = rng.standard_normal((n_samples, self.n_features_in_))
        return self.inverse_transform(is_open * z) + math.sqrt(self.noise_variance_) * noise

    # --- common code --------------------------------------------------------------------------

    def _search(self, x: torch.Tensor) -> FoundGates:
        """Return the result of the search from closed gates that a fit with a target makes, too.

        Without a target, it can be the result of a second search from the gates of mean field.
        """
        gates = self._gates_.to(x)
        has_target = self.target_l0 is not None or self.target_explained_variance is not None
        return search_gates(x, gates) if has_target else find_gates(x, gates)

    def _by_blocks(self, X: DoubleArray, function: Any) -> FloatArray:
        blocks = row_blocks(len(X), X.shape[1], self.n_components_)
        with torch.no_grad():
            return np.concatenate([function(self._scaled(X[rows])).numpy() for rows in blocks])

    def _scaled(self, X: DoubleArray) -> torch.Tensor:
        return torch.from_numpy((X - self._center_) / self._scale_)

    def _check(self, X: Any, *, reset: bool = False) -> DoubleArray:
        if not reset:
            check_is_fitted(self)
        least = 2 if reset else 1
        return validate_data(
            self, plain(X), dtype=np.float64, ensure_min_samples=least, reset=reset
        )

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_gates_")
