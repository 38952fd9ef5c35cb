"""One distribution over dimensions, from all measurements around a sample."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from skvaeense.utils._linalg import EXACT, TINY
from skvaeense.utils._typing import DoubleArray

# Log-odds of a dimension by each measurement, by `python -m benchmarks dimension_weights fit`. All
# were fitted at once, by maximum likelihood. Certainties have smaller log-odds, by a factor without
# noise and one with noise, since kinds of data that had no share in the fit are less certain.
FACTORS, WEIGHTS = json.loads(
    files(__package__).joinpath("weights.json").read_text(encoding="utf-8")
).values()
# Share by which estimates by distances are off, besides chance, since density is not even and sets
# bend. So decoding can change dimensions, or a dictionary the noise, by as much.
CLOSE = 0.05
# Variances that fall by more, as log(1 + log(ratio)), leave no thinner direction, up to rounding.
MOST_FALL = np.log1p(-np.log(EXACT))
# Differences by more standard errors than this are due to other causes than chance.
MOST_APART = 8.0
# Power of squared distances with which terms of third degree grow.
CUBIC = 3
# Logarithms of shares where all dimensions are equally usual.
ANY = np.zeros(1)


class Evidence(NamedTuple):
    """Measurements around samples; arrays have the shape (n_samples,), and `growth` has columns.

    Attributes
    ----------
    ratio : ndarray
        The dimension by distances alone, at the smallest scale that is clear of noise. NaN if there
        is none.

    small : ndarray
        The dimension by distances to the nearest neighbours, which noise makes too large.

    least : ndarray
        The smallest dimension by distances at the scale of `ratio` and larger scales.

    lowest : ndarray
        The dimension by distances if there is as much noise as there can be.

    error : ndarray
        Standard error of `ratio` by chance, as a share.

    rank : ndarray
        Number of directions in which the nearest references extend that are enough to show it.

    bound : ndarray
        Number of directions that equations leave; infinite if no equation holds.

    fall : ndarray
        Fall of the variances after the last direction of `rank`, as the logarithm of a ratio. A
        thinner direction can be where variances fall little.

    growth : ndarray of shape (n_samples, n_directions)
        The power of the squared distance with which the variance of each direction grows: 1 in a
        manifold, 2 or more by curvature, 0 for noise.

    rest : ndarray
        The power of the squared distance with which the rest off a curved surface of `rank`
        directions grows: 3 in a manifold, 0 if there is a thinner direction or noise.

    evenness : ndarray
        The share of the directions off this surface that samples fill: 1 if noise alone is there.
        A thinner direction and curvature make it smaller.

    clear : ndarray
        Between 0, if noise can be a reason for `small`, and 1, if no noise is possible.
    """

    ratio: DoubleArray
    small: DoubleArray
    least: DoubleArray
    lowest: DoubleArray
    error: DoubleArray
    rank: DoubleArray
    bound: DoubleArray
    fall: DoubleArray
    growth: DoubleArray
    rest: DoubleArray
    evenness: DoubleArray
    clear: DoubleArray

    def candidates(self) -> DoubleArray:
        """Return the dimensions that are possible, with a row for each sample.

        These are the whole numbers up to one above the largest measurement, and the ratio, which is
        the last.

        Returns
        -------
        ndarray of shape (n_samples, n_candidates)
            Dimensions; NaN after the candidates of a sample.
        """
        values = np.column_stack([self.ratio, self.rank, self.bound])
        most = np.ceil(np.where(np.isfinite(values), values, 1.0).max(axis=1)) + 1
        whole = np.arange(1.0, most.max(initial=1.0) + 1)
        whole = np.where(whole <= most[:, None], whole, np.nan)
        return np.hstack([whole, self.ratio[:, None]])

    def features(self, candidates: DoubleArray) -> dict[str, DoubleArray]:
        """Return what each measurement says about each candidate, by name.

        Parameters
        ----------
        candidates : ndarray of shape (n_samples, n_candidates)
            Dimensions.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_candidates)
            The measurements of `WEIGHTS`.
        """
        scale = np.hypot(CLOSE, self.error)[:, None]
        clear = self.clear[:, None]

        def excess(x, y):
            # Without distances, all dimensions are equally probable by distances.
            return np.nan_to_num(np.maximum(np.log(x / y), 0.0) / scale)

        def likelihood(x):
            return np.square(np.minimum(x, MOST_APART)) / 2

        def equals(values):
            return np.asarray(candidates == values[:, None], dtype=float)

        def agrees(values, low, high):
            with np.errstate(divide="ignore"):
                apart = np.log(values / np.clip(values, low, high))[:, None] / scale
            # Without distances, nothing denies a rank.
            return equals(values) * np.nan_to_num(np.exp(-(apart**2) / 2), nan=1.0)

        small, least = self.small[:, None], self.least[:, None]
        is_ratio = np.zeros(candidates.shape)
        is_ratio[:, -1] = 1.0
        # Entry r: the growth of the direction r + 1, which is 1 in a manifold. It is that of
        # curvature where no direction is known.
        missing = [(0, 0), (0, candidates.shape[1])]
        growth = np.pad(np.nan_to_num(self.growth, nan=2.0), missing, constant_values=2.0)
        growth = np.where(is_ratio, 1.0, growth[:, : candidates.shape[1]])
        # Without noise, a rest that grows less than terms of third degree is a thinner direction.
        known = clear * ~np.isnan(self.rest)[:, None]
        thin = known * (1 - np.clip(np.nan_to_num(self.rest), 0, CUBIC)[:, None] / CUBIC)
        is_next = candidates == self.rank[:, None] + 1
        noisy = (1 - clear) * ~np.isnan(self.evenness)[:, None]
        evenness = np.nan_to_num(self.evenness)[:, None]
        # Equations are an upper bound: others may hold that were not found. Those that leave the
        # rank hold only as far as there is no thinner direction.
        holds = 1 - thin * (self.rank <= self.bound)[:, None]
        return {
            # Distances do not see the thinner direction.
            "above": likelihood(excess(candidates, small)) * (1 - thin * is_next),
            # Without noise, distances leave no doubt of a thin direction.
            "below_clear": likelihood(excess(small, candidates)) * clear,
            "beyond_noisy": excess(candidates, least) * (1 - clear),
            "below_lowest": likelihood(excess(self.lowest[:, None], candidates)),
            "rank": equals(self.rank),
            "agreement": agrees(self.rank, self.ratio, self.ratio),
            # Noise can explain the difference.
            "within": agrees(self.rank, self.lowest, self.ratio),
            "fall": equals(self.rank) * np.clip(np.log1p(self.fall), 0, MOST_FALL)[:, None],
            "curved": np.clip(growth - 1, 0, 1),
            "smooth": equals(self.rank) * (known - thin),
            "thin": equals(self.rank) * thin,
            "even": equals(self.rank) * noisy * evenness,
            "uneven": equals(self.rank) * noisy * (1 - evenness),
            "bound_reached": holds * equals(self.bound) * (candidates <= (1 + CLOSE) * small),
            "beyond_bound": holds * (candidates > self.bound[:, None]),
            "ratio": is_ratio,
        }

    def posterior(self, usual: DoubleArray = ANY) -> tuple[DoubleArray, DoubleArray]:
        """Return the median of the dimensions that are possible, and its standard error.

        Parameters
        ----------
        usual : ndarray of shape (n_dimensions,), default=array([0.])
            How usual each dimension is in the data, as of `usual`.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The posterior median.

        std : ndarray of shape (n_samples,)
            The standard error that corresponds to the posterior probability of an error under half
            a dimension. What is usual makes no sample surer, because the reasons for a mistake are
            mostly the same for all samples.
        """
        candidates = self.candidates()
        factors = self.factors(FACTORS)
        return posterior(candidates, self.features(candidates), WEIGHTS, factors, usual)

    def factors(self, factors: DoubleArray) -> DoubleArray:
        """Return factors of the log-odds of standard errors.

        Parameters
        ----------
        factors : array-like of shape (2,)
            The factors of samples without noise, and of samples with noise.

        Returns
        -------
        ndarray of shape (n_samples,)
            A factor for each sample.
        """
        # By squares: a little noise is noise.
        noiseless = np.square(self.clear)
        return np.asarray(np.transpose([noiseless, 1 - noiseless]) @ factors)

    def usual(self) -> DoubleArray:
        """Return how usual each whole number is as the dimension of these samples.

        The dimension of a sample then has the mean distribution over all samples as its prior, an
        empirical Bayes estimate: H. Robbins, "An empirical Bayes approach to statistics", Berkeley
        Symposium on Mathematical Statistics and Probability 3, 1956.

        Returns
        -------
        ndarray of shape (n_dimensions,)
            Logarithms of the shares of the dimensions 0, 1, 2, ..., as if there were one more
            sample, of which nothing is known. The last is for all larger dimensions.
        """
        candidates = self.candidates()
        probability = softmax(_logits(candidates, self.features(candidates), WEIGHTS), axis=1)
        nearest = _nearest(candidates)
        counts = np.bincount(nearest.ravel(), probability.ravel(), nearest.max(initial=0) + 2)
        shares: DoubleArray = np.log((counts + 1 / len(counts)) / (len(candidates) + 1))
        return shares


def _nearest(candidates: DoubleArray) -> Any:
    return np.nan_to_num(np.rint(candidates)).astype(int)


def _logits(
    candidates: DoubleArray, features: Mapping[str, DoubleArray], weights: Mapping[str, float]
) -> DoubleArray:
    logits = sum(weight * features[name] for name, weight in weights.items())
    return np.where(np.isnan(candidates), -np.inf, logits)


def posterior(
    candidates: DoubleArray,
    features: Mapping[str, DoubleArray],
    weights: Mapping[str, float],
    factors: DoubleArray,
    usual: DoubleArray = ANY,
) -> tuple[DoubleArray, DoubleArray]:
    """Return the medians of distributions over candidates, and their standard errors.

    Parameters
    ----------
    candidates : ndarray of shape (n_samples, n_candidates)
        Dimensions; NaN after the candidates of a sample.

    features : mapping of str to ndarray of shape (n_samples, n_candidates)
        What each measurement says about each candidate.

    weights : mapping of str to float
        Weights of the measurements.

    factors : ndarray of shape (n_samples,)
        Factors of the log-odds of standard errors.

    usual : ndarray of shape (n_dimensions,), default=array([0.])
        How usual each dimension is, as of `Evidence.usual`.

    Returns
    -------
    dimension : ndarray of shape (n_samples,)
        The posterior median.

    std : ndarray of shape (n_samples,)
        The standard error, as of `Evidence.posterior`.
    """
    logits = _logits(candidates, features, weights)
    prior = usual[np.minimum(_nearest(candidates), len(usual) - 1)]
    probability = softmax(logits + prior, axis=1)
    order = np.argsort(candidates, axis=1, kind="stable")
    cumulative = np.take_along_axis(probability, order, axis=1).cumsum(axis=1)
    middle = np.minimum((cumulative < 0.5).sum(axis=1), len(candidates.T) - 1)[:, None]
    dimension = np.take_along_axis(candidates, np.take_along_axis(order, middle, 1), 1)
    probability = softmax(factors[:, None] * logits, axis=1)
    right = (probability * (np.abs(candidates - dimension) <= 0.5)).sum(axis=1)
    return dimension[:, 0], np.sqrt(1 / np.clip(right, TINY, 1) - 1)


def standard_error(errors: Mapping[str, DoubleArray]) -> DoubleArray:
    """Return the standard errors of dimensions from their independent parts.

    Parameters
    ----------
    errors : mapping of str to ndarray of shape (n_samples,)
        Standard errors by reason; NaN where they are unknown.

    Returns
    -------
    ndarray of shape (n_samples,)
        Roots of the sums of squares.
    """
    return np.sqrt(np.square(list(errors.values())).sum(axis=0))


def probability_right(std: DoubleArray) -> DoubleArray:
    """Return the probabilities that errors are under half a dimension.

    Parameters
    ----------
    std : ndarray of shape (n_samples,)
        Standard errors; NaN where they are unknown.

    Returns
    -------
    ndarray of shape (n_samples,)
        Probabilities, ``1 / (1 + std ** 2)``; NaN where they are unknown.
    """
    return np.asarray(1 / (1 + np.square(std)))
