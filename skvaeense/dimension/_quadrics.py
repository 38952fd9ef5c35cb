"""Equations of second degree that hold on samples, and the dimension that they leave."""

import numpy as np

from skvaeense.utils._linalg import EXACT, TINY, principal_directions
from skvaeense.utils._records import Kept
from skvaeense.utils._rows import SOME_ROWS

# Factor by which the errors of equations must be smaller than the variances of all others.
GAP = 10.0
# Squares count if they are at least this multiple of their part due to noise.
CLEAR = 4.0


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

    def _fit(self, points, variances, directions, rows_per_term=2):
        """Find equations along principal directions, and return the largest of their errors.

        By the law of Marchenko and Pastur, chance alone leaves no gap between the variances of
        combinations of terms if there are `rows_per_term` samples for each coefficient.
        """
        self.n_directions, self.n_equations = len(variances), 0
        self._scale = np.sqrt(variances.mean())
        self._directions = directions.T / self._scale
        n_terms = (self.n_directions + 1) * (self.n_directions + 2) // 2
        few = rows_per_term * n_terms > min(len(points), SOME_ROWS)
        if few or (points == points[0]).all():
            return 0.0
        coordinates, variances = self._coordinates(points), variances / self._scale**2
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

    def _coordinates(self, points):
        return (points - self._mean) @ self._directions

    def dimensions(self, points, normal=0.1):
        """Return the number of directions at points in which no equation changes.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        normal : float, default=0.1
            Share of the largest gradient at a point below which a gradient is an error.

        Returns
        -------
        ndarray of shape (n_points,)
            Dimensions; infinite if there are no equations.
        """
        if self.n_equations == 0:
            return np.full(len(points), np.inf)
        dimensions = np.empty(len(points))
        for i, x in enumerate(self._coordinates(points)):
            gradients = self._linear + self._forms @ x
            steepness = np.linalg.eigvalsh(gradients.T @ gradients)
            n_normal = np.count_nonzero(steepness > max(normal**2 * steepness[-1], TINY))
            hidden = n_normal and steepness[-n_normal] <= CLEAR * self._error
            dimensions[i] = np.inf if hidden else self.n_directions - n_normal
        return dimensions


def _widest_gap(variances):
    """Return the number of variances before the widest gap; all of them if none is wide.

    The variances after the gap must be alike, since noise is the same in all directions.
    """
    gaps = variances[:-1] / np.maximum(variances[1:], TINY)
    if len(gaps) and gaps.max() > GAP and variances[gaps.argmax() + 1] <= GAP * variances[-1]:
        return int(gaps.argmax()) + 1
    return len(variances)
