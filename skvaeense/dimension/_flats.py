"""Flats near samples, which separate neighbours on a sample's own manifold from all others."""

import numpy as np

from skvaeense.dimension._noise import fair_share
from skvaeense.utils._linalg import TINY
from skvaeense.utils._records import Kept

# A flat is fitted to this number of the nearest members of a pool, and tested on the same number of
# others.
N_MEMBERS = 24
# FLAT is the share of the largest variance under which a direction counts as curvature or noise,
# and the share of its squared distance by which a sample can be off a flat, relative to chance.
FLAT = 0.1
LEAST_SQUARE = np.sqrt(TINY)


class Flats(Kept):
    """Flats through the nearest samples of pools, which test whether others share their manifolds.

    If manifolds cross or come near one another, the nearest samples still belong to one manifold,
    and their principal directions are its tangents. Because of curvature, other samples of this
    manifold are off the flat by a share of their squared distance that grows with the squared
    distance. Samples of another manifold are off by more. The next members of the pool show how
    much is usual. If noise or too few samples turn the flat, the next members are so far off that
    all samples belong.

    Parameters
    ----------
    pools : list of ndarray of shape (n_members, n_features)
        Members of each pool, the nearest first.

    Attributes
    ----------
    ranks : ndarray of shape (n_flats,)
        Number of directions of each flat.

    fit : ndarray of bool of shape (n_flats,)
        Whether members that the flat was not fitted to lie near it, and not by chance.

    noise : ndarray of shape (n_flats,)
        Variance of members that the flat was not fitted to, in each direction off the flat: an
        upper bound on the noise variance. NaN if there are too few members, or no direction off the
        flat.
    """

    def __init__(self, pools):
        directions, centres, numbers = zip(*map(_fit_flat, pools), strict=True)
        self._directions, self._centres = np.hstack(directions), np.array(centres)
        # The spread is the mean squared distance of the fitted members from the centre, the reach
        # the largest squared distance of a member. The bend is the share of the squared distance by
        # which members can be off the flat, per unit of squared distance; NaN if it is unknown.
        self._spreads, self._reaches, self._bends, self.noise, fit = np.array(numbers).T
        self.fit, self.ranks = fit > 0, np.array([own.shape[1] for own in directions])
        self._ends = np.cumsum(self.ranks)

    def belong(self, i, points):
        """Return a mask of the points of the i-th pool that seem to be on the same manifold.

        Parameters
        ----------
        i : int
            Index of the pool.

        points : ndarray of shape (n_points, n_features)
            Points.

        Returns
        -------
        ndarray of bool of shape (n_points,)
            Whether each point is on the manifold.
        """
        off, squares = self._off(i, points)
        return ~(off > FLAT + self._bends[i] * squares)

    def settle(self, near):
        """Let flats hold samples only where most of the flats nearby fit too, not by chance.

        Parameters
        ----------
        near : ndarray of int of shape (n_flats, n_near)
            Indices of the flats near each flat.
        """
        self.fit = self.fit & (2 * self.fit[near].sum(axis=1) > near.shape[1])

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
            most = _most_off(self.ranks[i], points.shape[1])
            return (off <= most) & (squares <= self._reaches[i])

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
        for i, own in zip(asked, np.split(pairs, starts)[1:], strict=True):
            answers.flat[own] = judge(i, *self._off(i, points[own // flats.shape[1]]))
        return answers

    def _off(self, i, points):
        directions = self._directions[:, self._ends[i] - self.ranks[i] : self._ends[i]]
        return _off(points, self._centres[i], directions, self._spreads[i])


def _fit_flat(points, bent=4.0):
    """Return directions, centre, spread, reach, bend and noise of a flat, and whether it fits.

    Since manifolds bend, samples can be `bent` times farther off than the next members of the pool.
    """
    nearest, next_ones = points[:N_MEMBERS], points[N_MEMBERS : 2 * N_MEMBERS]
    centre, n_features = nearest.mean(axis=0), points.shape[1]
    nearest = nearest - centre
    spread = np.square(nearest).sum() / len(nearest)
    reach = np.square(points - centre).sum(axis=1).max()
    variances, turns = np.linalg.eigh(nearest @ nearest.T)
    largest = max(variances[-1], TINY)
    few = np.count_nonzero(variances > FLAT * largest)
    rank = np.count_nonzero(variances > fair_share(FLAT, few, len(nearest)) * largest)
    kept = slice(len(variances) - rank, None)
    directions = nearest.T @ turns[:, kept] / np.sqrt(variances[kept])
    bend, noise, fits = np.nan, np.nan, False
    if len(next_ones) == N_MEMBERS:
        shares, squares = _off(next_ones, centre, directions, spread)
        off, square = np.median(shares), np.median(squares)
        # Copies of one point have no directions.
        if square > LEAST_SQUARE:
            fits, bend = off < _most_off(rank, n_features), bent * off / square
            if rank < n_features:
                noise = np.median(shares * squares) / (n_features - rank)
    return directions, centre, (spread, reach, bend, noise, fits)


def _most_off(rank, n_features):
    """Return the largest share by which samples can be off a flat: a tenth of that by chance."""
    return FLAT * (1 - rank / n_features)


def _off(points, centre, directions, spread):
    """Return the shares of squared distances by which points are off a flat, and the distances.

    The spread of the flat limits the shares near the centre, where all directions are alike.
    """
    points = points - centre
    squares = np.square(points).sum(axis=1)
    along = np.square(points @ directions).sum(axis=1)
    return np.maximum(squares - along, 0.0) / np.maximum(squares, max(spread, TINY)), squares
