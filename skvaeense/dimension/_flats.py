"""Flats near samples, which separate neighbours on a sample's own manifold from all others."""

import numpy as np

from skvaeense.dimension._noise import fair_share
from skvaeense.utils._linalg import TINY

# A flat is fitted to this number of the nearest members of a pool, and tested on the same number of
# others.
N_MEMBERS = 24
# FLAT is the share of the largest variance under which a direction counts as curvature or noise,
# and the share of its squared distance by which a sample can be off a flat, relative to chance.
# BENT is how many times farther off the flat samples can be than the next members of its pool,
# since manifolds bend.
FLAT, BENT = 0.1, 4.0
LEAST_SQUARE = np.sqrt(TINY)


class Flat:
    """A flat through the nearest samples of a pool, which tests whether others share its manifold.

    If manifolds cross or come near one another, the nearest samples still belong to one manifold,
    and their principal directions are its tangents. Because of curvature, other samples of this
    manifold are off the flat by a share of their squared distance that grows with the squared
    distance. Samples of another manifold are off by more. The next members of the pool show how
    much is usual. If noise or too few samples turn the flat, the next members are so far off that
    all samples belong.

    Parameters
    ----------
    points : ndarray of shape (n_members, n_features)
        Members of a pool, the nearest first.

    Attributes
    ----------
    rank : int
        Number of directions.

    fits : bool
        Whether members that the flat was not fitted to lie near it, and not by chance.

    centre : ndarray of shape (n_features,)
        Mean of the fitted members.

    spread : float
        Mean squared distance of the fitted members from the centre.

    reach : float
        Squared distance of the farthest member from the centre.

    directions : ndarray of shape (n_features, rank)
        An orthonormal basis of the flat.

    bend : float or None
        Share of the squared distance by which members can be off the flat, per unit of squared
        distance. None if there are too few members.

    noise : float
        Variance of members that the flat was not fitted to, in each direction off the flat: an
        upper bound on the noise variance. NaN if there are too few members, or no direction off the
        flat.
    """

    def __init__(self, points):
        nearest, next_ones = points[:N_MEMBERS], points[N_MEMBERS : 2 * N_MEMBERS]
        self.centre = nearest.mean(axis=0)
        nearest = nearest - self.centre
        self.spread = np.square(nearest).sum() / len(nearest)
        self.reach = np.square(points - self.centre).sum(axis=1).max()
        variances, turns = np.linalg.eigh(nearest @ nearest.T)
        largest = max(variances[-1], TINY)
        few = np.count_nonzero(variances > FLAT * largest)
        self.rank = np.count_nonzero(variances > fair_share(FLAT, few, len(nearest)) * largest)
        kept = slice(len(variances) - self.rank, None)
        self.directions = nearest.T @ turns[:, kept] / np.sqrt(variances[kept])
        self.fits, self.bend, self.noise = False, None, np.nan
        if len(next_ones) < N_MEMBERS:
            return
        shares, squares = self._off(next_ones)
        off, square = np.median(shares), np.median(squares)
        # Copies of one point have no directions.
        if square > LEAST_SQUARE:
            self.fits = bool(off < _most_off(self.rank, points.shape[1]))
            self.bend = BENT * off / square
            if self.rank < points.shape[1]:
                self.noise = np.median(shares * squares) / (points.shape[1] - self.rank)

    def belongs(self, points):
        """Return a mask of the points of the pool that seem to be on the same manifold.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        Returns
        -------
        ndarray of bool of shape (n_points,)
            Whether each point is on the manifold.
        """
        if self.bend is None:
            return np.ones(len(points), dtype=bool)
        off, squares = self._off(points)
        return off <= FLAT + self.bend * squares

    def _off(self, points):
        return _off(points, self.centre, self.directions, self.spread)


class Flats:
    """The flats that fit, and tests of which flats hold a sample.

    Parameters
    ----------
    flats : list of Flat
        All flats. Those that do not fit hold nothing.

    near : ndarray of int of shape (n_flats, n_near)
        Indices of the flats near each flat. Unless most of these fit, the flat may fit by chance,
        and holds nothing.

    Attributes
    ----------
    fit : ndarray of bool of shape (n_flats,)
        Whether each flat can hold samples.
    """

    def __init__(self, flats, near):
        fit = np.array([flat.fits for flat in flats])
        self.fit = fit & (2 * fit[near].sum(axis=1) > near.shape[1])
        kept = [flat for flat, fits in zip(flats, self.fit, strict=True) if fits]
        self._bends = np.array([flat.bend for flat in kept])
        self._centres = np.array([flat.centre for flat in kept])
        self._spreads = np.array([flat.spread for flat in kept])
        self._reaches = np.array([flat.reach for flat in kept])
        self._ends = np.cumsum([flat.rank for flat in kept])
        if kept:
            self._directions = np.hstack([flat.directions for flat in kept])
        # Index of each flat among the kept flats.
        self._which = np.cumsum(self.fit) - 1

    def hold(self, points, flats):
        """Return whether flats hold points: the points are near the flats, and within reach.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        flats : ndarray of int of shape (n_points, n_asked)
            Indices of the flats to test for each point.

        Returns
        -------
        ndarray of bool of shape (n_points, n_asked)
            Whether each flat holds the point.
        """

        def holds(i, off, squares):
            return (off <= _most_off(*self._of(i).T.shape)) & (squares <= self._reaches[i])

        return self._compare(points, flats, holds)

    def bar(self, points, flats):
        """Return whether flats fit and exclude points, even if manifolds bend.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        flats : ndarray of int of shape (n_points, n_asked)
            Indices of the flats to test for each point.

        Returns
        -------
        ndarray of bool of shape (n_points, n_asked)
            Whether each flat excludes the point.
        """
        return self._compare(
            points, flats, lambda i, off, squares: off > FLAT + self._bends[i] * squares
        )

    def _compare(self, points, flats, judge):
        """Judge the distances of points from flats; False for flats that do not fit."""
        answers = np.zeros(flats.shape, dtype=bool)
        pairs = np.flatnonzero(self.fit[flats])
        # All points of a flat at once.
        pairs = pairs[np.argsort(flats.flat[pairs], kind="stable")]
        asked, starts = np.unique(flats.flat[pairs], return_index=True)
        for i, own in zip(self._which[asked], np.split(pairs, starts)[1:], strict=True):
            flat = self._centres[i], self._of(i), self._spreads[i]
            answers.flat[own] = judge(i, *_off(points[own // flats.shape[1]], *flat))
        return answers

    def _of(self, i):
        """Return the directions of the i-th kept flat."""
        return self._directions[:, self._ends[i - 1] if i else 0 : self._ends[i]]


def _most_off(rank, n_features):
    """Return the largest share by which samples can be off a flat: a tenth of that by chance."""
    return FLAT * (1 - rank / n_features)


def _off(points, centre, directions, spread):
    """Return the shares of squared distances by which points are off a flat, and the distances.

    For points nearer than the typical fitted member, the share is relative to the spread.
    """
    points = points - centre
    squares = np.square(points).sum(axis=1)
    along = np.square(points @ directions).sum(axis=1)
    return np.maximum(squares - along, 0.0) / np.maximum(squares, max(spread, TINY)), squares
