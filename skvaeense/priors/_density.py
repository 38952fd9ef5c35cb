"""The density of samples under a mixture over codes and a linear decoder."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import logsumexp, softmax

from skvaeense.utils._typing import BoolArray, DoubleArray, FloatArray, IntArray

# Training samples that are kept, and their entries.
MAX_ROWS, MAX_ENTRIES = 8192, 2**22
# How far the sum of weights, and the basis from orthonormal ones, may be off in a sound file.
ROUNDING = 1e-6
# Entries of the systems that are solved at once to fill in features.
SOLVED_ENTRIES = 2**22
# Coordinates of rows that are computed at once.
CACHED_ENTRIES = 2**18


class CodedSamples(NamedTuple):
    """Samples, what an encoder says of them, and the linear decoder: what a density is fitted to.

    A sample x has the code e if ``x = W e + b`` and noise. Codes of closed latents are near 0.
    Where the decoder is not linear, scaled codes take the place of samples, and W is diagonal.

    Attributes
    ----------
    x : ndarray of shape (n_samples, n_features)
        Samples in the units of the model.

    code : ndarray of shape (n_samples, n_components)
        Posterior means of e.

    code_variance : ndarray of shape (n_samples, n_components)
        Posterior variances of e.

    is_open : ndarray of bool of shape (n_samples, n_components)
        Which latents are open.

    weight : ndarray of shape (n_features, n_components)
        Decoder columns W.

    bias : ndarray of shape (n_features,)
        What is added, b.

    noise_variance : float
        Noise variance that was learned in training.

    location : ndarray of int of shape (n_samples,)
        Which location each sample is at; 0 if there is one for all. Several have a column of the
        code each, the last ones.

    gated : bool
        Whether latents open and close.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.priors import CodedSamples, StandardNormal
    >>> code = np.random.default_rng(0).standard_normal((5, 1))
    >>> samples = CodedSamples(
    ...     code, code, 0 * code, code != 0, np.ones((1, 1)), np.zeros(1), 0.5,
    ...     location=np.zeros(5, dtype=int), gated=False,
    ... )
    >>> density = StandardNormal().density(samples)
    >>> [round(float(p), 4) for p in density.log_prob(np.zeros((1, 1)))]  # That of N(0, 1.5).
    [-1.1217]
    """

    x: DoubleArray
    code: DoubleArray
    code_variance: DoubleArray
    is_open: BoolArray
    weight: DoubleArray
    bias: DoubleArray
    noise_variance: float
    location: IntArray
    gated: bool


class Shared:
    """An object that never changes, so that its copies may be the object itself."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True, eq=False)
class TrainingRows(Shared):
    """Training samples that a prior learns from when it is asked for a density.

    Attributes
    ----------
    x : ndarray of shape (n_samples, n_features)
        Samples, centred at their locations and scaled.

    location : ndarray of int of shape (n_samples,)
        Which location each is at; 0 if there is one for all.
    """

    x: FloatArray
    location: IntArray

    @classmethod
    def of(cls, x: FloatArray, location: IntArray, before: Self | None = None) -> Self:
        """Return new rows, and as many of those before them as there is room for.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples.

        location : ndarray of int of shape (n_samples,)
            Their locations.

        before : TrainingRows or None, default=None
            Earlier ones.

        Returns
        -------
        TrainingRows
            At most 8,192 rows, and no more than about four million entries.
        """
        n = min(MAX_ROWS, max(MAX_ENTRIES // x.shape[1], 1))
        if before is not None and len(x) < n:
            x = np.concatenate([x, before.x])
            location = np.concatenate([location, before.location])
        return cls(x[:n].copy(), location[:n].copy())

    def check(self, n_features: int, n_locations: int) -> None:
        """Raise an error unless the arrays are sound.

        Parameters
        ----------
        n_features : int
            Number of features of the samples.

        n_locations : int
            Number of locations.

        Raises
        ------
        ValueError
            If they are not.
        """
        n = len(self.location)
        is_sound = self.x.shape == (n, n_features) and self.x.dtype.kind == "f" and n > 0
        if not (is_sound and np.isfinite(self.x).all()):
            raise ValueError(f"x must be finite, and have rows of {n_features} features")
        location = self.location
        if location.ndim != 1 or location.dtype.kind != "i":
            raise ValueError("location must hold ints")
        if location.min() < 0 or location.max() >= max(n_locations, 1):
            raise ValueError("location must name locations")


@dataclass(frozen=True, eq=False)
class MixtureDensity(Shared):  # numpydoc ignore=PR02
    """A mixture of normal distributions, each with few directions of its own.

    Component c has weight p_c, mean ``b + Q m_c``, variances v_c in orthonormal directions
    ``Q U_c``, and the noise variance g_c in all others. With ``h = Q'(x - b)``::

        -2 log N_c(x) = d log(2 pi g_c) + sum_i log(v_ci / g_c)
                        + |x - b - Q m_c|^2 / g_c - sum_i (1 / g_c - 1 / v_ci) (U_ci'(h - m_c))^2

    Since Q spans the columns of a decoder W, it is the density of ``W e + b`` and noise for codes
    e from a mixture of normal distributions: exact, without an encoder.

    Parameters
    ----------
    center : ndarray of shape (n_features,)
        The point b.

    basis : ndarray of shape (n_features, n_directions)
        Orthonormal columns Q.

    weights : ndarray of shape (n_components,)
        Weights of the components.

    means : ndarray of shape (n_components, n_directions)
        Their means m_c.

    directions : ndarray of shape (n_components, n_directions, max_rank)
        Their directions U_c, as columns; columns of zeros where a component has fewer.

    variances : ndarray of shape (n_components, max_rank)
        Their variances v_c; that of the noise where there is no direction.

    noise_variances : ndarray of shape (n_components,)
        Their noise variances g_c.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.priors import MixtureDensity
    >>> density = MixtureDensity(
    ...     np.zeros(2), np.eye(2), np.ones(1), np.zeros((1, 2)), np.eye(2)[None, :, :1],
    ...     np.full((1, 1), 4.0), np.ones(1),
    ... )
    >>> density.ranks, round(float(density.log_prob(np.array([[2.0, 0.0]]))[0]), 3)
    (array([1]), -3.031)
    """

    center: DoubleArray
    basis: DoubleArray
    weights: DoubleArray
    means: DoubleArray
    directions: DoubleArray
    variances: DoubleArray
    noise_variances: DoubleArray

    def check(self, n_features: int) -> None:
        """Raise an error unless all arrays are finite, and fit together.

        Parameters
        ----------
        n_features : int
            Number of features of the samples.

        Raises
        ------
        ValueError
            If they do not.
        """
        (k, p), r = np.shape(self.means), np.shape(self.variances)[1]
        shapes = {
            "center": (n_features,),
            "basis": (n_features, p),
            "weights": (k,),
            "means": (k, p),
            "directions": (k, p, r),
            "variances": (k, r),
            "noise_variances": (k,),
        }
        check_mixture(self, shapes)
        if (self.variances <= 0).any():
            raise ValueError("variances must be above 0")
        if np.abs(self.basis.T @ self.basis - np.eye(p)).max(initial=0) > ROUNDING:
            raise ValueError("the columns of the basis must be orthonormal")

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def ranks(self) -> IntArray:
        """Number of directions of each component whose variance is above the noise."""
        return self.directions.any(axis=1).sum(axis=1)

    @property
    def n_entries(self) -> int:
        """Size of what is computed of one sample, about, in numbers."""
        return self.variances.size + 1

    def log_joint(self, x: DoubleArray) -> DoubleArray:
        """Return the log-density of samples together with each component.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            ``log p_c + log N_c(x)`` in nats.
        """
        return self.log_joint_along(*along(x - self.center, self.basis))

    def log_joint_along(self, h: DoubleArray, off: DoubleArray) -> DoubleArray:
        """Return the same from coordinates in the basis, and the squared distance from its span.

        Parameters
        ----------
        h : ndarray of shape (n_samples, n_directions)
            ``Q'(x - b)``.

        off : ndarray of shape (n_samples,)
            ``|x - b - Q h|^2``.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            As `log_joint`.
        """
        k, p, r = self.directions.shape
        noise = self.noise_variances
        # One product for all components, and each row relative to each mean.
        every = np.ascontiguousarray(self.directions.transpose(1, 0, 2)).reshape(p, k * r)
        shifts = np.einsum("kp,kpr->kr", self.means, self.directions).ravel()
        gain = 1 / noise[:, None] - 1 / self.variances
        explained = np.empty((len(h), k))
        # Some rows at a time: what lies in between stays in the cache.
        n_rows = max(CACHED_ENTRIES // max(k * r, 1), 1)
        for start in range(0, len(h), n_rows):
            some = slice(start, start + n_rows)
            coordinates = h[some] @ every
            coordinates -= shifts
            np.square(coordinates, out=coordinates)
            coordinates = coordinates.reshape(len(coordinates), k, r)
            explained[some] = np.einsum("nkr,kr->nk", coordinates, gain)
        distances = np.square(h).sum(axis=1)[:, None] - 2 * h @ self.means.T
        distances += np.square(self.means).sum(axis=1) + off[:, None]
        quadratic = distances / noise - explained
        log_volume = len(self.center) * np.log(2 * math.pi * noise)
        log_volume += np.log(self.variances / noise[:, None]).sum(axis=1)
        joint: DoubleArray = np.log(self.weights) - 0.5 * (log_volume + quadratic)
        return joint

    def log_prob(self, x: DoubleArray) -> DoubleArray:
        """Return the log-density of samples.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-densities in nats.
        """
        log_prob: DoubleArray = logsumexp(self.log_joint(x), axis=1)
        return log_prob

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
        labels = rng.choice(len(self), n_samples, p=self.weights / self.weights.sum())
        x = rng.standard_normal((n_samples, len(self.center)))
        x *= np.sqrt(self.noise_variances[labels])[:, None]
        excess = np.sqrt(np.maximum(self.variances - self.noise_variances[:, None], 0))
        draws = rng.standard_normal((n_samples, excess.shape[1])) * excess[labels]
        for c in range(len(self)):
            own = labels == c
            h = self.means[c] + draws[own] @ self.directions[c].T
            x[own] += self.center + h @ self.basis.T
        return x, labels

    def impute(self, x: DoubleArray) -> DoubleArray:
        """Return samples in which conditional means take the place of NaN.

        The features that are missing have, given the others, a mixture of normal distributions. Its
        mean is that of the components, weighted by how well each fits the others.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples, with NaN where a feature is missing.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Filled samples.
        """
        filled = x.copy()
        (rows,) = np.nonzero(np.isnan(x).any(axis=1))
        size = max(self.directions.shape[2], 1) ** 2 + x.shape[1]
        for start in range(0, len(rows), max(SOLVED_ENTRIES // size, 1)):
            some = rows[start : start + max(SOLVED_ENTRIES // size, 1)]
            filled[some] = self._filled(x[some])
        return filled

    def _filled(self, x: DoubleArray) -> DoubleArray:
        known = ~np.isnan(x)
        log_joint = np.empty((len(x), len(self)))
        means = np.empty((len(self), *x.shape))
        excess = np.sqrt(np.maximum(self.variances - self.noise_variances[:, None], 0))
        for c, noise in enumerate(self.noise_variances):
            # x = m + F w and noise, with w from N(0, I); only the rows of F that are known count.
            m = self.center + self.basis @ self.means[c]
            F = self.basis @ self.directions[c] * excess[c]
            residual = np.where(known, x - m, 0.0)
            r = F.shape[1]
            products = (F[:, :, None] * F[:, None, :]).reshape(len(F), r * r)
            precision = (known @ products).reshape(len(x), r, r) / noise + np.eye(r)
            projected = residual @ F / noise
            w = np.linalg.solve(precision, projected[..., None])[..., 0]
            means[c] = m + w @ F.T
            quadratic = np.square(residual).sum(axis=1) / noise - (projected * w).sum(axis=1)
            log_volume = known.sum(axis=1) * math.log(2 * math.pi * noise)
            log_volume += np.linalg.slogdet(precision)[1]
            log_joint[:, c] = math.log(self.weights[c]) - 0.5 * (log_volume + quadratic)
        mean = np.einsum("nk,knf->nf", softmax(log_joint, axis=1), means)
        return np.where(known, x, mean)


def check_mixture(mixture: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise a ValueError unless arrays have these shapes, and are those of a mixture."""
    for name, shape in shapes.items():
        array = getattr(mixture, name)
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite and of shape {shape}")
    if not (mixture.noise_variances > 0).all():
        raise ValueError("noise_variances must be above 0")
    if not (mixture.weights > 0).all() or abs(mixture.weights.sum() - 1) > ROUNDING:
        raise ValueError("weights must be above 0, and 1 together")


def along(x: DoubleArray, basis: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return coordinates in an orthonormal basis, and the squared distance from its span."""
    h = x @ basis
    if basis.shape[0] == basis.shape[1]:
        return h, np.zeros(len(x))
    return h, np.square(x - h @ basis.T).sum(axis=1)
