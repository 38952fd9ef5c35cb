"""What methods that look at a sample's neighbours share."""

from abc import abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.dimension._count import Count
from skvaeense.dimension._dictionary import Dictionary, refine
from skvaeense.dimension._local import LocalGeometry
from skvaeense.dimension._scaling import SCALES
from skvaeense.utils._typing import Auto, DoubleArray, FloatArray, IntArray, RandomState
from skvaeense.utils._validation import Interval, StrOptions

# Training samples among which neighbours are looked for.
MAX_REFERENCES = 20_000
# Pools of this many neighbours, or of a sixth of the samples where they are few. They grow up to a
# sixth where noise is larger than they are.
MAX_NEIGHBORS, LEAST_POOLS = 400, 6
# How far an autoencoder may move a typical sample, and still tell what is noise and which samples
# are alike: a fraction of the mean squared distance to its neighbours. And the samples asked.
MAX_SHIFT = 0.15
N_SHIFTED = 250
# Samples asked whether their neighbours are believed.
N_ASKED = 1000
TINY = np.finfo(float).tiny


class PoolMethod(AutoencoderMethod):
    """Denoise samples, and look at their pools: the neighbours with similar active latents.

    A subclass says in `_answer` when it believes them. Elsewhere active latents are counted; with
    a linear decoder, after refining its dictionary.
    """

    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, SCALES[0], None, closed="left"), StrOptions({"auto"})]
    }

    n_neighbors: Auto | int
    # None where the autoencoder explains too little, or has no linear decoder.
    dictionary_: Dictionary | None
    # None where the autoencoder cannot decode, or there are too few samples.
    geometry_: LocalGeometry | None
    # Whether the autoencoder is asked for denoised samples, and for which of them are alike.
    trusted_: bool

    @abstractmethod
    def _answer(self, around, most):
        """Return the dimension of samples by their neighbours; NaN where these are not believed.

        `around` is a LocalDimension, and `most` the number of atoms that each sample needs.
        """

    def fit(self, autoencoder: Any, X: FloatArray, random_state: RandomState = None) -> Self:
        """Keep up to 20,000 training samples, denoised, and measure the dimension around them.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `active_dimensions`. Only the count is left of one without
            `transform` and `inverse_transform`.

        X : ndarray of shape (n_samples, n_features)
            Training samples.

        random_state : int, RandomState instance or None, default=None
            Seed of which samples are kept, and of the landmarks among them.

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
        active, codes, points, shift = self._denoise(autoencoder, X)
        n_neighbors, self.trusted_ = _choose_pools(X, points, self.n_neighbors)
        if not self.trusted_:
            points, active = X, None
        self._measure(points, active, n_neighbors)
        if self.trusted_ and hasattr(autoencoder, "components_"):
            atoms = np.asarray(autoencoder.components_)
            offset = autoencoder.inverse_transform(np.zeros((1, len(atoms))))[0]
            error = np.square(X - points).mean()
            atoms = atoms[: codes.shape[1]]
            counted = self._counts_some(points[:N_ASKED], active[:N_ASKED])
            self.dictionary_ = refine(
                X - shift, active, codes, atoms, offset, error, counted=counted
            )
            if self.dictionary_ is not None and self.dictionary_.turned:
                active, _, points, _ = self._denoise(autoencoder, X)
                self._measure(points, active, n_neighbors)
        return self

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the dimension of samples, seen or unseen, and its standard error.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that `fit` had.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The dimension at each sample.

        std : ndarray of shape (n_samples,)
            Where neighbours answer, it holds the error of their mean, and half of how far the
            estimate falls from the smallest scale to larger ones. Where latents are counted, by
            how much refining changed their number, and NaN where nothing was refined.
        """
        if not _can_decode(autoencoder):
            return Count().estimate(autoencoder, X)
        X = X.astype(np.float64)
        active, _, points, shift = self._denoise(autoencoder, X)
        count, std = active.sum(axis=1).astype(np.float64), np.full(len(X), np.nan)
        most, dimension = np.full(len(X), np.inf), np.full(len(X), np.nan)
        if self.geometry_ is not None:
            around = self.geometry_.at(*((points, active) if self.trusted_ else (X, None)))
            dimension = self._answer(around, most)
        if self.dictionary_ is not None:
            # It has no say where neighbours are believed, and say no more than are active.
            rows = np.flatnonzero(~(dimension <= count))
            refined = count.copy()
            refined[rows] = self.dictionary_.count((X - shift)[rows], active[rows])
            count, std, most = refined, np.abs(refined - count), np.maximum(refined, count)
        if self.geometry_ is None:
            return count, std
        dimension = self._answer(around, most)
        believed = np.isfinite(dimension)
        return np.where(believed, dimension, count), np.where(believed, around.std, std)

    def dimension_scale(self, autoencoder: Any, X: FloatArray) -> tuple[IntArray, DoubleArray]:
        """Return what neighbours say of the dimension at several scales.

        Parameters
        ----------
        autoencoder : estimator
            The autoencoder that `fit` had.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        n_neighbors : ndarray of int, shape (n_scales,)
            The number of neighbours of each scale, ascending.

        dimensions : ndarray of shape (n_samples, n_scales)
            The dimension by distances alone at each scale; NaN where they do not say.

        Raises
        ------
        ValueError
            If the autoencoder cannot decode, or there were too few training samples.
        """
        if self.geometry_ is None:
            return super().dimension_scale(autoencoder, X)
        X = X.astype(np.float64)
        points, active = X, None
        if self.trusted_:
            active, _, points, _ = self._denoise(autoencoder, X)
        return self.geometry_.over_scales(points, active)

    def _measure(self, points, active, n_neighbors):
        """Measure the dimension around samples, if they are enough."""
        if len(points) > SCALES[0] + 1:
            self.geometry_ = LocalGeometry(points, active, n_neighbors=n_neighbors)
            self.pool_size_ = self.geometry_.n_neighbors

    def _counts_some(self, points, active):
        """Return whether there are samples whose neighbours are not believed."""
        if self.geometry_ is None:
            return True
        answers = self._answer(self.geometry_.at(points, active), np.full(len(points), np.inf))
        return bool(np.isnan(answers).any())

    def _denoise(self, autoencoder, X):
        """Return active latents, codes that are 0 elsewhere, and what is decoded from them.

        A dictionary that has turned the atoms speaks for the autoencoder; it gives no codes. If the
        autoencoder has several locations, the last columns of its codes say which is that of a
        sample. They are no latents, and the fourth answer is how far locations are from the mean.
        """
        n_locations = len(getattr(autoencoder, "locations_", ()))
        turned = self.dictionary_ is not None and self.dictionary_.turned
        if turned and not n_locations:
            return *self._describe(X), 0.0
        codes = autoencoder.transform(X)
        codes = codes.toarray() if sparse.issparse(codes) else np.asarray(codes)
        n_latents = codes.shape[1] - n_locations
        shift = 0.0
        if n_locations:
            shift = codes[:, n_latents:] @ autoencoder.components_[n_latents:]
        if turned:
            return *self._describe(X, shift), shift
        active = autoencoder.active_dimensions(X)[:, :n_latents]
        codes = np.hstack([codes[:, :n_latents] * active, codes[:, n_latents:]])
        return active, codes[:, :n_latents], autoencoder.inverse_transform(codes), shift

    def _describe(self, X, shift=0.0):
        active, points = self.dictionary_.describe(X - shift)
        return active, None, points + shift


def _can_decode(autoencoder):
    return hasattr(autoencoder, "transform") and hasattr(autoencoder, "inverse_transform")


def _choose_pools(X, points, n_neighbors):
    """Return the size of the pools, and whether decoding moves samples little beside it.

    The more samples, the closer neighbours are, and noise that decoding takes off may move samples
    farther than that. Pools then grow, as far as their share of the samples allows.
    """
    auto = n_neighbors == "auto"
    most = min(max(len(X) // LEAST_POOLS, SCALES[0]) if auto else n_neighbors, len(X) - 1)
    n_neighbors = least = min(MAX_NEIGHBORS, most) if auto else most
    while n_neighbors <= most:
        if _shift(X, points, n_neighbors) <= MAX_SHIFT:
            return n_neighbors, True
        n_neighbors *= 2
    return least, False


def _shift(X, points, n_neighbors):
    """Return how far decoding moves a typical sample, beside its distance to neighbours."""
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(X)
    distances = search.kneighbors(X[:N_SHIFTED])[0]
    shifts = np.square(X - points)[:N_SHIFTED].sum(axis=1)
    # Beside copies of a sample any shift is infinite.
    with np.errstate(over="ignore"):
        return float(np.median(shifts / np.maximum(np.square(distances).mean(axis=1), TINY)))
