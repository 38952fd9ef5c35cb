"""IntrinsicDimensionEstimator: the dimension of each sample, seen or unseen."""

from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skvaeense._dimension import BaseDimensionEstimator
from skvaeense._evaluation import FLOATS
from skvaeense._geometry import LEAST_NOISE, SCALES, Dictionary, LocalGeometry
from skvaeense._vaeense import VAEenseTransformer
from skvaeense.utils._callbacks import CallbackSupportMixin, fit_part, map_chunks
from skvaeense.utils._typing import Auto, DoubleArray, HasActiveDimensions, IntArray, RandomState
from skvaeense.utils._validation import HasMethods, Interval, StrOptions

# Training samples among which neighbours are looked for.
MAX_REFERENCES = 20_000
# Pools of this many neighbours, or of a sixth of the samples where they are few. They grow up to a
# sixth where noise is larger than they are.
MAX_NEIGHBORS, LEAST_POOLS = 400, 6
# How far an autoencoder may move a typical sample, and still tell what is noise and which samples
# are alike: a fraction of the mean squared distance to its neighbours. And the samples asked.
MAX_SHIFT = 0.15
N_SHIFTED = 1000
# Share of the nearest samples that must have similar active latents, or they lie elsewhere.
LEAST_ALIKE = 0.2
# Share of the samples in which a latent must be active to be of use, samples by which dictionaries
# are compared, and the share by which one must do better, or may do worse.
RARELY, N_COMPARED, CLOSE = 0.01, 2000, 0.05
# Samples that are answered at once.
CHUNK = 5000
TINY = np.finfo(float).tiny


class IntrinsicDimensionEstimator(CallbackSupportMixin, MetaEstimatorMixin, BaseDimensionEstimator):
    """Estimate the intrinsic dimension of each sample, seen or unseen.

    An autoencoder is trained on the samples. For each sample it says which latents are active, and
    it takes noise away. What follows from that depends on `method`: see the notes.

    Parameters
    ----------
    autoencoder : estimator or None, default=None
        Anything with `fit` and `active_dimensions`. Without `transform` and `inverse_transform`
        there is only the count. It is cloned. None means ``VAEenseTransformer()``. Its
        `threshold` says what counts as active.

    method : {"auto", "count", "neighbors"}, default="auto"
        "count" is the number of active latents. "neighbors" measures how fast the number of
        neighbours grows with the distance, after denoising. "auto" takes the best of both for
        each sample.

    n_neighbors : "auto" or int, default="auto"
        Number of neighbours of a landmark, from which its dimension is estimated. "auto" means
        400, or a sixth of the samples where they are few; where noise moves samples farther than
        that, 800 and so on, up to a sixth. Not used by "count".

    aggregate : {"mean", "median"}, default="mean"
        How `dimension_` follows from the dimensions of the training samples.

    random_state : int, RandomState instance or None, default=None
        Seed of the landmarks, and of the default autoencoder; a given one has its own.

    Attributes
    ----------
    autoencoder_ : estimator
        The fitted autoencoder.

    dimension_ : float
        Dimension of the training set: the aggregate of `dimension_pw_`.

    dimension_std_ : float
        Standard error of `dimension_`; NaN with ``method="count"``.

    dimension_pw_ : ndarray of shape (n_samples,)
        Dimension at each training sample.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    VAEenseTransformer : The default autoencoder.
    DiffusionDimensionEstimator : The same from a learned score, without an autoencoder.

    Notes
    -----
    *Count.* On unions of linear subspaces the number of active latents is the dimension, however
    many subspaces there are [1]_. On a curved manifold a linear decoder needs as many latents as
    the smallest linear space that holds the sample's neighbourhood, which is more.

    *Neighbors.* Up to 20,000 training samples are kept, denoised by the autoencoder. Of a sample's
    nearest ones, those that have similar active latents are its pool. Around each member of the
    pool, the distances R_a and R_b to its neighbours a and b follow
    ``E log(R_b / R_a) = (psi(b) - psi(a)) / r``, with psi the digamma function and r the dimension
    [2]_. With b = 4 and a = 1 that gives r, without any threshold. It is then corrected by what the
    same estimate gives for balls of known dimension with as many samples [3]_.

    *Auto.* Where fewer than a fifth of a sample's nearest ones have similar active latents, they
    lie on other subspaces, and tell nothing: the count is taken. With a linear decoder it is
    refined before, to the number of dictionary atoms that a least-squares fit to the noise level
    needs. Elsewhere the rank of the pool is taken, the number of directions with a tenth of the
    largest variance, if the estimate by distances agrees; and else that estimate, rounded.

    If the autoencoder moves samples by more than 15 % of the mean squared distance to their
    neighbours, pools grow, since noise may be larger than they are. If they are a sixth of the
    samples and that is not enough, it is not asked, and neighbours are looked for among the samples
    as they are.

    References
    ----------
    .. [1] Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    .. [2] F. Denti, D. Doimo, A. Laio and A. Mira (2022). The generalized ratios intrinsic
       dimension estimator. Scientific Reports 12.

    .. [3] C. Ceruti et al. (2014). DANCo: an intrinsic dimensionality estimator exploiting angle
       and norm concentration. Pattern Recognition 47.

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

    autoencoder_: Any
    dimension_std_: float

    _parameter_constraints = BaseDimensionEstimator._parameter_constraints | {
        "autoencoder": [HasMethods(["fit", "active_dimensions"]), None],
        "method": [StrOptions({"auto", "count", "neighbors"})],
        "n_neighbors": [Interval(Integral, SCALES[0], None, closed="left"), StrOptions({"auto"})],
    }

    def __init__(
        self,
        autoencoder: HasActiveDimensions | None = None,
        *,
        method: Literal["auto", "count", "neighbors"] = "auto",
        n_neighbors: Auto | int = "auto",
        aggregate: Literal["mean", "median"] = "mean",
        random_state: RandomState = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.method = method
        self.n_neighbors = n_neighbors
        self.aggregate = aggregate
        self.random_state = random_state

    def _learn(self, X):
        if self.autoencoder is None:
            autoencoder = VAEenseTransformer(random_state=self.random_state)
        else:
            autoencoder = clone(self.autoencoder)
        if self.method == "neighbors" and not _can_decode(autoencoder):
            raise ValueError(
                'method="neighbors" needs an autoencoder with transform and inverse_transform, '
                f'which {autoencoder!r} has not; set method="count".'
            )
        fit_part(self, autoencoder, X)
        self.autoencoder_ = autoencoder
        self._geometry_, self._dictionary_ = None, None
        self._trusted_, self._turned_ = False, False
        if self.method != "count" and _can_decode(autoencoder):
            self._measure_geometry(X)

    def _measure_geometry(self, X):
        """Refine the dictionary, and measure the geometry of the training samples."""
        order = check_random_state(self.random_state).permutation(len(X))[:MAX_REFERENCES]
        X = X[order].astype(np.float64)
        active, codes, points = self._denoise(X)
        n_neighbors, self._trusted_ = self._choose_pools(X, points)
        if self._trusted_ and hasattr(self.autoencoder_, "components_"):
            self._refine(X, active, codes, np.square(X - points).mean())
            if self._turned_:
                active, _, points = self._denoise(X)
        if len(X) <= SCALES[0] + 1:
            return

        self._geometry_ = LocalGeometry(
            points if self._trusted_ else X,
            active if self._trusted_ else None,
            n_neighbors=n_neighbors,
        )

    def _refine(self, X, active, codes, error):
        """Keep the dictionary that needs fewest atoms, if there is one that fits."""
        atoms = np.asarray(self.autoencoder_.components_)
        offset = self.autoencoder_.inverse_transform(np.zeros((1, len(atoms))))[0]
        dictionary = Dictionary(atoms, offset).fit(X, active)
        # Dictionaries claim no precision beyond this.
        error = max(error, 2 * LEAST_NOISE * X.var(axis=0).mean())
        count = active[:N_COMPARED].sum(axis=1).mean()
        # One that fits worse than the codes has lost too many latents.
        if dictionary.noise_variance <= error:
            self._dictionary_ = dictionary
            count = dictionary.count(X[:N_COMPARED], active[:N_COMPARED]).mean()
        used = active.mean(axis=0) > RARELY
        if not 2 <= used.sum() < X.shape[1]:
            return
        turned = Dictionary.independent(X, codes[:, used], atoms[used], offset)
        if turned is None or turned.noise_variance > (1 + CLOSE) * self._noise_of(X, active, error):
            return
        turned_count = turned.count(X[:N_COMPARED], turned.support(X[:N_COMPARED])).mean()
        if turned_count < (1 - CLOSE) * count:
            self._dictionary_, self._turned_ = turned, True

    def _noise_of(self, X, active, error):
        """Return the noise variance of the dictionary so far, or of the codes."""
        if self._dictionary_ is not None:
            return self._dictionary_.noise_variance
        n_free = X.shape[1] - active.sum(axis=1).mean()
        return error * X.shape[1] / max(n_free, 1.0)

    def _shift(self, X, points, n_neighbors):
        """Return how far decoding moves a typical sample, beside its distance to neighbours."""
        search = NearestNeighbors(n_neighbors=n_neighbors).fit(X)
        distances = search.kneighbors(X[:N_SHIFTED])[0]
        shifts = np.square(X - points)[:N_SHIFTED].sum(axis=1)
        # Beside copies of a sample any shift is infinite.
        with np.errstate(over="ignore"):
            return float(np.median(shifts / np.maximum(np.square(distances).mean(axis=1), TINY)))

    def _choose_pools(self, X, points):
        """Return the size of the pools, and whether decoding moves samples little beside it.

        The more samples, the closer neighbours are, and noise that decoding takes off may move
        samples farther than that. Pools then grow, as far as their share of the samples allows.
        """
        if self.n_neighbors == "auto":
            most = max(len(X) // LEAST_POOLS, SCALES[0])
            least = min(MAX_NEIGHBORS, most)
        else:
            most = least = self.n_neighbors
        least, most = (min(n_neighbors, len(X) - 1) for n_neighbors in (least, most))
        n_neighbors = least
        while n_neighbors <= most:
            if self._shift(X, points, n_neighbors) <= MAX_SHIFT:
                return n_neighbors, True
            n_neighbors *= 2
        return least, False

    def _denoise(self, X):
        """Return active latents, codes that are 0 elsewhere, and what is decoded from them.

        A dictionary that has turned the atoms speaks for the autoencoder; it gives no codes.
        """
        if self._turned_:
            active, points = self._dictionary_.describe(X, self._dictionary_.support(X))
            return active, None, points
        active = self.autoencoder_.active_dimensions(X)
        codes = self.autoencoder_.transform(X)
        codes = (codes.toarray() if sparse.issparse(codes) else np.asarray(codes)) * active
        return active, codes, self.autoencoder_.inverse_transform(codes)

    def _keep_dimensions(self, X):
        dimension, std = self._local_dimension_and_std(X)
        self._set_dimensions(dimension)
        # Neighbours share their pools, and so their errors.
        n_pools = len(X) / (self._geometry_.n_neighbors if self._geometry_ else 1)
        known = np.isfinite(std)
        error = np.sqrt(np.square(std[known]).mean() / max(n_pools, 1)) if known.any() else np.nan
        self.dimension_std_ = float(np.hypot(error, dimension.std() / np.sqrt(len(X))))

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
            Whether to return standard errors too.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            Dimension at each sample.

        std : ndarray of shape (n_samples,)
            Standard error of each, if `return_std`. Where neighbours answer it holds the error of
            their mean, and half of how far the estimate falls from the smallest scale to larger
            ones. Where latents are counted it is by how much refining changed their number, and
            NaN where nothing was refined.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        dimension, std = self._local_dimension_and_std(X)
        return (dimension, std) if return_std else dimension

    def dimension_scale(self, X: ArrayLike) -> tuple[IntArray, DoubleArray]:
        """Return what neighbours say of the local dimension at several scales.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, seen or unseen.

        Returns
        -------
        n_neighbors : ndarray of int, shape (n_scales,)
            Scales: the number of neighbours that distances are compared up to, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            The dimension by distances alone at each scale, not rounded; NaN where too few of the
            nearest training samples are like the sample. A fall from the first scale to the next
            is what noise adds; a rise comes from curvature, or from other manifolds.

        Raises
        ------
        ValueError
            If neighbours are not looked at, as with ``method="count"``, an autoencoder that cannot
            decode, or too few training samples.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        if self._geometry_ is None:
            raise ValueError(
                "There are no distances to neighbours to look at. Fit with another method than "
                f'"count", an autoencoder that can decode, and at least {SCALES[0] + 2} samples.'
            )

        def measure(rows):
            rows = rows.astype(np.float64)
            active, _, points = self._denoise(rows)
            points, active = (points, active) if self._trusted_ else (rows, None)
            return self._geometry_.over_scales(points, active)

        n_neighbors, dimensions = zip(*map_chunks(self, measure, X, CHUNK), strict=True)
        return n_neighbors[0], np.concatenate(dimensions)

    def _local_dimension(self, X):
        return self._local_dimension_and_std(X)[0]

    def _local_dimension_and_std(self, X):
        parts = map_chunks(self, self._estimate, X, CHUNK)
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def _estimate(self, X):
        """Return dimensions and their standard errors."""
        if self.method == "count" or not _can_decode(self.autoencoder_):
            count = self.autoencoder_.active_dimensions(X).sum(axis=1).astype(np.float64)
            return count, np.full(len(X), np.nan)
        X = X.astype(np.float64)
        active, _, points = self._denoise(X)
        count, std = active.sum(axis=1).astype(np.float64), np.full(len(X), np.nan)
        most = np.full(len(X), np.inf)
        if self._dictionary_ is not None:
            refined = self._dictionary_.count(X, active)
            count, std, most = refined, np.abs(refined - count), np.maximum(refined, count)
        if self._geometry_ is None:
            return count, std
        points, active = (points, active) if self._trusted_ else (X, None)
        around = self._geometry_.at(points, active)
        known = np.isfinite(around.ratio)
        if self.method == "neighbors":
            believed, dimension = known, around.ratio
        else:
            believed = known & (around.alike >= LEAST_ALIKE)
            # No manifold has more dimensions than the subspace that holds it.
            dimension = np.minimum(around.dimension, most)
        return np.where(believed, dimension, count), np.where(believed, around.std, std)

    def _score_fit(self, X):
        return self.autoencoder_.score(X)


def _can_decode(autoencoder):
    return hasattr(autoencoder, "transform") and hasattr(autoencoder, "inverse_transform")
