"""The number of dictionary atoms that a sample needs."""

import numpy as np
from scipy.special import expit, gammaln

from skvaeense.dimension._rank import CLEAR, RARELY
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import EXACT, TINY
from skvaeense.utils._records import Kept
from skvaeense.utils._rows import MANY_ROWS, row_blocks

# The shares of sizes are fitted until they change by less.
GAIN = 0.003
# Larger supports are left as they are: their linear systems are large, and there are many.
MAX_SUPPORT = 64


class Dictionary(Kept):
    """A linear decoder, whose atoms are counted with the evidence for each number.

    A sample's coefficients are a least-squares fit on its support, the set of its active latents. A
    coefficient can be lost in the noise, or noise can be taken for a coefficient. So the evidence
    for a support size covers all supports of this size, with the other coefficients unchanged. If
    latent j lowers the squared error by s_j, the evidence is, up to a constant, the mean over
    supports S of the product over j in S of ::

        exp(s_j / 2g) / sqrt(1 + ||w_j||^2 / g)

    where w_j is its atom and g the noise variance.

    Expectation maximisation finds how often each size occurs. The number of atoms that a sample
    needs is then the posterior median of the size.

    Parameters
    ----------
    atoms : ndarray of shape (n_components, n_features)
        Columns of the decoder, one per row.

    offset : ndarray of shape (n_features,)
        Output of the decoder for the code 0.

    Attributes
    ----------
    noise_variance : float
        Squared error per degree of freedom; infinite if there was no sample to fit. Only after
        `fit`.
    """

    def __init__(self, atoms, offset):
        self.atoms, self.offset, self.noise_variance = atoms, offset, None
        self._norms = np.square(atoms).sum(axis=1)
        self._joins = np.ones(len(atoms), dtype=bool)
        # Entry c: the share of the samples that have c atoms. Only after `fit`.
        self._shares = None

    def fit(self, X, support):
        """Find the noise variance, and how often each number of atoms occurs.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples, in random order: the first 8,192 are used.

        support : ndarray of bool of shape (n_samples, n_components)
            Active latents, according to the encoder.

        Returns
        -------
        self : Dictionary
            The fitted dictionary.
        """
        few = support.sum(axis=1) <= MAX_SUPPORT
        X, support = X[few][:MANY_ROWS], support[few][:MANY_ROWS]
        least = EXACT * X.var(axis=0).mean() if len(X) else 0.0
        if least == 0:
            # There is nothing to explain.
            self.noise_variance = np.inf
            return self
        self._joins = support.mean(axis=0) > RARELY
        codes = self._least_squares(X, support)
        self._set_noise(X, support, codes, least)
        self._set_shares(X, support)
        return self

    def count(self, X, support):
        """Return the number of atoms that each sample needs, and its standard error.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        support : ndarray of bool of shape (n_samples, n_components)
            Active latents, according to the encoder.

        Returns
        -------
        counts : ndarray of shape (n_samples,)
            Sizes of the supports; supports of more than 64 latents are left as they are.

        std : ndarray of shape (n_samples,)
            Roots of their expected squared errors; NaN for supports that are left as they are.
        """
        counts, std = support.sum(axis=1).astype(float), np.full(len(X), np.nan)
        few = counts <= MAX_SUPPORT
        if few.any():
            posterior = self._evidence(X[few], support[few]) * self._shares
            posterior /= posterior.sum(axis=1, keepdims=True)
            # The median size, and the root of its expected squared error.
            counts[few] = (posterior.cumsum(axis=1) < 0.5).sum(axis=1)
            squares = np.square(np.arange(len(self._shares)) - counts[few, None])
            std[few] = np.sqrt((posterior * squares).sum(axis=1))
        return counts, std

    def _set_shares(self, X, support):
        """Find the share of each size of a support."""
        evidence = self._evidence(X, support)
        self._shares = np.full(evidence.shape[1], 1 / evidence.shape[1])
        last = np.zeros_like(self._shares)
        while np.abs(self._shares - last).sum() > GAIN:
            last, posterior = self._shares, evidence * self._shares
            posterior /= posterior.sum(axis=1, keepdims=True)
            # One additional sample of any size keeps every size possible.
            self._shares = (posterior.sum(axis=0) + 1 / evidence.shape[1]) / (len(X) + 1)

    def _evidence(self, X, support):
        """Return the evidence for each size of a support, relative to the best size.

        The sum over the supports of a size follows from the probability of this number of successes
        in independent trials, whose odds match the size of the given support.
        """
        norms = self._norms
        codes, saved = self._least_squares(X, support, losses=True)
        saved = np.where(support, saved, self._gains(X, codes))
        # If a support does not explain its sample, the residual counts as noise. Otherwise all
        # atoms would seem to be needed.
        freedom = np.maximum(X.shape[1] - support.sum(axis=1), 1)
        left = np.square(self._residual(X, codes)).sum(axis=1) / freedom
        noise = np.maximum(self.noise_variance, left / CLEAR)[:, None]
        logit = 0.5 * (saved / noise - np.log1p(norms / noise))
        logit = np.where(support | self._joins, logit, -np.inf)
        n_atoms = max(np.count_nonzero(self._joins), 1)
        size = np.clip(support.sum(axis=1), 0.5, n_atoms - 0.5)[:, None]
        tilt = np.log(size / (n_atoms - size))
        successes = np.zeros((len(X), min(n_atoms, MAX_SUPPORT) + 1))
        successes[:, 0] = 1.0
        for p in expit(logit + tilt).T[:, :, None]:
            # The last entry also includes all larger numbers.
            more = p[:, 0] * successes[:, -1]
            successes[:, 1:] += p * (successes[:, :-1] - successes[:, 1:])
            successes[:, :1] *= 1 - p
            successes[:, -1] += more
        sizes = np.arange(successes.shape[1])
        n_supports = gammaln(n_atoms + 1) - gammaln(sizes + 1) - gammaln(n_atoms - sizes + 1)
        with np.errstate(divide="ignore"):
            evidence = np.log(successes) - sizes * tilt - n_supports
        return np.exp(evidence - evidence.max(axis=1, keepdims=True))

    def _gains(self, X, codes):
        """Return the decrease of the squared error of codes by each atom alone."""
        units = self.atoms.T / np.sqrt(np.maximum(self._norms, TINY))
        return np.square(self._residual(X, codes) @ units)

    def _residual(self, X, codes):
        """Return the residual of the samples after subtracting the codes' reconstructions."""
        return X - self.offset - codes @ self.atoms

    def _set_noise(self, X, support, codes, least):
        """Set the noise variance to a typical value, since a few samples can lie off all atoms."""
        freedom = np.maximum(X.shape[1] - support.sum(axis=1), 1)
        squares = np.square(self._residual(X, codes)).sum(axis=1)
        # The median of a chi-squared variable, by Wilson and Hilferty.
        typical = np.median(squares / (freedom * (1 - 2 / (9 * freedom)) ** 3))
        self.noise_variance = max(float(typical), least, TINY)

    def _least_squares(self, X, support, losses=False):
        """Return the codes on given supports; with `losses`, also the error each latent saves."""
        gram, target = self.atoms @ self.atoms.T, (X - self.offset) @ self.atoms.T
        size = max(int(support.sum(axis=1).max(initial=0)), 1)
        diagonal = np.arange(size)
        ridge = EXACT * np.diag(gram).mean() + TINY
        codes, saved = np.zeros(target.shape), np.zeros(target.shape)
        for part in row_blocks(len(X), size**2):
            advance()
            patterns, pattern = _unique_rows(support[part])
            # The active latents of a sample come first; the padding is solved to 0.
            orders = np.argsort(~patterns, axis=1, kind="stable")[:, :size]
            used = np.take_along_axis(patterns, orders, axis=1)
            systems = gram[orders[:, :, None], orders[:, None, :]]
            systems *= used[:, :, None] & used[:, None, :]
            systems[:, diagonal, diagonal] += np.where(used, ridge, 1.0)
            order, used = orders[pattern], used[pattern]
            right = np.take_along_axis(target[part], order, axis=1) * used
            inverses = np.linalg.inv(systems)
            solution = (inverses[pattern] @ right[..., None])[..., 0]
            np.put_along_axis(codes[part], order, solution * used, axis=1)
            if losses:
                saving = np.square(solution) / inverses[:, diagonal, diagonal][pattern]
                np.put_along_axis(saved[part], order, saving * used, axis=1)
        return (codes, saved) if losses else codes


def _unique_rows(support):
    """Return the distinct rows of a boolean array, and the index of each row among them."""
    packed = np.packbits(support, axis=1)
    words = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which = np.unique(words, return_index=True, return_inverse=True)
    return support[first], which
