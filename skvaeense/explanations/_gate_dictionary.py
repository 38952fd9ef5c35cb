"""GateDictionary: sparse codes by expectation maximisation."""

from dataclasses import replace
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvaeense.explanations._em import Wanted
from skvaeense.explanations._gate_fits import GateStream, gate_law
from skvaeense.explanations._gates import SLABS
from skvaeense.explanations._laws import GateLaw
from skvaeense.mixture._rows import Prepared, Units, warn_of_far
from skvaeense.samples._weights import LawMixin, checked_weights
from skvaeense.utils import _validation
from skvaeense.utils._torch import draw_seed, threads_of_all
from skvaeense.utils._typing import DoubleArray, FloatArray, RandomState


class GateDictionary(LawMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sparse codes over a dictionary, fitted by expectation maximisation.

    A sample is a sum of a few atoms, and each atom has a gate that is open with its own
    probability. The samples determine which gates are open, how many atoms there are, and the
    noise: no penalty and no length has to be chosen. The model is also a density, so it can score
    samples and draw new ones.

    Parameters
    ----------
    n_components : int or None, default=None
        Largest number of atoms; those that no sample needs are dropped. None means as many as the
        samples need; with a target, at most four for each principal component that is needed for
        99 % of the variance, at most 384, and at most half the number of samples.

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
        Atoms, of norm 1. Without any structure in the samples, there is one atom, which is 0.

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
    components_: Annotated[DoubleArray, "k d"]
    mean_: Annotated[DoubleArray, "d"]
    _law_: Annotated[GateLaw, "d k"]
    _units_: Annotated[Units, "d"]
    _stream_: Annotated[GateStream, "d"]
    _fitted_names = ("_law_", "_units_", "components_", "mean_")
    _threads = staticmethod(threads_of_all)

    _parameter_constraints = {
        "n_components": [_validation.AT_LEAST_ONE, None],
        "target_l0": [_validation.POSITIVE, None],
        "target_explained_variance": [_validation.SHARE, None],
        "positive_code": ["boolean"],
        "random_state": _validation.RANDOM_STATE,
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

    @_validation.fit_context(prefer_skip_nested_validation=True)
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
        with _validation.all_or_nothing(self):
            rows = self._rows(self._check(X, reset=True), sample_weight)
            with threads_of_all(rows.known.shape):
                law = gate_law(rows, self._wanted(), has_table=False)
            is_needed = law.gates.weight.any(dim=1)
            is_needed[0] |= not is_needed.any()
            law = replace(law, gates=law.gates.at(is_needed))
            self._store(law.in_units(rows.center, rows.scale), rows)
            self.__dict__.pop("_stream_", None)
        return self

    @_validation.fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn from one more batch of samples.

        The first batch is fitted as by `fit`, and fixes centre, scale and the number of atoms, so
        it should be a fair sample of the data. Later batches are added to the sums over earlier
        ones, which fade slowly.

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
        if not hasattr(self, "_law_"):
            return self.fit(X, y, sample_weight)
        with _validation.all_or_nothing(self):
            rows = self._rows(self._check(X), sample_weight, self._units_)
            stream: Any = getattr(self, "_stream_", None)
            stream = stream or GateStream.of(self._law_, self._wanted(), self._n_rows_)
            with threads_of_all(rows.known.shape):
                stream = stream.absorb(rows)
            self._store(stream.law, rows)
            self._stream_ = stream
        return self

    def _rows(self, X: DoubleArray, sample_weight: Any, units: Units | None = None) -> Prepared:
        rng = np.random.RandomState(self._seed())
        rows = Prepared.of(X, checked_weights(sample_weight, X), rng, units)
        warn_of_far(rows.far, len(X))
        return rows

    def _seed(self) -> int:
        return draw_seed(check_random_state(self.random_state))

    def _wanted(self) -> Wanted:
        return Wanted(
            self.n_components,
            self.target_l0,
            self.target_explained_variance,
            self.positive_code,
            "gates",
            self._seed(),
        ).checked(self.n_features_in_)

    def _store(self, law: GateLaw, rows: Prepared) -> None:
        self._law_, self._units_, self._n_rows_ = law, rows.units, len(rows.x)
        gates = law.gates.in_units(0.0, law.scale)
        slabs = (getattr(gates, name).double().numpy() for name in SLABS)
        self.gate_probability_, self.slab_mean_, self.slab_variance_ = slabs
        self.components_, self.mean_ = gates.weight.double().numpy(), law.mean
        self.n_components_ = law.n_components
        self.noise_variance_, self.price_ = law.noise_variance, float(gates.price)

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
        return self._by_law(X, lambda law, rows: law.scale * law.encode(rows).values.numpy())

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
        codes = _validation.check_array(X, dtype=np.float64)
        _validation.check_n_components(codes, self)
        return codes @ self.components_ + self.mean_

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_law_")
