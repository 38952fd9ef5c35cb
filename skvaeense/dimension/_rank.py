"""The number of directions of samples, above their noise and by equations."""

import numpy as np

from skvaeense.mixture._em import ABOVE, edge
from skvaeense.utils._linalg import EXACT, TINY, principal_directions
from skvaeense.utils._records import Kept
from skvaeense.utils._rows import MANY_ROWS, SOME_ROWS, row_blocks

# Share of samples that counts as few, and share of measurements that may be wrong.
RARELY = 0.01


def fair_share(share, rank, n_samples):
    """Return the share of the largest variance to which equal variances can fall, at most `share`.

    Few samples make equal variances unequal, by the law of Marchenko and Pastur.

    Parameters
    ----------
    share : float
        The share for many samples.

    rank : float or ndarray
        Number of equal variances.

    n_samples : int
        Number of samples.

    Returns
    -------
    float or ndarray
        At most `share`.
    """
    width = np.minimum(np.sqrt(rank / n_samples), 1.0)
    return np.minimum(share, 0.5 * ((1 - width) / (1 + width)) ** 2)


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
        The smallest variance of the samples.

    limit : float
        Upper bound on the noise variance, from the smallest variance; infinite if all groups have
        too few samples.

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
        self.variance = _mean([group for group in measured if group["noise"] > 0], "noise")
        self.most = max(self.variance, _mean(measured, "smallest"))
        # All groups have the same noise, so those with enough samples limit it.
        enough = [group for group in measured if np.isfinite(group["limit"])]
        self.limit = _mean(enough, "limit") if enough else np.inf
        self.seen = any(group["seen"] for group in measured)

    @property
    def has_groups(self):
        """Whether there are several groups."""
        return len(self._groups) > 1

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


def _measure(X):
    """Return the mean of a group, the directions that stand above the noise, and the noise.

    A bulk of fewer than eight directions can also come from a few manifolds.
    """
    n_samples, n_features = X.shape
    mean = X.mean(axis=0)
    variances, directions = principal_directions(X - mean)
    # Entry r: the mean of all variances after the first r.
    left = n_features - np.arange(len(variances))
    rest = np.cumsum(variances[::-1])[::-1] / left
    bulk = variances <= edge(rest, left, n_samples)
    rank = int(bulk.argmax()) if bulk.any() else n_features
    seen = 0 < rank <= n_features - 8 and n_samples > 1 and rest[rank] > 0
    # Otherwise the supposed noise can also be directions with slightly less variance.
    told = seen and variances[rank - 1] > ABOVE * edge(rest[rank], left[rank], n_samples)
    # Noise that outweighs everything else is a part of the set.
    told = told and 2 * rest[rank] * n_features < variances.sum()
    # With no more samples than features, some direction has no variance.
    enough = n_samples > n_features
    smallest = float(variances[-1]) if enough else 0.0
    return {
        "n_samples": n_samples,
        "mean": mean,
        "directions": directions[:rank],
        "noise": float(rest[rank]) if told else 0.0,
        "seen": bool(seen),
        "smallest": smallest,
        # The smallest variance of noise falls to this share, by the law of Marchenko and Pastur.
        "limit": smallest / (1 - np.sqrt(n_features / n_samples)) ** 2 if enough else np.inf,
    }


def _mean(measured, name):
    """Return the mean over groups, weighted by their numbers of samples; 0 without groups."""
    weights = [group["n_samples"] for group in measured]
    return float(np.average([g[name] for g in measured], weights=weights)) if measured else 0.0


# Factor by which the errors of equations must be smaller than the variances of all others.
GAP = 10.0
# Squares count if they are at least this multiple of their part due to noise.
CLEAR = 4.0
# FLAT is the share of the largest variance under which a direction counts as curvature or noise,
# the share of its squared distance by which a sample can be off a flat, relative to chance, and the
# share of the largest gradient under which a gradient is an error.
FLAT = 0.1


class Quadrics(Kept):
    """Equations of second degree that hold on samples, up to noise.

    Spheres, tori, matrices of low rank, orthogonal frames, joints at fixed distances and unions of
    two subspaces are examples of sets that satisfy such equations [1]_. At a sample, the gradients
    of the equations span the directions that leave the set. So the dimension is at most the number
    of all directions minus the rank of the gradients. This number is exact, however far apart the
    samples are.

    An equation p holds up to noise of variance g if ``E p(x)^2 = g E ||grad p(x)||^2``. In
    principal coordinates, the gradients of different monomials are uncorrelated. So the equations
    are the principal components with the least variance, of monomials that are divided by the root
    mean square of their gradients. All true equations have the variance g.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_features)
        Samples, as free of noise as possible.

    Attributes
    ----------
    n_directions : int
        Number of directions in which points vary.

    n_equations : int
        Number of equations that hold. 0 also if there are too few points to tell.

    References
    ----------
    .. [1] R. Vidal, Y. Ma and S. Sastry (2005). Generalized principal component analysis (GPCA).
       IEEE Transactions on Pattern Analysis and Machine Intelligence 27.
    """

    n_directions: int
    n_equations: int

    def __init__(self, points):
        self._mean = points.mean(axis=0)
        variances, directions = principal_directions(points - self._mean)
        n_kept = int((variances > EXACT * variances[0]).sum())
        level = self._fit(points, variances[:n_kept], directions[:n_kept])
        if self.n_equations and variances[n_kept - 1] <= GAP * level:
            # One of the equations is that a direction is thin. If noise fills all directions, the
            # thin ones are noise. Otherwise, there is no noise, and they are a part of the set.
            self.n_equations = 0
            n_wide = _widest_gap(variances)
            if n_kept == points.shape[1] and n_wide < n_kept:
                self._fit(points, variances[:n_wide], directions[:n_wide])

    def _fit(self, points, variances, directions):
        """Find equations along principal directions, and return the largest of their errors.

        By the law of Marchenko and Pastur, chance alone leaves no gap between the variances of
        combinations of terms if there are two samples for each coefficient.
        """
        self.n_directions, self.n_equations = len(variances), 0
        self._scale = np.sqrt(variances.mean())
        self._directions = directions.T / self._scale
        n_terms = (self.n_directions + 1) * (self.n_directions + 2) // 2
        if 2 * n_terms > min(len(points), SOME_ROWS) or (points == points[0]).all():
            return 0.0
        coordinates = (points - self._mean) @ self._directions
        variances = variances / self._scale**2
        first, second = np.triu_indices(self.n_directions)
        products = coordinates[:, first] * coordinates[:, second]
        slopes = np.sqrt((variances[first] + variances[second]) * (1 + (first == second)))
        terms = np.hstack([coordinates, products / slopes])
        errors, equations = principal_directions(terms - terms.mean(axis=0))
        # Rounding limits the precision of the smallest.
        errors = np.maximum(errors, EXACT**2 * errors[0])
        self.n_equations = len(errors) - _widest_gap(errors)
        if self.n_equations:
            chosen = equations[-self.n_equations :]
            self._linear = chosen[:, : self.n_directions]
            self._forms = np.zeros((self.n_equations, self.n_directions, self.n_directions))
            self._forms[:, first, second] = chosen[:, self.n_directions :] / slopes
            self._forms += self._forms.transpose(0, 2, 1)
            # Noise also turns gradients.
            turned = np.tensordot(self._forms, self._forms, axes=([0, 1], [0, 1]))
            self._error = float(errors[-self.n_equations] * np.linalg.eigvalsh(turned)[-1])
        # In units of the points.
        return errors[-max(self.n_equations, 1)] * self._scale**2

    def dimensions(self, points):
        """Return the number of directions at points in which no equation changes.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        Returns
        -------
        ndarray of shape (n_points,)
            Dimensions; infinite if there are no equations.
        """
        if self.n_equations == 0:
            return np.full(len(points), np.inf)
        dimensions = np.empty(len(points))
        for some in row_blocks(len(points), self._linear.size, self.n_directions**2):
            x = (points[some] - self._mean) @ self._directions
            gradients = self._linear + np.tensordot(x, self._forms, axes=(1, 2))
            steepness = np.linalg.eigvalsh(gradients.transpose(0, 2, 1) @ gradients)
            least = np.maximum(FLAT**2 * steepness[:, -1], TINY)
            n_normal = (steepness > least[:, None]).sum(axis=1)
            weakest = np.take_along_axis(steepness, -np.maximum(n_normal, 1)[:, None], axis=1)
            hidden = (n_normal > 0) & (weakest[:, 0] <= CLEAR * self._error)
            dimensions[some] = np.where(hidden, np.inf, self.n_directions - n_normal)
        return dimensions


def _widest_gap(variances):
    """Return the number of variances before the widest gap; all of them if none is wide.

    The variances after the gap must be alike, since noise is the same in all directions.
    """
    gaps = variances[:-1] / np.maximum(variances[1:], TINY)
    if len(gaps) and gaps.max() > GAP and variances[gaps.argmax() + 1] <= GAP * variances[-1]:
        return int(gaps.argmax()) + 1
    return len(variances)
