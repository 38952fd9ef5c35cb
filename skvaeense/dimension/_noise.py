"""The noise of samples: its variance, and the directions that stand above it."""

import numpy as np

# A bulk of fewer directions than this can be that of a few manifolds as well.
LEAST_BULK = 8
# How many times the edge of the bulk a direction stands clearly above it with.
ABOVE = 2.0
# Samples from which directions are measured.
MAX_ROWS = 5000
# Share that is few: of samples, or of measurements, any of which may be wrong.
RARELY = 0.01


def edge(noise_variance, n_directions, n_samples):
    """Return the largest variance that noise has in some direction of a sample.

    It is `bulk_edge`, and two of the standard deviations by which few samples miss it [1]_.

    Parameters
    ----------
    noise_variance : float or ndarray
        Variance of the noise in each direction.

    n_directions : int or ndarray
        Number of directions.

    n_samples : int
        Number of samples.

    Returns
    -------
    float or ndarray
        The largest variance.

    References
    ----------
    .. [1] I. Johnstone (2001). On the distribution of the largest eigenvalue in principal
       components analysis. Annals of Statistics 29.
    """
    rows, columns = np.sqrt(n_samples), np.sqrt(np.maximum(n_directions, 1))
    width = (rows + columns) * np.cbrt(1 / rows + 1 / columns) / n_samples
    return bulk_edge(noise_variance, n_directions, n_samples) + 2 * noise_variance * width


def bulk_edge(noise_variance, n_directions, n_samples):
    """Return the largest variance of noise by the law of Marchenko and Pastur [1]_.

    Parameters
    ----------
    noise_variance : float or ndarray
        Variance of the noise in each direction.

    n_directions : int or ndarray
        Number of directions.

    n_samples : int
        Number of samples.

    Returns
    -------
    float or ndarray
        The edge of the bulk.

    References
    ----------
    .. [1] V. Marchenko and L. Pastur (1967). Distribution of eigenvalues for some sets of random
       matrices. Mathematics of the USSR-Sbornik 1.
    """
    return noise_variance * (1 + np.sqrt(n_directions / n_samples)) ** 2


def fair_share(share, rank, n_samples):
    """Return the share of the largest variance that equal ones may fall to, or a given one if less.

    Few samples make equal variances unequal, by the law of Marchenko and Pastur.

    Parameters
    ----------
    share : float
        The share if there were many samples.

    rank : int
        Number of equal variances.

    n_samples : int
        Number of samples.

    Returns
    -------
    float
        At most `share`.
    """
    width = min(np.sqrt(rank / n_samples), 1.0)
    return min(share, 0.5 * ((1 - width) / (1 + width)) ** 2)


def typical_noise(groups):
    """Return the noise variance of groups of samples, and whether there may be any.

    Parameters
    ----------
    groups : list of ndarray of shape (n_samples, n_features)
        Samples; each group may vary in other directions.

    Returns
    -------
    variance : float
        The median over groups, where 0 stands for those that cannot tell.

    seen : bool
        Whether at least half of them may have noise, told or not, or directions are too few for it
        to be seen beside others.
    """
    measured = [_measure(group) for group in groups]
    seen = np.mean([group["seen"] for group in measured]) >= 0.5
    few = groups[0].shape[1] < 2 * LEAST_BULK
    return float(np.median([group["noise"] for group in measured])), bool(seen or few)


class NoiseFloor:
    """Tell the noise of samples from what they vary by.

    The smallest variances of a group of samples are noise as far as the law of Marchenko and Pastur
    explains them by one noise variance [1]_. Directions with more stand above the noise. There is
    no telling if fewer than eight directions are left, or unless all others stand clearly above.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in random order.

    groups : ndarray of int of shape (n_samples,)
        Samples of different groups may lie around different points.

    Attributes
    ----------
    variance : float
        Variance of the noise in each direction; 0 if it cannot be told.

    most : float
        What it is at most, as the smallest variance.

    seen : bool
        Whether there may be noise, told or not.

    References
    ----------
    .. [1] S. Kritchman and B. Nadler (2009). Non-parametric detection of the number of signals:
       hypothesis testing and random matrix theory. IEEE Transactions on Signal Processing 57.
    """

    def __init__(self, X, groups):
        self._groups = {int(k): _measure(X[groups == k][:MAX_ROWS]) for k in np.unique(groups)}
        measured = list(self._groups.values())
        told = [group for group in measured if group["noise"] > 0]
        self.variance = _mean(told, "noise")
        self.most = max(self.variance, _mean(measured, "smallest"))
        self.seen = any(group["seen"] for group in measured)

    def take_off(self, X, groups):
        """Return samples without their noise in directions that do not stand above it.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        groups : ndarray of int of shape (n_samples,)
            Their groups.

        Returns
        -------
        points : ndarray of shape (n_samples, n_features)
            Projections; the samples themselves in groups where noise cannot be told.

        n_directions : ndarray of shape (n_samples,)
            Number of directions that noise is left in.
        """
        points, n_directions = X.copy(), np.full(len(X), X.shape[1])
        for k, group in self._groups.items():
            rows = groups == k
            if group["noise"] > 0:
                mean, directions = group["mean"], group["directions"]
                points[rows] = mean + (X[rows] - mean) @ directions.T @ directions
                n_directions[rows] = len(directions)
        return points, n_directions


def _measure(X):
    """Return what is known of a group: its mean, what stands above the noise, and the noise."""
    n_samples, n_features = X.shape
    mean = X.mean(axis=0)
    variances, directions = _principal(X - mean)
    # Entry r: the mean of all variances after the first r.
    left = n_features - np.arange(len(variances))
    rest = np.cumsum(variances[::-1])[::-1] / left
    bulk = variances <= edge(rest, left, n_samples)
    rank = int(bulk.argmax()) if bulk.any() else n_features
    seen = 0 < rank <= n_features - LEAST_BULK and n_samples > 1 and rest[rank] > 0
    # Else what is taken for noise can as well be directions with a little less variance.
    told = seen and variances[rank - 1] > ABOVE * edge(rest[rank], left[rank], n_samples)
    return {
        "n_samples": n_samples,
        "mean": mean,
        "directions": directions[:rank],
        "noise": float(rest[rank]) if told else 0.0,
        "seen": bool(seen),
        "smallest": float(variances[-1]),
    }


def _mean(measured, name):
    """Return the mean over groups, by their samples; 0 if there are none."""
    weights = [group["n_samples"] for group in measured]
    return float(np.average([g[name] for g in measured], weights=weights)) if measured else 0.0


def _principal(X):
    """Return variances, falling, and directions, by the smaller matrix of products."""
    if len(X) < X.shape[1]:
        _, singular, directions = np.linalg.svd(X, full_matrices=False)
        return np.square(singular) / len(X), directions
    variances, directions = np.linalg.eigh(X.T @ X / len(X))
    return np.maximum(variances[::-1], 0.0), directions.T[::-1]
