"""The number of directions of samples that do not follow from other directions."""

import numpy as np

from skvaeense.dimension._scaling import NEAREST
from skvaeense.mixture._covariance import ABOVE
from skvaeense.utils._linalg import EXACT, TINY


def clear_rank(points, n_features, noise=np.inf, least=1.0):
    """Return the number of directions that no others predict; 0 if it is not clear.

    The number is clear under two conditions. First, it is the same for all points and for their
    nearest quarter, or half. Second, variances fall sharply after the last direction, or its
    variance is much larger than the noise variance.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_features)
        A pool without noise, the nearest point first.

    n_features : int
        Dimension of the space.

    noise : float, default=inf
        The largest variance that noise may have in a direction. A rank that fills the space is
        clear only if the last direction has a clearly larger variance.

    least : float, default=1.0
        The smallest number that is plausible. A smaller one counts as not clear.

    Returns
    -------
    float
        The number of directions.
    """
    # A polynomial of second degree in r directions has (r + 1)(r + 2) / 2 terms. Half of the
    # points must be at least two for each term.
    if len(points) < NEAREST or (least + 1) * (least + 2) > len(points) // 2:
        return 0.0
    points = points - points.mean(axis=0)
    size = np.abs(points).max()
    if size == 0:
        return 0.0
    # A singular value decomposition can fail to converge.
    points, noise = points / size, noise / size**2
    if points.shape[1] > len(points):
        variances, turned = np.linalg.eigh(points @ points.T)
        coordinates = turned * np.sqrt(np.maximum(variances, 0.0))
    else:
        variances, directions = np.linalg.eigh(points.T @ points)
        coordinates = points @ directions
    coordinates = coordinates[:, variances > max(EXACT * variances[-1], TINY)][:, ::-1]
    for part in (NEAREST, 2):
        nearest = residual_rank(coordinates[: len(points) // part], n_features, noise)
        if not np.isnan(nearest[0]):
            break
    rank, is_clear = nearest
    # Most pools already fail in their nearest part, which costs less than the whole pool.
    if is_clear and rank >= least and residual_rank(coordinates, n_features, noise) == nearest:
        return rank
    return 0.0


def residual_rank(points, n_features, noise=np.inf, clearly=50.0):
    """Return the number of directions that no others predict, and whether it is clear.

    On a manifold of dimension r, r coordinates determine all others, nearly as polynomials of
    second degree if samples are near one another. So the direction in which points extend farthest
    is the first dimension. The direction of the residuals of a polynomial in the first coordinate
    is the second dimension, and so on, as long as residuals are larger than the rest of the
    curvature. If terms of second degree explain a share s of the variance, this rest is about s
    squared. So thin directions count, and curvature does not.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_coordinates)
        Principal coordinates.

    n_features : int
        Dimension of the space.

    noise : float, default=inf
        The largest variance that noise may have in a direction. A rank that fills the space is
        clear only if the last direction has a clearly larger variance.

    clearly : float, default=50.0
        Factor by which variances must fall after the last direction for a clear number of them.

    Returns
    -------
    rank : float
        Number of directions; NaN if there are too few points.

    clear : bool
        Whether residuals fall sharply after the last direction.
    """
    n = len(points)
    rest = points - points.mean(axis=0)
    basis = np.full((n, 1), 1 / np.sqrt(n))
    directions: list[np.ndarray] = []
    products: list[np.ndarray] = []
    linear = bent = last = first = 0.0
    for rank in range(n_features):
        left = np.square(rest).sum(axis=0) / max(n - basis.shape[1], 1)
        best = left.argmax()
        variance, first = left[best], first or left[best]
        remainder = bent**2 / max(linear, TINY)
        if rank and variance <= EXACT * first:
            return float(rank), True
        if rank and variance <= ABOVE * remainder:
            return float(rank), bool(last > clearly * max(variance, remainder))
        if first <= TINY:
            break
        new = rest[:, best] / np.sqrt(np.square(rest[:, best]).mean())
        squares = [new * other for other in (*directions, new)]
        directions, products = [*directions, new], products + squares
        columns = [new, *squares]
        # Each product times the new direction is a term of third degree.
        if NEAREST * (basis.shape[1] + len(columns) + len(products)) <= n // 2:
            columns += [new * other for other in products]
        n_plain, terms = len(squares) + 1, np.column_stack(columns)
        # At least as many degrees of freedom as terms must be left.
        if 2 * (basis.shape[1] + terms.shape[1]) > n:
            return np.nan, False
        for _ in range(2):
            terms -= basis @ (basis.T @ terms)
        terms, triangle = np.linalg.qr(terms)
        size = np.abs(np.diag(triangle))
        terms[:, size <= np.sqrt(EXACT) * size[0]] = 0.0
        explained = terms.T @ rest
        rest = rest - terms @ explained
        basis = np.hstack([basis, terms])
        gains = np.square(explained).sum(axis=1) / n
        linear, bent, last = linear + gains[0], bent + gains[1:n_plain].sum(), variance
    remainder = bent**2 / max(linear, TINY)
    return float(n_features), bool(last > clearly * max(noise, remainder))
