"""The flats that samples lie near: which of a sample's neighbours are on its own manifold."""

import numpy as np

from skvaeense.dimension._noise import fair_share

# A flat is fitted to this number of the nearest members of a pool, and tested by the same number of
# others.
N_MEMBERS = 24
# Share of the largest variance under which a direction counts as curvature or noise, and of its
# squared distance by which a sample may be off a flat, beside that by chance; and how many times
# more than the members next to it others may be, since manifolds bend.
FLAT, BENT = 0.1, 4.0
TINY = np.finfo(float).tiny
LEAST_SQUARE = np.sqrt(TINY)


class Flat:
    """The flat through the nearest samples of a pool, and which others are on its manifold.

    Where manifolds cross or come near to each other, the nearest samples still are of one of them,
    and their principal directions are its tangents. Other samples of the same manifold are off them
    by a share of their squared distance that grows with that, as curvature makes it; those of
    another are off by more. How much is usual is told by the members that come next: where noise
    or too few samples turn the flat, that is so much that all belong.

    Parameters
    ----------
    points : ndarray of shape (n_members, n_features)
        Members of a pool, the nearest first.

    Attributes
    ----------
    rank : int
        Number of directions.

    fits : bool
        Whether members that it was not drawn through lie near it, and not by chance.

    centre : ndarray of shape (n_features,)
        Where it is.

    spread : float
        Mean squared distance of the members that it was drawn through.

    reach : float
        Squared distance of the farthest member.

    directions : ndarray of shape (n_features, rank)
        An orthonormal basis.

    bend : float or None
        Share of their squared distance by which members may be off it, for each unit of that. None:
        there are too few to tell.

    noise : float
        Variance of the members that it was not drawn through in each direction that is not its own,
        of which noise is at most the whole; NaN if there are too few, or no other direction.
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
        """Return which points of the pool are on the same manifold, as far as can be told.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        Returns
        -------
        ndarray of bool of shape (n_points,)
            Whether they are.
        """
        if self.bend is None:
            return np.ones(len(points), dtype=bool)
        off, squares = self._off(points)
        return off <= FLAT + self.bend * squares

    def _off(self, points):
        return _off(points, self.centre, self.directions, self.spread)


class Flats:
    """Flats that fit, and which of them hold a sample.

    Parameters
    ----------
    flats : list of Flat
        All flats. Those that do not fit hold nothing.

    near : ndarray of int of shape (n_flats, n_near)
        Which ones are near each. Unless most of them fit, one that does may do so by chance, and
        holds nothing.

    Attributes
    ----------
    fit : ndarray of bool of shape (n_flats,)
        Which of them may hold samples.
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
        # Which of those that are kept each flat is.
        self._which = np.cumsum(self.fit) - 1

    def hold(self, points, flats):
        """Return whether flats hold points: these are off them by little, and not out of reach.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        flats : ndarray of int of shape (n_points, n_asked)
            Flats asked for each point.

        Returns
        -------
        ndarray of bool of shape (n_points, n_asked)
            Whether they do.
        """

        def holds(i, off, squares):
            return (off <= _most_off(*self._of(i).T.shape)) & (squares <= self._reaches[i])

        return self._compare(points, flats, holds)

    def bar(self, points, flats):
        """Return whether flats fit that points do not belong to, as far as manifolds bend.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
            Points.

        flats : ndarray of int of shape (n_points, n_asked)
            Flats asked for each point.

        Returns
        -------
        ndarray of bool of shape (n_points, n_asked)
            Whether they do.
        """
        return self._compare(
            points, flats, lambda i, off, squares: off > FLAT + self._bends[i] * squares
        )

    def _compare(self, points, flats, judge):
        """Judge how far points are off flats; False for flats that do not fit."""
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
        """Return the directions of the flat that is the i-th of those that are kept."""
        return self._directions[:, self._ends[i - 1] if i else 0 : self._ends[i]]


def _most_off(rank, n_features):
    """Return the share by which samples may be off a flat; 1 - rank / n_features is chance."""
    return FLAT * (1 - rank / n_features)


def _off(points, centre, directions, spread):
    """Return the shares of squared distances that points are off a flat, and these.

    Points nearer than most that it was drawn through are off it by a share of their spread.
    """
    points = points - centre
    squares = np.square(points).sum(axis=1)
    along = np.square(points @ directions).sum(axis=1)
    return np.maximum(squares - along, 0.0) / np.maximum(squares, max(spread, TINY)), squares
