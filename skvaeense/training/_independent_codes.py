"""Independent codes, each 0 or not: many patterns of one dictionary, in closed form."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from skvaeense.mixture._covariance import rank_and_noise
from skvaeense.mixture._em import least_variance, local_size
from skvaeense.mixture._fit import MAX_DIRECTIONS
from skvaeense.training._components import Codes, independent_components, modes
from skvaeense.utils._rounding import TINY


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
        Their distribution.

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
            At most two. Empty if rows vary in too few directions, or are too few for these.
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

        With n rows, chance alone fails this test, over all pairs, for one of n tables. If there are
        more atoms than directions, or atoms are not found, codes are on together more often.

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
        """Return how far log-densities exceed those of normal codes with the same variances.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Differences in nats.
        """
        return self.codes.gain(self._squares(X))

    def _squares(self, X: np.ndarray) -> np.ndarray:
        """Return the squared codes of samples."""
        return np.square((X - self.origin) @ self.unmix.T)
