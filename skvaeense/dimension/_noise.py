"""The noise of samples: its variance, and the directions that stand above it."""

import numpy as np

from skvaeense.mixture._covariance import ABOVE, edge
from skvaeense.utils._linalg import principal_directions
from skvaeense.utils._records import Kept
from skvaeense.utils._rows import MANY_ROWS

# Share of samples that counts as few, and share of measurements that may be wrong.
RARELY = 0.01


def fair_share(share, rank, n_samples):
    """Return the share of the largest variance to which equal variances can fall, at most `share`.

    Few samples make equal variances unequal, by the law of Marchenko and Pastur.

    Parameters
    ----------
    share : float
        The share for many samples.

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
    """Return the median noise variance of groups of samples, each with directions of its own.

    The noise of groups in which it cannot be measured counts as 0.
    """
    return float(np.median([_measure(group)["noise"] for group in groups]))


class NoiseFloor(Kept):
    """Estimate the noise of samples from their variances.

    The smallest variances of a group of samples are noise as far as the law of Marchenko and Pastur
    explains them by one noise variance [1]_. Directions with larger variances stand above the
    noise. The noise cannot be measured if fewer than eight directions are left, or if not all other
    directions stand clearly above it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples, in random order.

    groups : ndarray of int of shape (n_samples,)
        Group of each sample; different groups may lie around different points.

    Attributes
    ----------
    variance : float
        Variance of the noise in each direction; 0 if it cannot be measured.

    most : float
        Upper bound on the noise variance, from the smallest variance.

    seen : bool
        Whether there may be noise, measured or not.

    References
    ----------
    .. [1] S. Kritchman and B. Nadler (2009). Non-parametric detection of the number of signals:
       hypothesis testing and random matrix theory. IEEE Transactions on Signal Processing 57.
    """

    def __init__(self, X, groups):
        self._groups = {int(k): _measure(X[groups == k][:MANY_ROWS]) for k in np.unique(groups)}
        measured = list(self._groups.values())
        told = [group for group in measured if group["noise"] > 0]
        self.variance = _mean(told, "noise")
        self.most = max(self.variance, _mean(measured, "smallest"))
        self.seen = any(group["seen"] for group in measured)

    def take_off(self, X, groups):
        """Return samples projected onto the directions that stand above the noise.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        groups : ndarray of int of shape (n_samples,)
            Groups of the samples.

        Returns
        -------
        points : ndarray of shape (n_samples, n_features)
            Projections; the samples themselves in groups whose noise cannot be measured.

        n_directions : ndarray of shape (n_samples,)
            Number of directions with remaining noise.
        """
        points, n_directions = X.copy(), np.full(len(X), X.shape[1])
        for k, group in self._groups.items():
            rows = groups == k
            if group["noise"] > 0:
                mean, directions = group["mean"], group["directions"]
                points[rows] = mean + (X[rows] - mean) @ directions.T @ directions
                n_directions[rows] = len(directions)
        return points, n_directions


def _measure(X, least_bulk=8):
    """Return the mean of a group, the directions that stand above the noise, and the noise.

    A bulk of fewer directions can also come from a few manifolds.
    """
    n_samples, n_features = X.shape
    mean = X.mean(axis=0)
    variances, directions = principal_directions(X - mean)
    # Entry r: the mean of all variances after the first r.
    left = n_features - np.arange(len(variances))
    rest = np.cumsum(variances[::-1])[::-1] / left
    bulk = variances <= edge(rest, left, n_samples)
    rank = int(bulk.argmax()) if bulk.any() else n_features
    seen = 0 < rank <= n_features - least_bulk and n_samples > 1 and rest[rank] > 0
    # Otherwise the supposed noise can also be directions with slightly less variance.
    told = seen and variances[rank - 1] > ABOVE * edge(rest[rank], left[rank], n_samples)
    # Noise that outweighs everything else is a part of the set.
    told = told and 2 * rest[rank] * n_features < variances.sum()
    return {
        "n_samples": n_samples,
        "mean": mean,
        "directions": directions[:rank],
        "noise": float(rest[rank]) if told else 0.0,
        "seen": bool(seen),
        # With no more samples than features, some direction has no variance.
        "smallest": float(variances[-1]) if n_samples > n_features else 0.0,
    }


def _mean(measured, name):
    """Return the mean over groups, weighted by their numbers of samples; 0 without groups."""
    weights = [group["n_samples"] for group in measured]
    return float(np.average([g[name] for g in measured], weights=weights)) if measured else 0.0
