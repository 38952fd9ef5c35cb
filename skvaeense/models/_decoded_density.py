"""Bounds of the log-density of decoded codes, where the decoder is not linear."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import logsumexp

from skvaeense.models._vae import VAE
from skvaeense.priors import CodeMixture
from skvaeense.utils._typing import DoubleArray, IntArray

# Components that the bound of a sample sums over, and how many nats below the best, at the
# tangent, one of them may be.
N_BEST, MOST_BEHIND = 3, 12.0
# Gauss-Newton steps, the shares of each that are tried, and the gain in nats at which they end.
N_STEPS, SHARES, LEAST_GAIN = 4, (1.0, 0.5, 0.2, 0.05), 1e-2


class DecodedDensity:
    """The density of ``f(e)`` and noise for codes e from a mixture, by a lower bound.

    With the decoder f, the noise variance g, and codes ``e = mu_c + S_c w`` of component c::

        p(x) = sum_c p_c * integral of N(w; 0, I) N(x; f(mu_c + S_c w), g I) dw

    For the components that fit x best where the decoder is replaced by its tangent, the mode w* of
    the integrand is found by Gauss-Newton steps, and w is drawn from the normal distribution of
    mean w* and covariance ``(I + S_c' J' J S_c / g)^-1``, with the Jacobian J at w*. The mean of
    integrand over density of the draws is an estimate of the integral without bias. So the
    expectation of its logarithm over the draws is a lower bound, and other components would only
    add to the sum. The more draws, the closer it is [1]_. If the decoder is linear it is exact.

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
    >>> codes = CodeMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
    >>> DecodedDensity(model, codes, n_draws=16).log_prob(np.zeros((2, 3))).shape
    (2,)
    """

    def __init__(self, model: VAE, codes: CodeMixture, n_draws: int) -> None:
        self.model = model
        self.codes = codes
        self.noise = float(model.noise_variance)
        self.log_weights = np.log(codes.weights)
        self.means = torch.from_numpy(codes.means)
        self.factors = torch.from_numpy(codes.factors)
        self.inverses = torch.linalg.pinv(self.factors)
        # Opposite pairs.
        generator = torch.Generator().manual_seed(0)
        shape = -(-n_draws // 2), self.factors.shape[2]
        half = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.draws = torch.cat([half, -half])[:n_draws]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def ranks(self) -> IntArray:
        """Number of directions of each component."""
        return self.codes.ranks

    @property
    def n_entries(self) -> int:
        """Numbers that one sample takes in between, about."""
        k, p, r = self.factors.shape
        return max(k * (p + r) * r, self.model.n_features * p)

    def log_joint(self, x: DoubleArray) -> DoubleArray:
        """Return bounds of the log-density of samples together with each component.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Centred and scaled samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Bounds in nats; minus infinity for all but the best three components of a sample.
        """
        joint = np.full((len(x), len(self)), -np.inf)
        with torch.no_grad():
            samples = torch.from_numpy(x)
            guess, w = self._at_tangent(samples)
            guess += self.log_weights
            least = np.sort(guess, axis=1)[:, -min(N_BEST, len(self))]
            least = np.maximum(least, guess.max(axis=1) - MOST_BEHIND)
            rows, components = np.nonzero(guess >= least[:, None])
            if len(rows):
                bounds = self._bounds(samples[rows], torch.from_numpy(components), w[rows, components])
                joint[rows, components] = self.log_weights[components] + bounds.numpy()
            # What overflows belongs to none, and is no number.
            joint[~np.isfinite(guess).all(axis=1)] = np.nan
        return joint

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
        bounds: DoubleArray = logsumexp(self.log_joint(x), axis=1)
        return bounds

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
            The component of each.
        """
        codes, labels = self.codes.sample(n_samples, rng)
        with torch.no_grad():
            x: DoubleArray = self.model.decode(torch.from_numpy(codes)).numpy()
        return x + math.sqrt(self.noise) * rng.standard_normal(x.shape), labels

    def _at_tangent(self, x: torch.Tensor) -> tuple[DoubleArray, torch.Tensor]:
        """Return log-densities with the decoder's tangent at codes of the encoder, and modes w.

        They are exact if the decoder is linear. Shapes are (n_samples, n_components), and
        (n_samples, n_components, max_rank).
        """
        used = self.factors.any(dim=2).any(dim=0) | self.means.any(dim=0)
        means, S = self.means[:, used], self.factors[:, used]
        e = self.model.code(self.model.posterior(x)) * used
        J, f = _jacobian(self.model.decode, e, torch.eye(len(used), dtype=e.dtype)[:, used])
        residual = x - f
        gram, projected = J.mT @ J, (J.mT @ residual[:, :, None])[:, :, 0]
        moved = means - e[:, None, used]
        along = moved @ gram
        distance = residual.square().sum(dim=1, keepdim=True)
        distance = distance + ((along - 2 * projected[:, None]) * moved).sum(dim=2)
        b = torch.einsum("kir,nki->nkr", S, projected[:, None] - along) / self.noise
        precision = S.mT @ (gram[:, None] @ S) / self.noise
        precision = precision + torch.eye(S.shape[2], dtype=e.dtype)
        L = torch.linalg.cholesky_ex(precision).L
        w = torch.cholesky_solve(b[..., None], L)[..., 0]
        log_det = 2 * L.diagonal(dim1=2, dim2=3).log().sum(dim=2)
        terms = distance / self.noise - (b * w).sum(dim=2) + log_det + self._log_volume
        return (-0.5 * terms).numpy(), w

    @property
    def _log_volume(self) -> float:
        return self.model.n_features * math.log(2 * math.pi * self.noise)

    def _bounds(self, x: torch.Tensor, components: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return bounds of the log-density of each sample in the component beside it."""
        means, S = self.means[components], self.factors[components]

        def decode(w: torch.Tensor) -> torch.Tensor:
            return self.model.decode(means + (S @ w[:, :, None])[:, :, 0])

        def cost(w: torch.Tensor) -> torch.Tensor:
            return 0.5 * ((x - decode(w)).square().sum(dim=1) / self.noise + w.square().sum(dim=1))

        code = self.model.code(self.model.posterior(x))
        projected = (self.inverses[components] @ (code - means)[:, :, None])[:, :, 0]
        w = torch.where((cost(projected) < cost(w))[:, None], projected, w)
        w, L = self._mode(x, decode, cost, w)
        log_det = L.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        ratios = []
        for eps in self.draws:
            drawn = torch.linalg.solve_triangular(
                L.mT, eps.expand(len(w), -1)[:, :, None], upper=True
            )[:, :, 0]
            ratios.append(0.5 * eps.square().sum() - cost(w + drawn))
        log_mean = torch.logsumexp(torch.stack(ratios), dim=0) - math.log(len(ratios))
        return log_mean - log_det - 0.5 * self._log_volume

    def _mode(
        self,
        x: torch.Tensor,
        decode: Callable[[torch.Tensor], torch.Tensor],
        cost: Callable[[torch.Tensor], torch.Tensor],
        w: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return modes, and Cholesky factors of the Gauss-Newton precision there."""
        identity = torch.eye(w.shape[1], dtype=w.dtype)
        lowest = cost(w)
        for i in range(N_STEPS + 1):
            J, f = _jacobian(decode, w, identity)
            L = torch.linalg.cholesky_ex(identity + J.mT @ J / self.noise).L
            if i == N_STEPS:
                break
            downhill = (J.mT @ (x - f)[:, :, None])[:, :, 0] / self.noise - w
            step = torch.cholesky_solve(downhill[:, :, None], L)[:, :, 0]
            before, moves = lowest, torch.ones(len(w), dtype=torch.bool)
            for share in SHARES:
                tried = w + share * step
                lower = cost(tried)
                better = moves & (lower < lowest)
                w = torch.where(better[:, None], tried, w)
                lowest, moves = torch.where(better, lower, lowest), moves & ~better
                if not moves.any():
                    break
            if not (before - lowest > LEAST_GAIN).any():
                break
        return w, L


def _jacobian(
    f: Callable[[torch.Tensor], torch.Tensor], points: torch.Tensor, directions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the derivatives of a function of rows along columns, and its values.

    Rows do not depend on each other, so that one derivative serves all of them.
    """
    columns = [
        torch.func.jvp(f, (points,), (direction.expand_as(points).contiguous(),))[1]
        for direction in directions.T
    ]
    values = f(points)
    if not columns:
        return values.new_zeros((*values.shape, 0)), values
    return torch.stack(columns, dim=2), values
