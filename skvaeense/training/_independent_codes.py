"""Dictionaries with independent codes, each near 0 or not, and their densities in closed form."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from sklearn.decomposition import FastICA

from skvaeense.mixture._covariance import rank_and_noise
from skvaeense.mixture._em import least_variance, local_size
from skvaeense.mixture._fit import MAX_DIRECTIONS
from skvaeense.utils._principal import svd
from skvaeense.utils._rounding import TINY

# Limit on iterations of FastICA, and of `Codes.fit`.
MAX_ITER = 30
# Factor by which a turn of two components must raise their fourth moments.
PAIR_GAIN = 1.25


class Codes(NamedTuple):
    """Distribution of independent codes: near 0 or not, a mixture of two normal distributions.

    Attributes
    ----------
    share, slab, spike : ndarray of shape (n_codes,)
        How often each code is not near 0; its mean square in these samples, and in the others.
    """

    share: np.ndarray
    slab: np.ndarray
    spike: np.ndarray

    @classmethod
    def fit(
        cls, squares: np.ndarray, least: np.ndarray | float, start: "Codes | None" = None
    ) -> "Codes":
        """Return the distribution that makes codes most probable, by expectation maximisation.

        Iterations end once no share changes by more than half a sample.

        Parameters
        ----------
        squares : ndarray of shape (n_samples, n_codes)
            Squares of codes.

        least : ndarray of shape (n_codes,) or float
            Least mean square.

        start : Codes or None, default=None
            The first guess, if there is one.

        Returns
        -------
        Codes
            The estimate.
        """
        n, rank = squares.shape
        codes = start or cls(np.full(rank, 0.3), np.full(rank, 3.0), np.full(rank, 0.03))
        for _ in range(MAX_ITER):
            before = codes.share
            q = codes.probability(squares)
            n_on = q.sum(axis=0)
            moment = np.einsum("ij,ij->j", q, squares)
            rest = squares.sum(axis=0) - moment
            codes = cls(
                (n_on + 1) / (n + 2),
                np.maximum(moment / np.maximum(n_on, 1e-9), least),
                np.maximum(rest / np.maximum(n - n_on, 1e-9), least),
            )
            if np.abs(codes.share - before).max() < 0.5 / n:
                break
        return codes

    def probability(self, squares: np.ndarray) -> np.ndarray:
        """Return the probability that each code is not near 0."""
        odds = np.log(self.share / (1 - self.share)) + 0.5 * np.log(self.spike / self.slab)
        logit = squares * (0.5 / self.spike - 0.5 / self.slab)
        logit += odds
        return expit(logit, out=logit)

    def log_prob(self, squares: np.ndarray) -> np.ndarray:
        """Return log-densities of samples."""
        on, off = (
            np.log(p) - 0.5 * (np.log(2 * np.pi * variance) + squares / variance)
            for p, variance in ((self.share, self.slab), (1 - self.share, self.spike))
        )
        return np.logaddexp(on, off).sum(axis=1)


class IndependentCodes(NamedTuple):
    """A dictionary whose codes are independent, each of them near 0 or normal.

    A sample is about ``origin + S @ atoms`` with the codes ``S = (x - origin) @ unmix.T``.

    Attributes
    ----------
    origin : ndarray of shape (n_features,)
        Point at which all codes are 0.

    atoms : ndarray of shape (n_codes, n_features)
        Direction of each code, its length included.

    unmix : ndarray of shape (n_codes, n_features)
        Rows that map samples to codes.

    codes : Codes
        Distribution of the codes.

    noise : float
        Variance in each direction without a code.
    """

    origin: np.ndarray
    atoms: np.ndarray
    unmix: np.ndarray
    codes: Codes
    noise: float

    @classmethod
    def fit(
        cls, rows: np.ndarray, rng: np.random.RandomState, floor: float | None = None
    ) -> list["IndependentCodes"]:
        """Return the dictionaries that may explain rows.

        They cannot have more atoms than directions. The first one has an atom for each direction
        that stands out from noise. If there are as many atoms as features, the last directions may
        look like noise, and the very last one cannot stand out from itself. So a second dictionary
        has all directions, if the first one lacks only the last direction or has a worse BIC.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Samples.

        rng : RandomState
            The source of randomness.

        floor : float or None, default=None
            Least variance in any direction. With the floor of a mixture, codes can be compared with
            it even without noise. None takes the floor of a mixture of these rows.

        Returns
        -------
        list of IndependentCodes
            At most two. Empty if rows vary in too few directions, or are too few for them.
        """
        (n, d), mean = rows.shape, rows.mean(axis=0)
        floor = least_variance(local_size(rows)) if floor is None else floor
        values, directions = np.linalg.eigh(np.cov(rows.T, bias=True).reshape(d, d))
        values, directions = np.maximum(values[::-1], 0), directions[:, ::-1]
        tried = [rank_and_noise(values, n, floor)]
        if tried[0][0] > MAX_DIRECTIONS:
            tried = [(MAX_DIRECTIONS, max(float(values[MAX_DIRECTIONS:].mean()), floor))]
        elif 2 <= tried[0][0] < d and values[-1] > floor:
            tried.append((d, floor))
        found = []
        for rank, noise in tried:
            if not 2 <= rank <= n // 2:
                continue
            scale = np.sqrt(values[:rank])
            whitener = directions[:, :rank] / scale
            white = (rows - mean) @ whitener
            rotation = independent_components(white.astype(np.float32), rng)
            S = white @ rotation.T
            inactive = modes(S)
            # The least variance of samples, mapped to each code.
            least = floor * np.square(rotation / scale).sum(axis=1)
            codes = Codes.fit(np.square(S - inactive), least)
            atoms = np.linalg.inv(rotation).T @ (directions[:, :rank] * scale).T
            unmix = rotation @ whitener.T
            found.append(cls(mean + inactive @ atoms, atoms, unmix, codes, noise))
        if len(found) == 2 and tried[0][0] < d - 1 and found[1]._bic(rows) >= found[0]._bic(rows):
            return found[:1]
        return found

    def _bic(self, rows: np.ndarray) -> float:
        """Return the Bayesian information criterion; lower is better."""
        n_parameters = self.atoms.size + 3 * len(self.atoms)
        return float(n_parameters * np.log(len(rows)) - 2 * self.log_prob(rows).sum())

    def are_independent(self, rows: np.ndarray) -> bool:
        """Return whether no two codes are on together more often than chance explains.

        With n rows, chance alone fails this test, over all pairs, on one of n data sets. If there
        are more atoms than directions, or atoms are not found, codes are on together more often.

        Parameters
        ----------
        rows : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        bool
            Whether the codes may be independent.
        """
        is_on = self.codes.probability(self._squares(rows)) > 0.5
        n, rank = is_on.shape
        centred = is_on - is_on.mean(axis=0)
        # A code that is always on, or never, has no correlation with others.
        centred /= np.maximum(centred.std(axis=0), TINY)
        most = np.triu(centred.T @ centred, 1).max() / np.sqrt(n)
        return bool(most < norm.isf(2 / (n * rank * (rank - 1))))

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return log-densities of samples.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats.
        """
        (rank, d), y = self.unmix.shape, X - self.origin
        S = y @ self.unmix.T
        rest = np.square(y - S @ self.atoms).sum(axis=1)
        outside = rest / self.noise + (d - rank) * np.log(2 * np.pi * self.noise)
        volume = np.linalg.slogdet(self.unmix @ self.unmix.T)[1]
        return self.codes.log_prob(np.square(S)) + 0.5 * (volume - outside)

    def gain(self, X: np.ndarray) -> np.ndarray:
        """Return how far log-densities exceed the ones under normal codes of the same variances.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Differences in nats.
        """
        codes, squares = self.codes, self._squares(X)
        variance = codes.share * codes.slab + (1 - codes.share) * codes.spike
        normal = -0.5 * (np.log(2 * np.pi * variance) + squares / variance)
        return codes.log_prob(squares) - normal.sum(axis=1)

    def _squares(self, X: np.ndarray) -> np.ndarray:
        """Return the squared codes of samples."""
        return np.square((X - self.origin) @ self.unmix.T)


def independent_components(Y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return directions, as unit rows, along which white samples are independent.

    FastICA finds them roughly. A contrast that only sees samples near 0 then makes each direction
    orthogonal to the samples for which it is inactive. The width of the contrast is halved as long
    as samples get more probable. From the third width on, every direction moves separately: if
    subspaces are not orthogonal in the white space, their directions are not either. A direction
    that would leave its place, towards another direction, does not move.
    """
    n_samples, rank = Y.shape
    if rank == 1 or n_samples < 2 * rank:
        return np.eye(rank)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        W = _part_pairs(Y, _rough_components(Y, rng))
        width = 0.5
        for _ in range(2):
            for _ in range(6):
                W = _orthogonalise(_narrow_step(Y, W, width))
            width /= 2
        if not np.isfinite(W).all():
            return np.eye(rank)
        best = symmetric = W
        before, (log_prob, codes) = -np.inf, _log_prob(Y, W)
        while log_prob > before:
            best, before = W, log_prob
            for _ in range(4):
                moved = _narrow_step(Y, W, width)
                near = (moved * symmetric).sum(axis=1) > 0.97
                W = np.where(near[:, None], moved, W)
            width /= 2
            if not np.isfinite(W).all() or np.linalg.cond(W) > 5:
                break
            log_prob, codes = _log_prob(Y, W, codes)
    return best.astype(np.float64)


def _log_prob(Y: np.ndarray, W: np.ndarray, start: Codes | None = None) -> tuple[float, Codes]:
    """Return the mean log-density of samples with independent codes, and the fitted `Codes`."""
    S = (Y @ W.T).astype(np.float64)
    squares = np.square(S - modes(S))
    # Squares of rounding errors reach this size.
    codes = Codes.fit(squares, float(np.finfo(Y.dtype).eps) ** 2, start)
    return float(codes.log_prob(squares).mean() + np.linalg.slogdet(W)[1]), codes


def _rough_components(Y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return the components of FastICA, or axes if it diverges."""
    guess = _orthogonalise(rng.standard_normal((Y.shape[1], Y.shape[1])))
    ica = FastICA(whiten=False, w_init=guess, max_iter=MAX_ITER, tol=1e-3)
    try:
        return _orthogonalise(ica.fit(Y).components_)
    except np.linalg.LinAlgError:
        return np.eye(Y.shape[1])


def _part_pairs(Y: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Turn pairs of components by 45 degrees where that makes them clearly less Gaussian.

    The sum and the difference of two independent components are a saddle point, at which FastICA
    converges too. Their fourth moments after a turn follow from the moments before it.
    """
    U = (Y - Y.mean(axis=0)) @ W.T
    squares = np.square(U)
    mixed = 3 * squares.T @ squares / len(U)
    own = np.diag(mixed) / 3
    now = (own[:, None] + own) / 2
    gain = np.where(now > 3, mixed / np.maximum(now, 1e-12), 0)
    np.fill_diagonal(gain, 0)
    W = W.copy()
    while gain.max() > PAIR_GAIN:
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        W[[i, j]] = np.stack([W[i] + W[j], W[i] - W[j]]) / math.sqrt(2)
        gain[[i, j]] = 0
        gain[:, [i, j]] = 0
    return W


def _orthogonalise(W: np.ndarray) -> np.ndarray:
    """Return the orthogonal matrix nearest to W."""
    U, _, Vt = svd(W)
    return U @ Vt


def _narrow_step(Y: np.ndarray, W: np.ndarray, width: float) -> np.ndarray:
    """Return the rows of W after one fixed-point step with contrast u exp(-u² / 2 width²)."""
    U = Y @ W.T
    U -= modes(U)
    relative = np.square(U / width)
    weight = np.exp(-0.5 * relative)
    moved = (U * weight).T @ Y / len(Y) - ((1 - relative) * weight).mean(axis=0)[:, None] * W
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    moved = np.where(length > 0, moved / np.where(length > 0, length, 1), W)
    return moved * np.where((moved * W).sum(axis=1, keepdims=True) < 0, -1, 1).astype(Y.dtype)


def modes(U: np.ndarray, share: float = 0.125, spike: float = 0.15) -> np.ndarray:
    """Return the mode of each column that has a spike, and 0 for the other columns.

    A column has a spike if an eighth of the samples lie within an interval of length 0.15. The mode
    is the middle of the interval's densest quarter.
    """
    n_wide = max(8, int(share * len(U)))
    if len(U) <= n_wide:
        return np.zeros(U.shape[1], dtype=U.dtype)
    ordered = np.sort(U.T, axis=1)
    columns = np.arange(len(ordered))
    widths = ordered[:, n_wide:] - ordered[:, :-n_wide]
    start = widths.argmin(axis=1)
    n_narrow = n_wide // 4
    inside = ordered[columns[:, None], start[:, None] + np.arange(n_wide)]
    densest = (inside[:, n_narrow:] - inside[:, :-n_narrow]).argmin(axis=1)
    modes = inside[columns, densest + n_narrow // 2]
    return np.where(widths[columns, start] < spike, modes, 0).astype(U.dtype)
