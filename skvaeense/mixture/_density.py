"""The density of samples under a mixture of normal distributions with few directions each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
from scipy.special import softmax

from skvaeense.utils._linalg import ROUNDING, threads_for
from skvaeense.utils._records import Record, check_fields
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray

# Share of the most surprising held-out rows that count as usual. All are usual without outliers,
# and far fewer with many, but nothing tells which. By benchmark "outliers", levels hold for 5 %.
USUAL = 2 / 3


@dataclass(frozen=True, eq=False)
class MixtureDensity(Record):  # numpydoc ignore=PR02
    """A mixture of normal distributions, each with its own few directions.

    Component c has weight p_c, mean ``b + Q m_c``, variances v_c in orthonormal directions
    ``Q U_c``, and the noise variance g_c in all other directions. With ``h = Q'(x - b)``::

        -2 log N_c(x) = d log(2 pi g_c) + sum_i log(v_ci / g_c)
                        + |x - b - Q m_c|^2 / g_c - sum_i (1 / g_c - 1 / v_ci) (U_ci'(h - m_c))^2

    If Q spans the columns of a decoder W, this is the exact density of ``W e + b`` plus noise, for
    codes e from a mixture of normal distributions. No encoder is needed.

    A broad normal distribution, the background, can have a share of the samples, so that even
    samples far from all components keep some density.

    Parameters
    ----------
    center : ndarray of shape (n_features,)
        The point b.

    basis : ndarray of shape (n_features, n_directions)
        Orthonormal columns Q.

    weights : ndarray of shape (n_components,)
        Weights of the components.

    means : ndarray of shape (n_components, n_directions)
        Means m_c of the components.

    directions : ndarray of shape (n_components, n_directions, max_rank)
        Directions U_c of the components, as columns, padded with columns of zeros.

    variances : ndarray of shape (n_components, max_rank)
        Variances v_c along the directions, padded with the noise variance.

    noise_variances : ndarray of shape (n_components,)
        Noise variances g_c of the components.

    background : MixtureDensity or None, default=None
        The broad distribution.

    background_weight : float, default=0.0
        Share of the background among the samples; `weights` divide the other samples.

    dimensions : ndarray of int of shape (n_components,) or None, default=None
        Number of directions of each component that stand out from the noise; None counts all.

    scale : ndarray of shape (n_features,) or None, default=None
        Divisor of x - b, applied first; the parameters above describe the quotients.

    core : MixtureDensity or None, default=None
        The mixture of the rows that are least surprising, without a background.

    held_out : ndarray of shape (n_rows, 2) or None, default=None
        Log-densities of held-out rows under the cores of mixtures fitted without them, as from
        `log_probs`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.mixture import MixtureDensity
    >>> density = MixtureDensity(
    ...     np.zeros(2), np.eye(2), np.ones(1), np.zeros((1, 2)), np.eye(2)[None, :, :1],
    ...     np.full((1, 1), 4.0), np.ones(1),
    ... )
    >>> density.ranks, round(float(density.log_prob(np.array([[2.0, 0.0]]))[0]), 3)
    (array([1]), -3.031)
    """

    center: Annotated[DoubleArray, "d"]
    basis: Annotated[DoubleArray, "d p"]
    weights: Annotated[DoubleArray, "k >0"]
    means: Annotated[DoubleArray, "k p"]
    directions: Annotated[DoubleArray, "k p r"]
    variances: Annotated[DoubleArray, "k r >0"]
    noise_variances: Annotated[DoubleArray, "k >0"]
    background: Annotated["MixtureDensity | None", "d"] = None
    background_weight: Annotated[float, ">=0 <1"] = 0.0
    dimensions: Annotated[IntArray | None, "k int >=0 <=d"] = None
    scale: Annotated[DoubleArray | None, "d >0"] = None
    core: Annotated["MixtureDensity | None", "d"] = None
    held_out: Annotated[DoubleArray | None, "n 2"] = None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.center)

    def check(self) -> None:
        """Raise an error unless all arrays are finite and match each other."""
        sizes = check_fields(type(self), vars(self))
        if sizes["p"] > sizes["d"]:
            raise ValueError("the basis must have no more directions than features")
        if abs(self.weights.sum() - 1) > ROUNDING:
            raise ValueError("weights must sum to 1")
        gaps = self.basis.T @ self.basis - np.eye(sizes["p"])
        if np.abs(gaps).max(initial=0) > ROUNDING:
            raise ValueError("the columns of the basis must be orthonormal")
        if (self.background is None) != (self.background_weight == 0):
            raise ValueError("background_weight must be above 0 if there is a background")
        if self.background is not None and self.background.background is not None:
            raise ValueError("the background must not have a background itself")

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def ranks(self) -> IntArray:
        """Number of directions of each component whose variance is above the noise."""
        return self.n_directions if self.dimensions is None else self.dimensions

    @property
    def n_directions(self) -> IntArray:
        """Number of directions of each component."""
        return self.directions.any(axis=1).sum(axis=1)

    @property
    def n_entries(self) -> int:
        """Approximate number of values that are computed per sample."""
        return self.variances.size + 1

    # --- log-densities ------------------------------------------------------------------------

    def log_joint(self, x: DoubleArray) -> DoubleArray:
        """Return the joint log-density of samples and each component.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples. NaN marks missing features, which are integrated out.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            ``log p_c + log N_c(x)`` in nats, of the known features.
        """
        has_holes = np.isnan(x).any(axis=1)
        y = self.quotients(x)
        with threads_for(len(x) * self.directions.size):
            joint = self.log_joint_along(*along(np.where(np.isnan(y), 0.0, y), self.basis))
        joint -= np.log(self.unit).sum()
        log_shares = self._log_shares()
        with threads_for(self.directions.shape[2] ** 3):
            for some in self._solved_at_once(np.flatnonzero(has_holes)):
                for c in range(len(self)):
                    joint[some, c] = log_shares[c] + log_known(self, c, x[some])
        return joint

    def log_joint_along(self, h: DoubleArray, off: DoubleArray) -> DoubleArray:
        """Return `log_joint` from coordinates in the basis, and squared distances from its span."""
        k, p, r = self.directions.shape
        noise = self.noise_variances
        # One product gives the coordinates for all components. The means are subtracted afterwards.
        every = np.ascontiguousarray(self.directions.transpose(1, 0, 2)).reshape(p, k * r)
        shifts = np.einsum("kp,kpr->kr", self.means, self.directions).ravel()
        gain = 1 / noise[:, None] - 1 / self.variances
        explained = np.empty((len(h), k))
        for some in row_blocks(len(h), k * r):
            coordinates = h[some] @ every
            coordinates -= shifts
            np.square(coordinates, out=coordinates)
            coordinates = coordinates.reshape(len(coordinates), k, r)
            explained[some] = np.einsum("nkr,kr->nk", coordinates, gain)
        distances = np.square(h).sum(axis=1)[:, None] - 2 * h @ self.means.T
        sizes = np.square(self.means).sum(axis=1)
        distances += sizes + off[:, None]
        quadratic = distances / noise - explained
        # With large means or variances, rounding would spoil the differences of squares.
        sizes = np.maximum(sizes, self.variances.max(axis=1, initial=0.0))
        for c in np.flatnonzero(np.finfo(float).eps * sizes > ROUNDING * noise):
            rest = h - self.means[c]
            coordinates = rest @ self.directions[c]
            rest -= coordinates @ self.directions[c].T
            quadratic[:, c] = np.square(coordinates) @ (1 / self.variances[c])
            quadratic[:, c] += (np.square(rest).sum(axis=1) + off) / noise[c]
        log_volume = len(self.center) * np.log(2 * math.pi * noise)
        log_volume += np.log(self.variances / noise[:, None]).sum(axis=1)
        return self._log_shares() - 0.5 * (log_volume + quadratic)

    def log_prob(self, x: DoubleArray) -> DoubleArray:
        """Return the log-density of samples.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples. NaN marks missing features, which are integrated out.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats, of the known features.
        """
        return np.logaddexp(log_sum_exp(self.log_joint(x)), self._log_broad(x))

    def _log_broad(self, x: DoubleArray) -> DoubleArray:
        """Return the joint log-density of samples and the background."""
        if self.background is None:
            return np.full(len(x), -np.inf)
        return self.background.log_prob(x) + math.log(self.background_weight)

    def log_probs(self, x: DoubleArray) -> DoubleArray:
        """Return the log-densities of samples under the core, and under the blurred core."""
        core = self.core or self.blurred(0.0)
        return np.stack([core.log_prob(x), core.blurred(1.0).log_prob(x)], axis=1)

    def p_values(self, x: DoubleArray) -> DoubleArray:
        """Return the share of usual rows that are at least as surprising as each sample.

        A sample is as surprising as the harmonic mean [1]_ of its two ranks among held-out rows: by
        the core, and by the blurred core. Held-out rows can be outliers, most of all those that
        surprise: a share p of them counts as ``p (USUAL + (1 - USUAL) p)``.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples, complete.

        Returns
        -------
        ndarray of shape (n_samples,)
            Shares, above 0 because the sample itself counts; NaN where the density is not finite.

        References
        ----------
        .. [1] D. Wilson (2019). The harmonic mean p-value for combining dependent tests. PNAS 116.
        """
        held_out: Any = self.held_out

        def ranks(log_probs: DoubleArray) -> DoubleArray:
            columns = zip(held_out.T, log_probs.T, strict=True)
            each = [np.searchsorted(np.sort(h), own, side="right") for h, own in columns]
            return 1 / (1 / np.add(each, 1)).sum(axis=0)

        log_probs = self.log_probs(x)
        n_as_low = np.searchsorted(np.sort(ranks(held_out)), ranks(log_probs), side="right")
        shares = (1 + n_as_low) / (1 + len(held_out))
        return shares * (USUAL + (1 - USUAL) * shares) + 0.0 * log_probs.sum(axis=1)

    def quotients(self, x: DoubleArray) -> DoubleArray:
        """Return centred samples, divided by the scale."""
        return (x - self.center) / self.unit

    def _log_shares(self) -> DoubleArray:
        return np.log(self.weights) + math.log1p(-self.background_weight)

    # --- components ---------------------------------------------------------------------------

    def take(self, kept: BoolArray | IntArray) -> Self:
        """Return the mixture of some components, by a mask or indices, in their proportions."""
        each = "means", "directions", "variances", "noise_variances", "dimensions"
        has = vars(self)
        parts: Any = {name: has[name][kept] for name in each if has[name] is not None}
        weights = self.weights[kept]
        return replace(self, weights=weights / weights.sum(), **parts)

    def join(self, other: "MixtureDensity", share: float) -> Self:
        """Return the mixture joined with another one, in the same basis, with this share."""
        means = np.vstack([self.means, other.means])
        noises = np.r_[self.noise_variances, other.noise_variances]
        rank = max(self.variances.shape[1], other.variances.shape[1])
        directions, variances = np.zeros((*means.shape, rank)), np.repeat(noises[:, None], rank, 1)
        for density, own in ((self, slice(len(self))), (other, slice(len(self), None))):
            r = density.variances.shape[1]
            directions[own, :, :r], variances[own, :r] = density.directions, density.variances
        return replace(
            self,
            weights=np.r_[(1 - share) * self.weights, share * other.weights],
            means=means,
            directions=directions,
            variances=variances,
            noise_variances=noises,
            dimensions=None,
        )

    @property
    def spreads(self) -> DoubleArray:
        """Mean variance per feature of each component."""
        d, (_, r) = len(self.center), self.variances.shape
        return (self.variances.sum(axis=1) + (d - r) * self.noise_variances) / d

    def raised(self, share: float) -> Self:
        """Return the mixture with variances of at least a share of a component's mean variance."""
        least = share * self.spreads
        noises = np.maximum(self.noise_variances, least)
        variances = np.maximum(self.variances, least[:, None])
        return replace(self, variances=variances, noise_variances=noises)

    @property
    def covariances(self) -> DoubleArray:
        """The covariances of the components along the basis."""
        excess = np.maximum(self.variances - self.noise_variances[:, None], 0.0)
        within = (self.directions * excess[:, None]) @ self.directions.transpose(0, 2, 1)
        noises: DoubleArray = self.noise_variances[:, None, None] * np.eye(self.means.shape[1])
        return within + noises

    def blurred(self, factor: float) -> Self:
        """Return the mixture of samples to which noise is added, without the background.

        The noise is the same in all directions. Its variance is the mean variance of a feature,
        times the factor. So what counts is how far a sample is from most others, and not whether
        the components are narrow in its direction.
        """
        centred = self.means - self.weights @ self.means
        between = np.square(centred).sum(axis=1) / len(self.center)
        noise = factor * float(self.weights @ (self.spreads + between))
        variances, noises = self.variances + noise, self.noise_variances + noise
        sharp = replace(self, background=None, background_weight=0.0)
        return replace(sharp, variances=variances, noise_variances=noises)

    @property
    def unit(self) -> DoubleArray:
        """Divisor of each feature."""
        return np.ones(len(self.center)) if self.scale is None else self.scale

    def covariance(self, c: int) -> DoubleArray:
        """Return the covariance ``D (F F' + g I) D`` of a component, for scales D."""
        loadings = self.unit[:, None] * self.loadings(c)
        noise = self.noise_variances[c] * np.square(self.unit)
        return loadings @ loadings.T + np.diag(noise)

    def loadings(self, c: int) -> DoubleArray:
        """Return the factor F of a component, whose quotients have covariance ``F F' + g I``."""
        r = int(self.n_directions[c])
        excess = np.maximum(self.variances[c, :r] - self.noise_variances[c], 0)
        return self.basis @ self.directions[c, :, :r] * np.sqrt(excess)

    def in_units(self, center: DoubleArray, scale: float) -> Self:
        """Convert a mixture of centred and scaled samples to the units of the samples."""
        broad = self.background and self.background.in_units(center, scale)
        core = self.core and self.core.in_units(center, scale)
        center, held_out = center + scale * self.center, self.held_out
        if held_out is not None:
            held_out = held_out - len(center) * math.log(scale)
        moved = replace(self, center=center, background=broad, core=core, held_out=held_out)
        # The squares of very large or small scales could leave the range of float64.
        if self.scale is not None or not 1e-100 < scale < 1e100:
            return replace(moved, scale=scale * self.unit)
        variances, noises = scale**2 * self.variances, scale**2 * self.noise_variances
        return replace(moved, means=scale * self.means, variances=variances, noise_variances=noises)

    def divided_by(self, scale: DoubleArray) -> Self:
        """Return the mixture of samples whose quotients by a scale follow this mixture."""
        broad = self.background and self.background.divided_by(scale)
        core = self.core and self.core.divided_by(scale)
        return replace(self, center=scale * self.center, scale=scale, background=broad, core=core)

    # --- draws and missing features -----------------------------------------------------------

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
            Component of each sample. The background covers unseen regions, and is not drawn from.
        """
        labels = rng.choice(len(self), n_samples, p=self.weights / self.weights.sum())
        x = rng.standard_normal((n_samples, len(self.center)))
        x *= np.sqrt(self.noise_variances[labels])[:, None]
        excess = np.sqrt(np.maximum(self.variances - self.noise_variances[:, None], 0))
        draws = rng.standard_normal((n_samples, excess.shape[1])) * excess[labels]
        for c in range(len(self)):
            own = labels == c
            h = self.means[c] + draws[own] @ self.directions[c].T
            x[own] += h @ self.basis.T
        return self.center + x * self.unit, labels

    def impute(self, x: DoubleArray, rng: np.random.RandomState | None = None) -> DoubleArray:
        """Return samples with NaN replaced by conditional means or by draws.

        Given the known features, the missing features follow a mixture of normal distributions. Its
        mean averages the components' means, weighted by how well each component fits the known
        features.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples, with NaN where a feature is missing.

        rng : RandomState or None, default=None
            Source of randomness for draws from this distribution; None fills in its mean.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Filled samples.
        """
        filled = x.copy()
        with threads_for(self.directions.shape[2] ** 3):
            for some in self._solved_at_once(np.flatnonzero(np.isnan(x).any(axis=1))):
                filled[some] = fill(self, x[some], rng)
        return filled

    def _solved_at_once(self, rows: IntArray) -> Iterator[IntArray]:
        """Yield blocks of rows, since each row needs its own linear system."""
        for some in row_blocks(len(rows), self.directions.shape[2] ** 2, len(self.center)):
            yield rows[some]


def log_sum_exp(values: DoubleArray) -> DoubleArray:
    """Return the logarithm of the sum of exponentials of each row.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        The exponents, at least one of them finite in each row.

    Returns
    -------
    ndarray of shape (n_rows,)
        Same as scipy's logsumexp, which takes several times as long for few columns.
    """
    largest = values.max(axis=1)
    return np.log(np.exp(values - largest[:, None]).sum(axis=1)) + largest


def along(x: DoubleArray, basis: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return coordinates in an orthonormal basis, and the squared distance from its span."""
    h = x @ basis
    if basis.shape[0] == basis.shape[1]:
        return h, np.zeros(len(x))
    return h, np.square(x - h @ basis.T).sum(axis=1)


def condition(density: Any, c: int, x: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the conditional distribution of missing features under a component.

    Parameters
    ----------
    density : MixtureDensity
        The mixture.

    c : int
        Index of the component.

    x : ndarray of shape (n_samples, n_features)
        Samples, with NaN where a feature is missing.

    Returns
    -------
    filled : ndarray of shape (n_samples, n_features)
        Samples with conditional means in place of NaN.

    factors : ndarray of shape (n_samples, n_features, rank)
        Factors G of the conditional covariance, ``G G'`` plus the noise of missing features; 0
        where a feature is known.
    """
    _, lower, half = _known(density, c, x)
    known, F = ~np.isnan(x), density.loadings(c)
    inverse = np.linalg.inv(lower).transpose(0, 2, 1)
    w = (inverse @ half[..., None])[..., 0]
    mean = (density.basis @ density.means[c] + w @ F.T) * density.unit
    factors = ~known[:, :, None] * (F @ inverse * density.unit[:, None])
    return np.where(known, x, density.center + mean), factors


def log_known(density: Any, c: int, x: DoubleArray) -> DoubleArray:
    """Return the log-density of known features under a component, by the smaller system."""
    few = np.isnan(x).sum(axis=1) < (density.n_directions[c] if _keeps_digits(density, c) else 0)
    log_prob = np.empty(len(x))
    if few.any():
        log_prob[few] = _log_of_most(density, c, x[few])
    if not few.all():
        log_prob[~few] = _known(density, c, x[~few])[0]
    return log_prob


def _log_of_most(density: Any, c: int, x: DoubleArray) -> DoubleArray:
    """Return the log-density of known features, by linear systems in the missing ones.

    With the precision P of all features, known features k and missing ones m have the quadratic
    form ``r_k' (P_kk - P_km P_mm^-1 P_mk) r_k``, and their precision has the determinant
    ``|P| / |P_mm|``.
    """
    missing, r = np.isnan(x), int(density.n_directions[c])
    variances, noise = density.variances[c, :r], float(density.noise_variances[c])
    directions = density.basis @ density.directions[c, :, :r]
    precision = np.eye(x.shape[1]) / noise
    precision -= (directions * (1 / noise - 1 / variances)) @ directions.T
    residual = np.where(missing, 0.0, density.quotients(x) - density.basis @ density.means[c])
    product = residual @ precision
    # The missing features of each row, followed by others up to the common number.
    n_missing = missing.sum(axis=1)
    most = int(n_missing.max())
    some = np.argsort(~missing, axis=1, kind="stable")[:, :most]
    is_other = np.arange(most) >= n_missing[:, None]
    system = precision[some[:, :, None], some[:, None]]
    system[is_other[:, :, None] | is_other[:, None]] = 0.0
    system[:, range(most), range(most)] += is_other
    lower = np.linalg.cholesky(system)
    target = np.where(is_other, 0.0, np.take_along_axis(product, some, axis=1))
    half = np.linalg.solve(lower, target[..., None])[..., 0]
    quadratic = (residual * product).sum(axis=1) - np.square(half).sum(axis=1)
    log_volume = np.log(variances).sum() + (x.shape[1] - r) * math.log(noise)
    log_volume += 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    log_volume += (x.shape[1] - n_missing) * math.log(2 * math.pi)
    return -0.5 * (log_volume + quadratic) - ~missing @ np.log(density.unit)


def _keeps_digits(density: Any, c: int) -> bool:
    """Return whether products of a component's factors keep enough digits.

    The rounding error in nats is about eps times |F|^2 / noise.
    """
    noise = density.noise_variances[c]
    size = np.maximum(density.variances[c] - noise, 0).sum()
    return bool(size * np.finfo(float).eps ** (2 / 3) <= noise)


def _known(density: Any, c: int, x: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the log-density of known features under a component, and two factors.

    The model is ``x = m + F w`` plus noise, with w from N(0, I), and uses only the rows of F
    for known features. The factors are the Cholesky factor L of the precision of w, and
    ``L^-1 F'(x - m) / g``.
    """
    known, noise, F = ~np.isnan(x), density.noise_variances[c], density.loadings(c)
    r = F.shape[1]
    residual = np.where(known, density.quotients(x) - density.basis @ density.means[c], 0.0)
    if _keeps_digits(density, c):
        products = (F[:, :, None] * F[:, None, :]).reshape(len(F), r * r)
        precision = (known @ products).reshape(len(x), r, r) / noise + np.eye(r)
        lower = np.linalg.cholesky(precision)
        half = np.linalg.solve(lower, (residual @ F / noise)[..., None])[..., 0]
        quadratic = np.square(residual).sum(axis=1) / noise - np.square(half).sum(axis=1)
    else:
        # The precision would lose digits that its square root keeps.
        root = known[:, :, None] * F / math.sqrt(noise)
        root = np.concatenate([root, np.broadcast_to(np.eye(r), (len(x), r, r))], axis=1)
        q, upper = np.linalg.qr(root)
        signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1.0, 1.0)
        q, lower = signs[:, None] * q, (signs[..., None] * upper).transpose(0, 2, 1)
        target = np.hstack([residual / math.sqrt(noise), np.zeros((len(x), r))])[..., None]
        half = (q.transpose(0, 2, 1) @ target)[..., 0]
        quadratic = np.square(target[..., 0] - (q @ half[..., None])[..., 0]).sum(axis=1)
    log_volume = known.sum(axis=1) * math.log(2 * math.pi * noise)
    log_volume += 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    log_prob = -0.5 * (log_volume + quadratic) - known @ np.log(density.unit)
    return log_prob, lower, half


def fill(mixture: Any, x: DoubleArray, rng: np.random.RandomState | None = None) -> DoubleArray:
    """Return samples with NaN replaced by conditional means, or by draws of a generator."""
    broad, joint = mixture.background, mixture.log_joint(x)
    if broad is not None:
        joint = np.hstack([joint, broad.log_joint(x) + math.log(mixture.background_weight)])
    parts = [(density, c) for density in (mixture, broad) if density for c in range(len(density))]
    shares, missing = softmax(joint, axis=1), np.isnan(x)
    filled = np.where(missing, 0.0, x)
    if rng is not None:
        # Only rows that belong to the background draw from it.
        is_near = shares[:, : len(mixture)].sum(axis=1) >= 0.5
        shares[is_near, len(mixture) :] = 0.0
        sums = shares.cumsum(axis=1)
        labels = (sums < sums[:, -1:] * rng.uniform(size=(len(x), 1))).sum(axis=1)
        shares = np.eye(len(parts))[labels]
    for (density, c), share in zip(parts, shares.T, strict=True):
        own = share != 0
        if not own.any():
            continue
        value, factors = condition(density, c, x[own])
        if rng is not None:
            w = rng.standard_normal((len(value), factors.shape[2], 1))
            noise = math.sqrt(density.noise_variances[c]) * rng.standard_normal(value.shape)
            value = value + (factors @ w)[..., 0] + noise * density.unit
        filled[own] += np.where(missing[own], share[own, None] * value, 0.0)
    return filled
