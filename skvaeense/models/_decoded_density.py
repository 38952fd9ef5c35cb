"""Bounds of the log-density of decoded codes, for nonlinear decoders."""

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.special import logsumexp, softmax

from skvaeense.models._vae import VAE, TensorMap, opposite_draws, tangent
from skvaeense.priors import CodeMixture
from skvaeense.utils._blocks import row_blocks
from skvaeense.utils._rounding import ROUNDING
from skvaeense.utils._typing import DoubleArray, IntArray

# Number of components that the bound of a sample sums over, and the most nats by which a component
# can be below the best one, at the tangent. Worse components would be lost in rounding.
N_BEST, MOST_BEHIND = 3, -math.log(ROUNDING)
# Number of Gauss-Newton steps, the same for every sample, and the shares of a step that are tried.
N_STEPS = 3
SHARES = [0.25**i for i in range(N_STEPS)]
# The noise variance of a component is shrunk to the common one, which counts as NOISE_ROWS rows. It
# is at least a share of LEAST_NOISE of the model's noise variance.
NOISE_ROWS, LEAST_NOISE = 10.0, 0.02


class DecodedDensity:
    """A lower bound of the density of ``f(e)`` plus noise, for codes e from a mixture.

    With the decoder f, noise variances g_c, and codes ``e = mu_c + S_c w`` of component c::

        p(x) = sum_c p_c * integral of N(w; 0, I) N(x; f(mu_c + S_c w), g_c I) dw

    The sum is over the components that fit x best when a tangent replaces the decoder. For each of
    them, Gauss-Newton steps find the mode w* of the integrand. Then w is drawn from the normal
    distribution of mean w* and covariance ``(I + S_c' J' J S_c / g_c)^-1``, with the Jacobian J at
    w*. The ratio of the integrand to the density of a draw, averaged over draws, is an unbiased
    estimate of the integral. So the expectation of its logarithm is a lower bound. Other components
    would add to the sum. More draws make the bound tighter [1]_. Integrals of a linear decoder are
    exact.

    Draws are the same for all samples.

    Parameters
    ----------
    model : VAE
        The model, in double precision on the CPU.

    codes : CodeMixture
        The distribution of codes.

    n_draws : int
        Number of draws.

    References
    ----------
    .. [1] Burda, Grosse and Salakhutdinov (2016). Importance Weighted Autoencoders. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvaeense.models import VAE, DecodedDensity
    >>> from skvaeense.networks import MLP
    >>> from skvaeense.priors import CodeMixture
    >>> model = VAE(MLP((8,)), 3, 1, generator=torch.Generator().manual_seed(0)).double()
    >>> codes = CodeMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)), np.ones(1))
    >>> DecodedDensity(model, codes, n_draws=16).log_prob(np.zeros((2, 3))).shape
    (2,)
    """

    def __init__(self, model: VAE, codes: CodeMixture, n_draws: int) -> None:
        self.model = model
        self.codes = codes
        self.log_weights = np.log(codes.weights)
        self.means = torch.from_numpy(codes.means)
        self.factors = torch.from_numpy(codes.factors)
        self.noise = torch.from_numpy(codes.noise_variances)
        self.inverses = torch.linalg.pinv(self.factors)
        self.draws = opposite_draws(n_draws, self.factors.shape[2])

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def ranks(self) -> IntArray:
        """Number of directions of each component."""
        return self.codes.ranks

    @property
    def n_entries(self) -> int:
        """Approximate number of entries that are computed for one sample."""
        k, p, r = self.factors.shape
        return max(k * (p + r) * r, self.model.n_features * p)

    def log_joint(self, x: DoubleArray) -> DoubleArray:
        """Return bounds of the joint log-density of samples and each component.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Bounds in nats; minus infinity for all but the best three components of a sample.
        """
        return self._joint_and_errors(x)[0]

    def log_prob(self, x: DoubleArray) -> DoubleArray:
        """Return bounds of the log-density of samples.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Bounds in nats.
        """
        return logsumexp(self.log_joint(x), axis=1)

    def sample(self, n_samples: int, rng: np.random.RandomState) -> tuple[DoubleArray, IntArray]:
        """Draw samples.

        Parameters
        ----------
        n_samples : int
            Number of samples.

        rng : RandomState
            The source of randomness.

        Returns
        -------
        x : ndarray of shape (n_samples, n_features)
            Samples, noise included.

        labels : ndarray of int of shape (n_samples,)
            The component of each sample.
        """
        codes, labels = self.codes.sample(n_samples, rng)
        with torch.no_grad():
            x: DoubleArray = self.model.decode(torch.from_numpy(codes)).numpy()
        noise = np.sqrt(self.codes.noise_variances[labels])[:, None]
        return x + noise * rng.standard_normal(x.shape), labels

    def with_noise_of(self, x: DoubleArray) -> CodeMixture:
        """Return the mixture with noise variances that explain samples better.

        This is a step of expectation maximisation: each variance is the mean squared error of the
        component's samples, with the normal approximation of w.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        CodeMixture
            The mixture.
        """
        blocks = row_blocks(len(x), self.n_entries)
        parts = [self._joint_and_errors(x[rows]) for rows in blocks]
        joint, errors = map(np.concatenate, zip(*parts, strict=True))
        shares = softmax(joint, axis=1)
        sums, counts = (shares * errors).sum(axis=0), shares.sum(axis=0)
        common = sums.sum() / (counts.sum() * x.shape[1])
        noise = (sums / x.shape[1] + NOISE_ROWS * common) / (counts + NOISE_ROWS)
        least = LEAST_NOISE * float(self.model.noise_variance)
        return replace(self.codes, noise_variances=np.maximum(noise, least))

    def _joint_and_errors(self, x: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the bounds of `log_joint`, and expected squared errors, 0 for infinite bounds."""
        joint = np.full((len(x), len(self)), -np.inf)
        errors = np.zeros_like(joint)
        with torch.no_grad():
            samples = torch.from_numpy(x)
            code = self.model.code(self.model.posterior(samples))
            guess, w = self._at_tangent(samples, code)
            guess += self.log_weights
            least = np.sort(guess, axis=1)[:, -min(N_BEST, len(self))]
            least = np.maximum(least, guess.max(axis=1) - MOST_BEHIND)
            rows, components = np.nonzero(guess >= least[:, None])
            if len(rows):
                within = _Within(self, samples[rows], torch.from_numpy(components))
                w = within.best_start(w[rows, components], code[rows])
                w, L = within.mode(w)
                bounds = within.bound(w, L, self.draws).numpy()
                joint[rows, components] = self.log_weights[components] + bounds
                errors[rows, components] = within.expected_error(w, L).numpy()
            # Samples that overflow belong to no component: their bounds are NaN.
            joint[~np.isfinite(guess).all(axis=1)] = np.nan
        return joint, errors

    def _at_tangent(self, x: torch.Tensor, code: torch.Tensor) -> tuple[DoubleArray, torch.Tensor]:
        """Return log-densities with the decoder's tangent at codes, and modes w.

        Both are exact if the decoder is linear. Shapes are (n_samples, n_components), and
        (n_samples, n_components, max_rank).
        """
        used = self.factors.any(dim=2).any(dim=0) | self.means.any(dim=0)
        means, S, noise = self.means[:, used], self.factors[:, used], self.noise
        e = code * used
        one_each = torch.eye(len(used), dtype=e.dtype)[:, used]
        J, f = _derivatives(self.model.decode, e, one_each.expand(len(e), -1, -1))
        residual = x - f
        gram, projected = J.mT @ J, (J.mT @ residual[:, :, None])[:, :, 0]
        moved = means - e[:, None, used]
        along = moved @ gram
        distance = residual.square().sum(dim=1, keepdim=True)
        distance = distance + ((along - 2 * projected[:, None]) * moved).sum(dim=2)
        b = torch.einsum("kir,nki->nkr", S, projected[:, None] - along) / noise[:, None]
        precision = S.mT @ (gram[:, None] @ S) / noise[:, None, None]
        precision = precision + torch.eye(S.shape[2], dtype=e.dtype)
        L = torch.linalg.cholesky_ex(precision).L
        w = torch.cholesky_solve(b[..., None], L)[..., 0]
        log_volume = x.shape[1] * torch.log(2 * math.pi * noise) + 2 * _log_det(L)
        return (-0.5 * (distance / noise - (b * w).sum(dim=2) + log_volume)).numpy(), w


class _Within:
    """Samples, each paired with one component.

    Parameters
    ----------
    density : DecodedDensity
        The density.

    x : torch.Tensor of shape (n_samples, n_features)
        Samples.

    components : torch.Tensor of int of shape (n_samples,)
        Component of each sample.
    """

    def __init__(self, density: DecodedDensity, x: torch.Tensor, components: torch.Tensor) -> None:
        self.x = x
        self.decode = density.model.decode
        self.means, self.factors = density.means[components], density.factors[components]
        self.inverses = density.inverses[components]
        self.noise = density.noise[components]

    def code(self, w: torch.Tensor) -> torch.Tensor:
        """Return the codes of w."""
        return self.means + _times(self.factors, w)

    def cost(self, w: torch.Tensor) -> torch.Tensor:
        """Return minus the logarithm of the integrand, up to constants."""
        error = (self.x - self.decode(self.code(w))).square().sum(dim=1)
        return 0.5 * (error / self.noise + w.square().sum(dim=1))

    def best_start(self, w: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return w, the w of the code, or 0, whichever costs least."""
        for other in (_times(self.inverses, code - self.means), torch.zeros_like(w)):
            w = torch.where((self.cost(other) < self.cost(w))[:, None], other, w)
        return w

    def mode(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return modes, and Cholesky factors of the Gauss-Newton precision at the modes."""
        lowest = self.cost(w)
        J, f, L = self.tangent_at(w)
        for _ in range(N_STEPS):
            downhill = _times(J.mT, self.x - f) / self.noise[:, None] - w
            step = torch.cholesky_solve(downhill[:, :, None], L)[:, :, 0]
            moves = torch.ones(len(w), dtype=torch.bool)
            for share in SHARES:
                tried = w + share * step
                lower = self.cost(tried)
                better = moves & (lower < lowest)
                w = torch.where(better[:, None], tried, w)
                lowest, moves = torch.where(better, lower, lowest), moves & ~better
                if not moves.any():
                    break
            J, f, L = self.tangent_at(w)
        return w, L

    def tangent_at(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the Jacobian, decoded samples, and Cholesky factors of the precision."""
        J, f = _derivatives(self.decode, self.code(w), self.factors)
        identity = torch.eye(w.shape[1], dtype=w.dtype)
        precision = identity + J.mT @ J / self.noise[:, None, None]
        return J, f, torch.linalg.cholesky_ex(precision).L

    def bound(self, w: torch.Tensor, L: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Return bounds of log-densities from draws around modes."""
        ratios = []
        for eps in draws:
            eps = eps.expand(len(w), -1)
            drawn = torch.linalg.solve_triangular(L.mT, eps[:, :, None], upper=True)[:, :, 0]
            ratios.append(0.5 * eps.square().sum(dim=1) - self.cost(w + drawn))
        log_mean = torch.logsumexp(torch.stack(ratios), dim=0) - math.log(len(ratios))
        log_volume = self.x.shape[1] * torch.log(2 * math.pi * self.noise) + 2 * _log_det(L)
        return log_mean - 0.5 * log_volume

    def expected_error(self, w: torch.Tensor, L: torch.Tensor) -> torch.Tensor:
        """Return expected squared errors, to first order around modes."""
        error = (self.x - self.decode(self.code(w))).square().sum(dim=1)
        identity = torch.eye(w.shape[1], dtype=w.dtype).expand_as(L)
        inverse = torch.linalg.solve_triangular(L, identity, upper=False)
        return error + self.noise * (w.shape[1] - inverse.square().sum(dim=(1, 2)))


def _times(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return (matrices @ vectors[:, :, None])[:, :, 0]


def _log_det(L: torch.Tensor) -> torch.Tensor:
    return L.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def _derivatives(
    f: TensorMap, points: torch.Tensor, tangents: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return derivatives of a function of rows along given directions for each row, and values."""
    values, push = tangent(f, points)
    if not tangents.shape[2]:
        return values.new_zeros((*values.shape, 0)), values
    return torch.func.vmap(push, in_dims=2, out_dims=2)(tangents), values
