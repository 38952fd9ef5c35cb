"""The dimension from the growth of the number of neighbours with the distance."""

from functools import lru_cache

import numpy as np
from scipy.special import digamma
from sklearn.neighbors import NearestNeighbors

from skvaeense.utils._records import Kept

# The nearest quarter of a pool, or of the neighbours whose distances are compared.
NEAREST = 4
# Neighbours whose distances are compared with the distance of a neighbour in the nearest quarter.
SCALES = NEAREST, NEAREST**2, NEAREST**3
# With enough samples, the next scale shows what noise hides at smaller scales.
LARGEST = NEAREST * max(SCALES)
# Number of points in balls that are queried, and number of members of each point's pool.
N_QUERIES = 35
# A rank is believed if it is this near to the estimate by distances.
NEAR = 0.3


def inverse_dimensions(distances, k, alike=None):
    """Return an unbiased estimate of 1 / dimension for each sample.

    If samples are spread evenly in a set of dimension r, the distances R_a and R_b to the
    neighbours a and b satisfy, with the digamma function psi, ::

        E log(R_b / R_a) = (psi(b) - psi(a)) / r

    Here b is k, and a is a quarter of k.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_neighbors)
        Ascending distances to the nearest other samples, at least k of them.

    k : int
        The farther of the two neighbours; at least 4.

    alike : ndarray of bool of shape (n_samples, n_neighbors) or None, default=None
        Which samples count as neighbours; None means all.

    Returns
    -------
    ndarray of shape (n_samples,)
        Estimates; NaN if the nearer neighbour is at distance 0, or fewer than k samples count.

    References
    ----------
    F. Denti, D. Doimo, A. Laio and A. Mira, "The generalized ratios intrinsic dimension
    estimator", Scientific Reports 12, 2022.
    """
    rank = np.cumsum(np.ones(distances.shape) if alike is None else alike, axis=1)
    near, far = (_first(distances, rank >= wanted) for wanted in (k // NEAREST, k))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(far / near)
    return np.where(near > 0, ratio, np.nan) / (digamma(k) - digamma(k // NEAREST))


def mean_dimension(distances, k):
    """Return the mean dimension of samples, and its relative error; NaN if unknown.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_neighbors)
        Ascending distances to the nearest other samples, at least k of them.

    k : int
        The farther of the two neighbours that are compared.

    Returns
    -------
    dimension : float
        The dimension, not corrected for the number of samples.

    error : float
        Standard error, as a share of the dimension.
    """
    inverses = inverse_dimensions(distances, k)
    inverses = inverses[np.isfinite(inverses)]
    if len(inverses) == 0 or inverses.mean() <= 0:
        return np.nan, np.nan
    return 1 / inverses.mean(), inverses.std() / inverses.mean() / np.sqrt(len(inverses))


def _first(distances, reached):
    """Return the first marked distance of each row; NaN if there is none."""
    first = np.take_along_axis(distances, reached.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(reached.any(axis=1), first, np.nan)


class Calibration(Kept):
    """Correct dimensions for the number of samples, on balls whose dimension is known.

    Few samples of a high-dimensional set are far apart, and many lie at its boundary: estimates
    fall short, whatever the set. In addition, a pool of a sample's neighbours has more samples from
    the middle of the set than from its boundary. The same estimate is made with the same number of
    points drawn from balls of 1, 2, 4, ... dimensions, and its inverse is interpolated in
    logarithms.

    Parameters
    ----------
    n_samples : int
        Number of samples among which neighbours are searched.

    n_neighbors : int
        Size of the pools whose estimates are averaged.

    n_features : int
        Dimension of the space, beyond which no ball is measured.

    Attributes
    ----------
    scales : list of int
        The scales of pools of this size.

    estimates : list of list of float
        For each scale, the estimates for the balls measured so far.
    """

    def __init__(self, n_samples, n_neighbors, n_features):
        self.n_samples = n_samples
        self.n_neighbors = n_neighbors
        # Balls have 1, 2, 4, ... dimensions.
        self.n_balls = (2 * n_features - 1).bit_length()
        # Similar neighbours are searched among twice as many: half of them must be similar.
        scales = (*SCALES, LARGEST)
        self.scales = [k for k in scales if k == SCALES[0] or 2 * k <= n_neighbors]
        self.estimates = [[] for _ in self.scales]

    def correct(self, dimensions, scale):
        """Return corrected dimensions.

        Parameters
        ----------
        dimensions : ndarray
            Estimates at a scale.

        scale : int
            Index of the scale.

        Returns
        -------
        ndarray
            Dimensions of the balls that would give these estimates.
        """
        estimates = self.estimates[scale]
        while len(estimates) < self.n_balls and (not estimates or estimates[-1] < dimensions.max()):
            self._measure(2 ** len(estimates))
        measured = np.maximum.accumulate(estimates)
        balls = np.log(2) * np.arange(len(measured))
        # Beyond the last ball, the correction of the last ball is kept.
        correction = np.interp(np.log(dimensions), np.log(measured), balls - np.log(measured))
        return dimensions * np.exp(correction)

    def _measure(self, dimension):
        """Add the estimates for a ball of this dimension."""
        found = _ball_estimates(self.n_samples, self.n_neighbors, dimension, tuple(self.scales))
        for estimate, estimates in zip(found, self.estimates, strict=True):
            estimates.append(estimate)


# A fit measures the same balls several times.
@lru_cache(maxsize=64)
def _ball_estimates(n_samples, n_neighbors, dimension, scales):
    """Return the estimates for a ball of this dimension at all scales."""
    random_state = np.random.default_rng(0)
    points = random_state.standard_normal((n_samples, dimension))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points *= random_state.random((n_samples, 1)) ** (1 / dimension)
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points)
    pools = search.kneighbors(points[:N_QUERIES], return_distance=False)
    # Take some members from everywhere between the middle of a pool and its boundary.
    members = pools[:, :: max(1, n_neighbors // N_QUERIES)].ravel()
    distances = search.kneighbors(points[members], n_neighbors=scales[-1] + 1)[0][:, 1:]
    return [float(1 / inverse_dimensions(distances, k).mean()) for k in scales]
