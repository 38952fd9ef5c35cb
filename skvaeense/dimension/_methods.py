"""Methods that estimate the dimension with a fitted autoencoder."""

import warnings
from abc import abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED

from skvaeense.dimension._dictionary import Dictionary
from skvaeense.dimension._local import LEAST_SQUARE, LocalGeometry
from skvaeense.dimension._posterior import CLOSE, standard_error
from skvaeense.dimension._rank import RARELY, NoiseFloor, Quadrics
from skvaeense.dimension._scaling import LARGEST, NEAR, SCALES, Calibration, mean_dimension
from skvaeense.utils._linalg import EXACT, TINY, threads_for
from skvaeense.utils._rows import MANY_ROWS, SOME_ROWS
from skvaeense.utils._typing import Auto, DoubleArray, FloatArray, IntArray, RandomState
from skvaeense.utils._validation import Interval, Specification, StrOptions, dense


class AutoencoderMethod(Specification):
    """Estimate the dimension of each sample with a fitted autoencoder.

    Derive from this class and implement `estimate`. A method that learns from the training samples
    also implements `fit`, and keeps the results in attributes, such as arrays, numbers or searches
    for neighbours. :class:`~skvaeense.IntrinsicDimensionEstimator` fits a clone, so its parameter
    `method` is not changed. The autoencoder is not kept; it is passed again.

    See Also
    --------
    Count : The simplest method.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense import IntrinsicDimensionEstimator
    >>> from skvaeense.dimension import AutoencoderMethod
    >>> class Widest(AutoencoderMethod):
    ...     def fit(self, autoencoder, X, random_state=None):
    ...         self.widest_ = autoencoder.active_dimensions(X).sum(axis=1).max()
    ...         return self
    ...     def estimate(self, autoencoder, X):
    ...         return np.full(len(X), float(self.widest_)), np.full(len(X), np.nan)
    >>> class Components(PCA):
    ...     def active_dimensions(self, X):
    ...         return abs(self.transform(X)) > 0.5
    >>> X = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
    >>> IntrinsicDimensionEstimator(Components(), method=Widest()).fit(X).dimension_
    1.0
    """

    # The arguments of `fit` are not metadata: scikit-learn must not make requests for them.
    __metadata_request__fit = {"autoencoder": UNUSED, "random_state": UNUSED}

    # Methods that the autoencoder must have besides `active_dimensions`.
    requires: tuple[str, ...] = ()
    # Number of training samples that share their information, and so their errors.
    pool_size_: int = 1

    def fit(self, autoencoder: Any, X: FloatArray, random_state: RandomState = None) -> Self:
        """Learn from the training samples; by default, learn nothing.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder, with `active_dimensions` and the methods in `requires`.

        X : ndarray of shape (n_samples, n_features)
            Training samples, float32 or float64.

        random_state : int, RandomState instance or None, default=None
            Seed.

        Returns
        -------
        self : object
            The fitted method.
        """
        return self

    @abstractmethod
    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the dimension of samples, seen or unseen, and its standard error.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples, float32 or float64.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        std : ndarray of shape (n_samples,)
            Standard error of each dimension; NaN if it is unknown.
        """

    def explain(
        self, autoencoder: Any, X: FloatArray
    ) -> tuple[DoubleArray, dict[str, DoubleArray]]:
        """Return the dimension of samples, and the parts of its standard error by reason.

        By default, there is one part, the whole standard error.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples, float32 or float64.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        reasons : dict of str to ndarray of shape (n_samples,)
            Standard errors, whose squares add up; NaN if they are unknown.
        """
        dimension, std = self.estimate(autoencoder, X)
        return dimension, {"sampling": std}

    def dimension_scale(self, autoencoder: Any, X: FloatArray) -> tuple[IntArray, DoubleArray]:
        """Return the dimension by distances at several scales, if the method uses neighbours.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples, float32 or float64.

        Returns
        -------
        n_neighbors : ndarray of int, shape (n_scales,)
            The number of neighbours of each scale, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            The dimension by distances alone at each scale; NaN where it is unknown.

        Raises
        ------
        ValueError
            If the method does not use neighbours.
        """
        raise ValueError(
            f'{type(self).__name__} computes no distances to neighbours. Set method="auto" or '
            '"neighbors", with an autoencoder that can decode and at least 6 samples.'
        )


class Count(AutoencoderMethod):
    """Count the active latents of each sample.

    On unions of linear subspaces, this number is the dimension, however many subspaces there are.
    On a curved manifold, a linear decoder needs more latents: the dimension of the smallest linear
    space that holds the sample's neighbourhood.

    See Also
    --------
    Consensus : Uses neighbours too, and the evidence for each count.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Count
    >>> X, *_ = make_linear_subspaces(200, dims=(1, 2), n_features=6, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0).partial_fit(X)
    >>> dimension, std = Count().estimate(vaeense, X)
    >>> bool((dimension == vaeense.active_dimensions(X).sum(axis=1)).all())
    True
    """

    alias = "count"

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the number of active latents of samples, without a standard error.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `active_dimensions`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The number of active latents of each sample.

        std : ndarray of shape (n_samples,)
            NaN.
        """
        active = autoencoder.active_dimensions(X)
        return active.sum(axis=1).astype(np.float64), np.full(len(X), np.nan)


# Maximum number of training samples among which neighbours are searched.
MAX_REFERENCES = 20_000
# Maximum number of neighbours in a pool, unless noise is larger than the pools.
MAX_NEIGHBORS = 2 * LARGEST
# Maximum squared shift of a typical sample by a trusted autoencoder, as a fraction of the mean
# squared distance to its neighbours. The dimension by distances can change by the same fraction,
# unless there is noise to remove, which makes this dimension fall by more as the scale grows.
MAX_SHIFT = 0.15


class PoolMethod(AutoencoderMethod):
    """Denoise samples, and measure their pools: the neighbours with similar active latents.

    A subclass decides in `_answer` when to believe the neighbours. For other samples, active
    latents are counted. If the decoder is linear, its atoms are counted with their evidence.
    """

    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, SCALES[0], None, closed="left"), StrOptions({"auto"})]
    }

    # None if the autoencoder explains too little, or has no linear decoder.
    dictionary_: Dictionary | None
    # None if the autoencoder cannot decode, or there are too few samples.
    geometry_: LocalGeometry | None

    def __init__(self, n_neighbors: Auto | int = "auto") -> None:
        self.n_neighbors = n_neighbors

    @abstractmethod
    def _answer(self, around, most=np.inf):
        """Return the dimension of samples by their neighbours; NaN if neighbours are not believed.

        `around` is a LocalDimension, and `most` the number of atoms that each sample needs.
        """

    def fit(self, autoencoder: Any, X: FloatArray, random_state: RandomState = None) -> Self:
        """Keep up to 20,000 training samples, denoised, and measure the dimension around them.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `active_dimensions`. Without `transform` and
            `inverse_transform`, active latents are only counted.

        X : ndarray of shape (n_samples, n_features)
            Training samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the choice of samples, and of the landmarks among them.

        Returns
        -------
        self : object
            The fitted method.
        """
        self.dictionary_, self.geometry_, self.trusted_ = None, None, False
        if not _can_decode(autoencoder):
            return self
        order = check_random_state(random_state).permutation(len(X))[:MAX_REFERENCES]
        X = X[order].astype(np.float64)
        # Neighbours are searched among all samples.
        with threads_for(len(X) * X.size):
            self._fit(autoencoder, X)
        if self.geometry_ is not None and self.geometry_.hidden > RARELY:
            warnings.warn(
                f"Dimension hidden by noise: in the neighbourhoods of {self.geometry_.hidden:.0%} "
                "of the samples, no direction stands out from the noise, so the dimension is "
                "uncertain. Fewer samples, which are farther apart, or a larger n_neighbors may "
                "reveal it.",
                # Point to the code of the user.
                stacklevel=7,
            )
        return self

    def _fit(self, autoencoder, X):
        """Measure samples that are in random order.

        `floor_` is their noise, which is removed if the autoencoder is not trusted: `trusted_` says
        whether it denoises samples, and shows which are alike. `change_` is the share by which
        decoding changes the dimension by distances; visible noise explains a change. What the
        samples alone determine is taken from an earlier method with another autoencoder.
        """
        active, points, groups, shift = self._denoise(autoencoder, X)
        earlier = self.__dict__.pop("_earlier", None)
        if earlier is not None and not (groups.any() or earlier.floor_.has_groups):
            self.floor_, self.quadrics_ = earlier.floor_, earlier.quadrics_
        else:
            earlier = None
            self.floor_ = NoiseFloor(X, groups)
            raw = self.floor_.take_off(X[:MANY_ROWS], groups[:MANY_ROWS])[0]
            self.quadrics_ = Quadrics(raw)
        sizes = active.sum(axis=1)
        n_neighbors, self.trusted_ = _choose_pools(
            X, points, sizes, self.floor_.most, self.n_neighbors
        )
        self.change_, most = 0.0, np.inf
        if self.trusted_ and len(X) > SCALES[1] + 1:
            raw = _by_distances(X)
            most = np.nan_to_num(2 * raw[1] + 1, nan=np.inf)
            change, falls = _change_of_dimension(raw, _by_distances(points))
            # Patterns with more active latents than dimensions are pieces of a curved set, since
            # other subspaces nearby can only raise the dimension by distances.
            calibration = Calibration(len(X), n_neighbors, X.shape[1])
            scale = min(len(calibration.scales) - 1, 1)
            reached = calibration.correct(np.array([raw[scale]]), scale)[0]
            typical = 1 / np.mean(1 / np.maximum(sizes, 1))
            pieces = (active != active[0]).any() and typical > (1 + NEAR) * reached
            believed = self.floor_.seen or falls or change <= MAX_SHIFT
            self.trusted_ = bool(believed and not pieces)
            self.change_ = change if self.trusted_ else 0.0
        trusted = self.trusted_ or (earlier is not None and earlier.trusted_)
        if not trusted and getattr(earlier, "pool_size_", 0) == min(n_neighbors, len(X) - 1):
            self.reach_, self.geometry_ = earlier.reach_, earlier.geometry_
            self.pool_size_ = earlier.pool_size_
        else:
            self._measure(X, points, active, groups, n_neighbors)
        if self.geometry_ is not None:
            head = [values[:SOME_ROWS] for values in (X, points, active, groups)]
            self.geometry_.usual = self._around(*head).evidence.usual()
        some = active[:SOME_ROWS]
        if not (self.trusted_ and hasattr(autoencoder, "components_")) or some.sum(1).mean() > most:
            return
        if self.geometry_ is not None:
            answers = self._answer(self.geometry_.at(points[:SOME_ROWS], some))
            if not np.isnan(answers).any():
                return
        atoms = np.asarray(autoencoder.components_)
        offset = autoencoder.inverse_transform(np.zeros((1, len(atoms))))[0]
        dictionary = Dictionary(atoms[: active.shape[1]], offset).fit(X - shift, active)
        # Rounding limits the precision of every dictionary.
        freedom = max(X.shape[1] - sizes.mean(), 1.0)
        noise = np.square(X - points).mean() * X.shape[1] / freedom
        noise = max(noise, 2 * EXACT * X.var(axis=0).mean())
        # A dictionary that fits worse than the codes has lost too many latents.
        if dictionary.noise_variance <= (1 + CLOSE) * noise:
            self.dictionary_ = dictionary

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the dimension of samples, seen or unseen, and its standard error.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        std : ndarray of shape (n_samples,)
            Standard errors from all reasons in `explain`; NaN if there is only the number of active
            latents.
        """
        dimension, reasons = self.explain(autoencoder, X)
        return dimension, standard_error(reasons)

    def explain(
        self, autoencoder: Any, X: FloatArray
    ) -> tuple[DoubleArray, dict[str, DoubleArray]]:
        """Return the dimension of samples, and the parts of its standard error by reason.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        reasons : dict of str to ndarray of shape (n_samples,)
            Standard errors in dimensions, whose squares add up.

            If the dimension is from neighbours, the standard error follows from the distribution
            over dimensions, and is divided among these reasons by their squares: "sampling", the
            error of the mean over the pool; "noise", the fall of the estimate from the smallest
            scale that is free of noise to larger scales, or the dimension, if noise hides all
            directions; "disagreement", the difference between the dimension and the estimates by
            distances at these scales; "intersection", the difference between the dimension and the
            ranks of nearby pools.

            If latents are counted: "small_coefficients", the spread of the posterior of the number
            of latents; "disagreement", the difference between the count and the neighbours,
            weighted less if fewer neighbours are like the sample; "few_neighbors", 1 if no
            neighbour is like the sample and there is no dictionary.

            In both cases: "disagreement" also includes the change of the estimate by distances that
            decoding causes; "far" is as large as the dimension itself at twice the distance that
            counts as far.
        """
        if not _can_decode(autoencoder):
            dimension, std = Count().estimate(autoencoder, X)
            return dimension, {"sampling": std}
        X = X.astype(np.float64)
        active, points, groups, shift = self._denoise(autoencoder, X)
        count, unsure = active.sum(axis=1).astype(np.float64), np.full(len(X), np.nan)
        most, dimension, around = np.inf, np.full(len(X), np.nan), None
        if self.geometry_ is not None:
            around = self._around(X, points, active, groups)
            dimension = self._answer(around)
        if self.dictionary_ is not None:
            # Not used if neighbours are believed and give at most the number of active latents.
            rows = np.flatnonzero(~(dimension <= count))
            refined = count.copy()
            refined[rows], unsure[rows] = self.dictionary_.count((X - shift)[rows], active[rows])
            count, most = refined, np.maximum(refined, count)
        if around is None:
            return count, {"small_coefficients": unsure}
        answer, reasons = _explained(self._answer(around, most), count, unsure, around)
        if not self.floor_.seen:
            reasons["disagreement"] = np.hypot(reasons["disagreement"], self.change_ * answer)
        return answer, reasons

    def dimension_scale(self, autoencoder: Any, X: FloatArray) -> tuple[IntArray, DoubleArray]:
        """Return the dimension by distances to neighbours at several scales.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that was passed to `fit`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        n_neighbors : ndarray of int, shape (n_scales,)
            The number of neighbours of each scale, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            The dimension by distances alone at each scale; NaN where it is unknown.

        Raises
        ------
        ValueError
            If the autoencoder cannot decode, or there were too few training samples.
        """
        if self.geometry_ is None:
            return super().dimension_scale(autoencoder, X)
        X = X.astype(np.float64)
        active, points, groups, _ = self._denoise(autoencoder, X)
        return self.geometry_.over_scales(*self._seen(X, points, active, groups)[:2])

    def _around(self, X, points, active, groups):
        """Return the measurements of samples by their neighbours."""
        seen, alike, _ = self._seen(X, points, active, groups)
        off = np.maximum(np.square(X - seen).sum(axis=1) - self.reach_, 0.0)
        raw = self.floor_.take_off(X, groups)[0] if self.trusted_ else seen
        return self.geometry_.at(seen, alike, off, self.quadrics_.dimensions(raw))

    def _seen(self, X, points, active, groups):
        """Return the points of the neighbour search, their active latents, and noisy directions.

        Points are decoded if the autoencoder is trusted. Otherwise they are only projected onto the
        directions that stand above the noise, and active latents are None.
        """
        if self.trusted_:
            return points, active, active.sum(axis=1)
        points, n_noisy = self.floor_.take_off(X, groups)
        return points, None, n_noisy

    def _measure(self, X, points, active, groups, n_neighbors):
        """Measure the dimension around samples, if there are enough."""
        if len(X) > SCALES[0] + 1:
            points, active, n_noisy = self._seen(X, points, active, groups)
            self.reach_ = float(np.quantile(np.square(X - points).sum(axis=1), 1 - RARELY))
            noise = {"noise_variance": self.floor_.variance, "most_noise": self.floor_.limit}
            # A column with a single value has no noise.
            noise |= {"n_noisy": n_noisy, "observed": X[:, np.ptp(X, axis=0) > 0]}
            self.geometry_ = LocalGeometry(points, active, n_neighbors, **noise)
            self.pool_size_ = self.geometry_.n_neighbors

    def _denoise(self, autoencoder, X):
        """Return active latents, reconstructions, groups and shifts of samples.

        Codes of inactive latents count as 0. If the autoencoder has several locations, the location
        of a sample is its group. A shift is the offset of a location from the code 0.
        """
        groups, shift = np.zeros(len(X), dtype=int), 0.0
        if hasattr(autoencoder, "locations_"):
            groups = autoencoder.assign(X)
            shift = autoencoder.locations_[groups] - autoencoder.mean_
        if hasattr(autoencoder, "_active_codes"):
            # One search for both takes half the time.
            active, codes = autoencoder._active_codes(X)
        else:
            active, codes = autoencoder.active_dimensions(X), autoencoder.transform(X)
        codes = dense(codes) * active
        return active, autoencoder.inverse_transform(codes), groups, shift


def _explained(dimension, count, unsure, around):
    """Return the dimension by neighbours, or by count if NaN, and the standard errors by reason."""
    believed = np.isfinite(dimension)
    answer = np.where(believed, dimension, count)
    # The standard error is divided among the reasons by what each of them leaves open.
    parts = {name: np.nan_to_num(part) for name, part in around.reasons.items()}
    parts["sampling"] = np.maximum(parts["sampling"], LEAST_SQUARE)
    share = around.std / standard_error(parts)
    reasons = {name: np.where(believed, share * part, 0.0) for name, part in parts.items()}
    # If noise hides all directions, the answer may be noise alone. A method may prefer another
    # answer.
    more = {"noise": around.hidden * answer, "disagreement": answer - around.dimension}
    for name, part in more.items():
        reasons[name] = np.where(believed, np.hypot(reasons[name], part), 0.0)
    reasons["small_coefficients"] = np.where(believed, 0.0, np.nan_to_num(unsure))
    # Neighbours can still be right. The share that is like the sample shows how likely this is. If
    # nothing else supports the count, a few neighbours are enough.
    alone = np.isnan(unsure)
    asked = ~believed & np.isfinite(np.where(alone, around.dimension, around.ratio))
    likely = np.where(alone, 1.0, np.sqrt(around.alike))
    reasons["disagreement"][asked] = (likely * np.abs(answer - around.dimension))[asked]
    reasons["few_neighbors"] = np.where(~believed & ~asked & alone, 1.0, 0.0)
    reasons["far"] = np.maximum(answer, 1.0) * around.excess
    return answer, reasons


def _can_decode(autoencoder):
    return hasattr(autoencoder, "transform") and hasattr(autoencoder, "inverse_transform")


def _choose_pools(X, points, count, noise_variance, n_neighbors):
    """Return the size of the pools, and whether decoding moves samples little in comparison.

    Pools have `MAX_NEIGHBORS`, or a sixth of the samples if there are few.
    With more samples, neighbours are closer, and removing noise can move samples farther than the
    distance to neighbours. Pools then grow, as far as their share of the samples allows. The shift
    beyond the noise is an error of the decoder, which must be small compared with the distances to
    the nearest neighbours.
    """
    auto = n_neighbors == "auto"
    most = min(max(len(X) // 6, SCALES[0]) if auto else n_neighbors, len(X) - 1)
    n_neighbors = least = min(MAX_NEIGHBORS, most) if auto else most
    shifts = np.square(X - points)[:SOME_ROWS].sum(axis=1)
    search = NearestNeighbors(n_neighbors=least).fit(X)
    squares = np.square(search.kneighbors(X[:SOME_ROWS])[0])
    beyond = shifts - noise_variance * (X.shape[1] - count[:SOME_ROWS])
    if _share(beyond, squares[:, : SCALES[1]]) > MAX_SHIFT:
        return least, False
    while n_neighbors <= most:
        if _share(shifts, squares) <= MAX_SHIFT:
            return n_neighbors, True
        n_neighbors *= 2
        if n_neighbors <= most:
            squares = np.square(search.kneighbors(X[:SOME_ROWS], n_neighbors)[0])
    return least, False


def _by_distances(points):
    """Return the mean dimension by distances at each scale; few points reach less far."""
    scales = [min(k, len(points) - 1) for k in SCALES]
    search = NearestNeighbors(n_neighbors=scales[-1] + 1).fit(points)
    distances = search.kneighbors(points[:SOME_ROWS])[0][:, 1:]
    return [mean_dimension(distances, k)[0] for k in scales]


def _change_of_dimension(of_samples, of_points):
    """Return how decoding changes the dimension by distances, and whether it falls with the scale.

    The change is a share. Without noise, decoding should not change the dimension. Noise makes the
    dimension by distances fall as the scale grows, but so do thin directions.
    """
    (small, raw, large), decoded = of_samples, of_points[1]
    if np.isnan(raw + decoded):
        return 0.0, True
    return max(raw / decoded, decoded / raw) - 1, small > (1 + MAX_SHIFT) * large


def _share(shifts, squares):
    """Return the squared shift of a typical sample, relative to distances to its neighbours."""
    # Relative to copies of a sample, any shift is infinite. A share above 1 is always too far.
    with np.errstate(over="ignore"):
        return float(np.median(np.clip(shifts / np.maximum(squares.mean(axis=1), TINY), -1, 1)))


class Neighbors(PoolMethod):  # numpydoc ignore=PR02
    """Measure how fast the number of neighbours grows with the distance, after denoising.

    Up to 20,000 training samples are kept, denoised by the autoencoder. The pool of a sample is its
    nearest training samples that have similar active latents and lie near the flat through the very
    nearest. Around each member of the pool, the distances R_a and R_b to its neighbours a and b
    follow ``E log(R_b / R_a) = (psi(b) - psi(a)) / r``, with psi the digamma function and r the
    dimension [1]_. With b = 4 and a = 1, this gives r without any threshold. The result is then
    corrected by the same estimate for balls of known dimension with the same number of samples
    [2]_.

    Parameters
    ----------
    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples that a pool is taken from, at least 4. "auto" means 512, or a
        sixth of the samples if there are few. If noise moves samples farther than the pool reaches,
        it means 1,024 and so on, up to a sixth of the samples.

    See Also
    --------
    Consensus : Rounds to the rank of the pool if it agrees, and counts if pools are small.

    Notes
    -----
    If the autoencoder moves samples by more than 15 % of the mean squared distance to their
    neighbours, pools grow, since noise may be larger than the pools. If pools of a sixth of the
    samples are not enough, or if the autoencoder moves samples by this much beyond their noise, the
    autoencoder is not used: samples are projected onto the principal directions that stand above
    the noise.

    The noise variance comes from the smallest variances of the samples, if the law of Marchenko and
    Pastur explains at least eight of them [3]_. Otherwise, if the autoencoder is not used, the
    noise variance comes from single pools. Distances that are not larger than noise are replaced by
    distances at a larger scale, of 16, 64 or 256 neighbours. No estimate exceeds the number of
    directions in which a pool stands above the noise.

    References
    ----------
    .. [1] F. Denti, D. Doimo, A. Laio and A. Mira (2022). The generalized ratios intrinsic
       dimension estimator. Scientific Reports 12.

    .. [2] C. Ceruti et al. (2014). DANCo: an intrinsic dimensionality estimator exploiting angle
       and norm concentration. Pattern Recognition 47.

    .. [3] S. Kritchman and B. Nadler (2009). Non-parametric detection of the number of signals:
       hypothesis testing and random matrix theory. IEEE Transactions on Signal Processing 57.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Neighbors
    >>> X, *_ = make_linear_subspaces(300, dims=(2,), n_features=5, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Neighbors(n_neighbors=50))
    >>> estimator = estimator.set_params(random_state=0).fit(X)
    >>> round(estimator.dimension_)
    2
    """

    alias = "neighbors"

    requires = ("transform", "inverse_transform")

    def _answer(self, around, most=np.inf):
        return around.ratio


class Consensus(PoolMethod):  # numpydoc ignore=PR02
    """Combine the active latents with the distances to neighbours and the rank of neighbours.

    If fewer than a fifth of a sample's nearest samples have similar active latents, and the sample
    is on the flat of none of them, they lie on other subspaces and carry no information. The active
    latents are counted instead. With a linear decoder, the count follows from the evidence for each
    number of dictionary atoms, since a coefficient can be lost in the noise.

    For all other samples, the method combines all measurements in one distribution over dimensions:
    the estimates by distances at several scales, which noise makes too large, if noise is possible;
    the number of directions in which the nearest samples extend, and how their variances grow with
    the distance; and the number of directions that equations of second degree leave, if such
    equations hold on the samples, as on spheres. The
    weights of the measurements were fitted by maximum likelihood on manifolds of many kinds. The
    dimension is the median of the distribution, nearly always a whole number. The method combines
    `Count` and `Neighbors`, which describes pools.

    Parameters
    ----------
    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples that a pool is taken from, at least 4. "auto" means 512, or a
        sixth of the samples if there are few. If noise moves samples farther than the pool reaches,
        it means 1,024 and so on, up to a sixth of the samples.

    See Also
    --------
    Count : The number of active latents.
    Neighbors : The estimate by distances, not rounded.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Consensus
    >>> X, *_ = make_linear_subspaces(300, dims=(2,), n_features=5, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Consensus(n_neighbors=50))
    >>> estimator = estimator.set_params(random_state=0).fit(X)
    >>> round(estimator.dimension_)
    2
    """

    alias = "auto"

    def _answer(self, around, most=np.inf):
        # If less than a fifth of the nearest samples have similar active latents, they lie on other
        # subspaces.
        near = around.held | (around.alike >= 1 / 5)
        believed = np.isfinite(around.ratio) & near
        # No manifold has more dimensions than the subspace that holds it.
        return np.where(believed, np.minimum(around.dimension, most), np.nan)


class ComponentRank(AutoencoderMethod):
    """Count the directions of the mixture component that a sample belongs to.

    A :class:`~skvaeense.VAEenseTransformer` finds a Gaussian mixture. Each component has a noise
    variance, and directions in which it varies by more than noise alone would in the same
    number of samples. The number of these directions is the dimension of the component. The
    location of a cluster is part of the component's mean, and adds no dimension. On a curved
    manifold, the number of directions, like the number of active latents, is the dimension of a
    linear space that holds a piece of the manifold.

    See Also
    --------
    Count : The number of active latents, sample by sample.
    skvaeense.mixture.SubspaceMixture : The mixture alone.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import ComponentRank
    >>> X, _, dimension = make_linear_subspaces(
    ...     1000, dims=(1, 3), n_features=8, noise=0.05, random_state=0
    ... )
    >>> estimator = IntrinsicDimensionEstimator(method=ComponentRank(), random_state=0).fit(X)
    >>> bool((estimator.dimension_pw_ == dimension).mean() > 0.9)
    True
    """

    alias = "component_rank"

    requires = ("predict_proba", "component_ranks")

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the rank of the most probable component of each sample.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `predict_proba` and `component_ranks`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            Number of directions of this component.

        std : ndarray of shape (n_samples,)
            Root mean square difference between this rank and the ranks of the other components,
            weighted by their probabilities.
        """
        probability = np.asarray(autoencoder.predict_proba(X), dtype=np.float64)
        ranks = autoencoder.component_ranks().astype(np.float64)
        dimension = ranks[probability.argmax(axis=1)]
        squares = np.square(ranks - dimension[:, None])
        return dimension, np.sqrt((probability * squares).sum(axis=1))
