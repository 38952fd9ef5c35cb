"""The density of samples under a mixture of normal distributions with few directions each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from scipy.special import softmax

from skvaeense.utils._linalg import ROUNDING, threads_for
from skvaeense.utils._records import Record, check_fields
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray

# Number of components from which products of pairs of coordinates, which fill more memory, pay.
MANY_COMPONENTS = 8


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

    pulls : ndarray of shape (2,) or None, default=None
        Weights of the conditional means under the mixture and under one normal distribution in
        `impute`; what is left to 1 is the weight of the mean. None takes the mixture alone.

    owners : ndarray of int of shape (n_components,) or None, default=None
        Index of the part of the data that each component belongs to. None makes each component a
        part.

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
    pulls: Annotated[DoubleArray | None, "2 >=0 <=1"] = None
    owners: Annotated[IntArray | None, "k int >=0 <k"] = None

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
        if self.owners is not None and len(np.unique(self.owners)) <= self.owners.max():
            raise ValueError("each part must have a component")

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def ranks(self) -> IntArray:
        """Number of directions of each component whose variance is above the noise."""
        return self.n_directions if self.dimensions is None else self.dimensions

    @property
    def part_ranks(self) -> IntArray:
        """The same number for each part of the data."""
        if self.owners is None:
            return self.ranks
        return self.ranks[np.unique(self.owners, return_index=True)[1]]

    @property
    def n_directions(self) -> IntArray:
        """Number of directions of each component."""
        return self.directions.any(axis=1).sum(axis=1)

    @property
    def n_entries(self) -> int:
        """Approximate number of values that are computed per sample."""
        return self.variances.size + 1

    # --- log-densities ------------------------------------------------------------------------

    def log_joint(self, x: DoubleArray, groups: "list[Holes] | None" = None) -> DoubleArray:
        """Return the joint log-density of samples and each component.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Samples. NaN marks missing features, which are integrated out.

        groups : list of Holes or None, default=None
            What the samples miss, if it is known.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            ``log p_c + log N_c(x)`` in nats, of the known features.
        """
        joint, whole = np.empty((len(x), len(self))), ~np.isnan(x).any(axis=1)
        with threads_for(len(x) * self.directions.size):
            joint[whole] = self.log_joint_along(*along(self.quotients(x[whole]), self.basis))
        joint[whole] -= np.log(self.unit).sum()
        log_shares = self._log_shares()
        with threads_for(self.directions.shape[2] ** 3):
            for holes in self._solved_at_once(x, groups):
                joint[holes.rows] = log_shares + log_known(self, x[holes.rows], holes)
        return joint

    def log_joint_of_parts(self, x: DoubleArray) -> DoubleArray:
        """Return the joint log-density of samples and each part of the data, in nats."""
        joint = self.log_joint(x)
        if self.owners is None:
            return joint
        each = [joint[:, self.owners == part] for part in range(self.owners.max() + 1)]
        return np.stack([log_sum_exp(own) for own in each], axis=1)

    def log_joint_along(
        self, h: DoubleArray, off: DoubleArray, products: DoubleArray | None = None
    ) -> DoubleArray:
        """Return `log_joint` from coordinates in the basis, and squared distances from its span.

        The products of all pairs of coordinates, as of `products_of`, save time if there are many
        components, with most of the directions.
        """
        noise, (k, p, r) = self.noise_variances, self.directions.shape
        gain = 1 / noise[:, None] - 1 / self.variances
        if products is not None and k >= MANY_COMPONENTS and 2 * r >= p:
            quadratic = self._forms(h, gain, products)
        else:
            quadratic = self._off_directions(h, gain)
        quadratic += off[:, None] / noise
        # With large means or variances, rounding would spoil the differences of squares.
        sizes = np.square(self.means).sum(axis=1)
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

    def _off_directions(self, h: DoubleArray, gain: DoubleArray) -> DoubleArray:
        """Return quadratic forms of coordinates: distances, less what directions explain."""
        k, p, r = self.directions.shape
        # One product gives the coordinates for all components. The means are subtracted afterwards.
        every = np.ascontiguousarray(self.directions.transpose(1, 0, 2)).reshape(p, k * r)
        shifts = np.einsum("kp,kpr->kr", self.means, self.directions).ravel()
        explained = np.empty((len(h), k))
        for some in row_blocks(len(h), k * r):
            coordinates = h[some] @ every
            coordinates -= shifts
            np.square(coordinates, out=coordinates)
            coordinates = coordinates.reshape(len(coordinates), k, r)
            explained[some] = np.einsum("nkr,kr->nk", coordinates, gain)
        distances = np.square(h).sum(axis=1)[:, None] - 2 * h @ self.means.T
        distances += np.square(self.means).sum(axis=1)
        return distances / self.noise_variances - explained

    def _forms(self, h: DoubleArray, gain: DoubleArray, products: DoubleArray) -> DoubleArray:
        """Return the same quadratic forms, from precisions and the products of coordinates."""
        precisions = (self.directions * -gain[:, None]) @ self.directions.transpose(0, 2, 1)
        np.einsum("kpp->kp", precisions)[:] += 1 / self.noise_variances[:, None]
        pulls = (precisions @ self.means[:, :, None])[..., 0]
        i, j = pairs_of(h.shape[1])
        forms = products @ (precisions[:, i, j] * np.where(i == j, 1.0, 2.0)).T
        forms -= 2 * h @ pulls.T
        forms += (pulls * self.means).sum(axis=1)
        return forms

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
        """Return the share of held-out rows that are at least as surprising as each sample.

        A sample is as surprising as the harmonic mean [1]_ of its two ranks among held-out rows: by
        the core, and by the blurred core.

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
        return shares + 0.0 * log_probs.sum(axis=1)

    def quotients(self, x: DoubleArray) -> DoubleArray:
        """Return centred samples, divided by the scale."""
        return (x - self.center) / self.unit

    def _log_shares(self) -> DoubleArray:
        return np.log(self.weights) + math.log1p(-self.background_weight)

    # --- components ---------------------------------------------------------------------------

    def take(self, kept: BoolArray | IntArray) -> Self:
        """Return the mixture of some components, by a mask or indices, in their proportions."""
        each = "means", "directions", "variances", "noise_variances", "dimensions", "owners"
        values = vars(self)
        parts: Any = {name: values[name][kept] for name in each if values[name] is not None}
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

    def as_one(self) -> Self:
        """Return the normal distribution with the mean and the covariance of the mixture."""
        centred = self.means - self.weights @ self.means
        within = np.tensordot(self.weights, self.covariances, 1)
        values, vectors = np.linalg.eigh(within + (self.weights * centred.T) @ centred)
        noise = np.array([self.weights @ self.noise_variances])
        parts = {"directions": vectors[None], "variances": np.maximum(values, noise)[None]}
        parts |= {"means": (self.weights @ self.means)[None], "noise_variances": noise}
        one = self.take(np.zeros(1, dtype=int))
        parts |= {"pulls": None, "owners": None}
        return replace(one, background=None, background_weight=0.0, **parts)

    @property
    def mean(self) -> DoubleArray:
        """Mean of the samples."""
        return self.center + self.unit * (self.basis @ (self.weights @ self.means))

    @property
    def unit(self) -> DoubleArray:
        """Divisor of each feature."""
        return np.ones(len(self.center)) if self.scale is None else self.scale

    def covariance(self, c: int) -> DoubleArray:
        """Return the covariance ``D (F F' + g I) D`` of a component, for scales D."""
        loadings = self.unit[:, None] * self.loadings(np.array([c]))[0]
        noise = self.noise_variances[c] * np.square(self.unit)
        return loadings @ loadings.T + np.diag(noise)

    def loadings(self, some: IntArray) -> DoubleArray:
        """Return factors F of some components, whose quotients have covariances ``F F' + g I``."""
        excess = np.maximum(self.variances[some] - self.noise_variances[some][:, None], 0)
        return self.basis @ self.directions[some] * np.sqrt(excess)[:, None]

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
            Part of each sample. The background covers unseen regions, and is not drawn from.
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
        return self.center + x * self.unit, labels if self.owners is None else self.owners[labels]

    def impute(self, x: DoubleArray, rng: np.random.RandomState | None = None) -> DoubleArray:
        """Return samples with NaN replaced by conditional means or by draws.

        Given the known features, the missing features follow a mixture of normal distributions. Its
        mean averages the components' means, weighted by how well each component fits the known
        features. `pulls` average this mean with that under one normal distribution, which errs in
        other rows, and with the mean of all samples.

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
        with threads_for(self.directions.shape[2] ** 3):
            filled = fill(self, x, rng)
            if rng is None and self.pulls is not None:
                ours, other = self.pulls
                filled = ours * filled + other * fill(self.as_one(), x)
                filled = np.where(np.isnan(x), filled + (1 - ours - other) * self.mean, x)
        return filled

    def completed(
        self, c: int, x: DoubleArray, weights: DoubleArray, groups: "list[Holes]"
    ) -> tuple[DoubleArray, DoubleArray]:
        """Return what samples are expected to be under a component.

        Parameters
        ----------
        c : int
            Index of the component.

        x : ndarray of shape (n_samples, n_features)
            Samples, with NaN where a feature is missing.

        weights : ndarray of shape (n_samples,)
            Weights of the samples.

        groups : list of Holes
            What the samples miss.

        Returns
        -------
        filled : ndarray of shape (n_samples, n_features)
            Samples with conditional means in place of NaN; those of weight 0 keep it.

        covariance : ndarray of shape (n_features, n_features)
            Sum of the conditional covariances of the samples, times their weights.
        """
        filled, d = x.copy(), x.shape[1]
        covariance = np.zeros(d * d)
        for holes in self._solved_at_once(
            x, [group.take(weights[group.rows] > 0) for group in groups]
        ):
            means, factors = condition(self, c, x[holes.rows], holes)
            holes.put(filled, means)
            sums = np.bincount(holes.which, weights[holes.rows])
            each = sums[:, None, None] * (factors @ factors.transpose(0, 2, 1))
            entries = d * holes.places[:, :, None] + holes.places[:, None]
            covariance += np.bincount(entries.ravel(), each.ravel(), d * d)
        return filled, covariance.reshape(d, d)

    def _solved_at_once(
        self, x: DoubleArray, groups: "list[Holes] | None" = None
    ) -> Iterator["Holes"]:
        """Yield blocks of samples that miss features, since each pattern has its own system."""
        k, d, r = self.directions.shape
        for holes in Holes.groups_of(x) if groups is None else groups:
            size = min(holes.places.shape[1], max(r, 1))
            for some in row_blocks(len(holes.rows), k * size**2, k * d):
                yield holes.take(some)


@lru_cache(maxsize=16)
def pairs_of(p: int) -> tuple[IntArray, IntArray]:
    """Return the places of the entries of a symmetric matrix on and above its diagonal."""
    return np.triu_indices(p)


def products_of(h: DoubleArray) -> DoubleArray:
    """Return the products of all pairs of coordinates, in the order of `pairs_of`."""
    n, p = h.shape
    products, first = np.empty((n, p * (p + 1) // 2)), 0
    for i in range(p):
        np.multiply(h[:, i : i + 1], h[:, i:], out=products[:, first : first + p - i])
        first += p - i
    return products


def symmetric(values: DoubleArray, p: int) -> DoubleArray:
    """Return symmetric matrices from rows with a value for each pair, as of `products_of`."""
    matrices, (i, j) = np.empty((len(values), p, p)), pairs_of(p)
    matrices[:, i, j] = matrices[:, j, i] = values
    return matrices


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


class Holes(NamedTuple):
    """Samples that miss about the same number of features, by the pattern of what they miss.

    Attributes
    ----------
    rows : ndarray of int of shape (n_samples,)
        Positions of the samples.

    which : ndarray of int of shape (n_samples,)
        Pattern of each sample.

    places : ndarray of int of shape (n_patterns, most_missing)
        Features that are missing in each pattern, followed by others up to a common number.

    is_missing : ndarray of bool of shape (n_patterns, most_missing)
        Mask of the places that are missing.
    """

    rows: IntArray
    which: IntArray
    places: IntArray
    is_missing: BoolArray

    @classmethod
    def groups_of(cls, x: DoubleArray) -> list[Self]:
        """Return the groups of samples that miss features; in a group, numbers differ fourfold."""
        missing, found = np.isnan(x), []
        n_missing = missing.sum(axis=1)
        sizes = np.ceil(np.log2(np.maximum(n_missing, 1)) / 2).astype(int)
        for size in np.unique(sizes[n_missing > 0]):
            rows = np.flatnonzero((sizes == size) & (n_missing > 0))
            packed = np.packbits(missing[rows], axis=1)
            _, first, which = np.unique(
                packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True, return_inverse=True
            )
            patterns = missing[rows[first]]
            places = np.argsort(~patterns, axis=1, kind="stable")[:, : int(n_missing[rows].max())]
            found.append(cls(rows, which, places, np.take_along_axis(patterns, places, axis=1)))
        return found

    def take(self, kept: BoolArray | slice) -> Self:
        """Return some samples of the group, and their patterns."""
        used, which = np.unique(self.which[kept], return_inverse=True)
        return type(self)(self.rows[kept], which, self.places[used], self.is_missing[used])

    def of_rows(self, values: DoubleArray) -> DoubleArray:
        """Return the entries of arrays of samples at the places that may be missing."""
        return np.take_along_axis(values, self.places[self.which], axis=1)

    def put(self, x: DoubleArray, values: DoubleArray) -> None:
        """Set missing entries of an array that holds all samples."""
        own = self.is_missing[self.which]
        x[self.rows[np.nonzero(own)[0]], self.places[self.which][own]] = values[own]


def condition(
    density: Any, c: int, x: DoubleArray, holes: Holes
) -> tuple[DoubleArray, DoubleArray]:
    """Return the conditional distribution of missing features under a component.

    Parameters
    ----------
    density : MixtureDensity
        The mixture.

    c : int
        Index of the component.

    x : ndarray of shape (n_samples, n_features)
        Samples, with NaN where a feature is missing.

    holes : Holes
        Which features the samples miss.

    Returns
    -------
    means : ndarray of shape (n_samples, most_missing)
        Conditional means at the places of the holes.

    factors : ndarray of shape (n_patterns, most_missing, rank)
        Factors G of the conditional covariance ``G G'`` of each pattern, at the same places; 0
        where nothing is missing.
    """
    places, unit, which = holes.places, density.unit[holes.places], holes.which
    own, by_missing = np.array([c]), solved_by_missing(density, holes)[c]
    solve = _by_missing if by_missing else _by_directions
    _, root, half = (values[0] for values in solve(density, own, x, holes))
    factors = root.transpose(0, 2, 1)
    change = (factors[which] @ half[..., None])[..., 0]
    if not by_missing:
        F, noise = density.loadings(own)[0], math.sqrt(density.noise_variances[c])
        noises = np.tile(noise * np.eye(places.shape[1]), (len(places), 1, 1))
        change = holes.of_rows(change @ F.T)
        factors = np.concatenate([F[places] @ factors, noises], axis=2)
    mean = (density.basis @ density.means[c])[places][which] + change
    means = density.center[places][which] + mean * unit[which]
    return means, np.where(holes.is_missing[..., None], factors * unit[..., None], 0.0)


def log_known(density: Any, x: DoubleArray, holes: Holes) -> DoubleArray:
    """Return the log-density of known features under each component."""
    log_prob, by_missing = np.empty((len(density), len(x))), solved_by_missing(density, holes)
    _, d, r = density.directions.shape
    for solve, own in ((_by_missing, by_missing), (_by_directions, ~by_missing)):
        some = np.flatnonzero(own)
        for block in row_blocks(len(some), d * max(d, r**2)):
            log_prob[some[block]] = solve(density, some[block], x, holes)[0]
    return log_prob.T - ~np.isnan(x) @ np.log(density.unit)[:, None]


def solved_by_missing(density: Any, holes: Holes) -> BoolArray:
    """Return for which components systems are in the missing features, which are fewer.

    Products of the directions of the other components would lose too many digits.
    """
    return (holes.places.shape[1] < density.n_directions) & _keeps_digits(density)


def _keeps_digits(density: Any) -> BoolArray:
    """Return for which components products of their factors keep enough digits.

    The rounding error in nats is about eps times |F|^2 / noise.
    """
    noise = density.noise_variances
    sizes = np.maximum(density.variances - noise[:, None], 0).sum(axis=1)
    return np.asarray(sizes * np.finfo(float).eps ** (2 / 3) <= noise)


def _by_missing(
    density: Any, some: IntArray, x: DoubleArray, holes: Holes
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the log-density of known features by linear systems in the missing ones.

    With the precision P of all features, known features k and missing ones m have the quadratic
    form ``r_k' (P_kk - P_km P_mm^-1 P_mk) r_k``, and their precision has the determinant
    ``|P| / |P_mm|``.

    Returns
    -------
    log_prob : ndarray of shape (n_components, n_samples)
        Log-densities of the quotients under some components.

    root : ndarray of shape (n_components, n_patterns, most_missing, most_missing)
        Inverse of the Cholesky factor L of P_mm, for each pattern.

    half : ndarray of shape (n_components, n_samples, most_missing)
        ``-L^-1 P_mk r_k``.
    """
    which, places, is_missing = holes.which, holes.places, holes.is_missing
    variances, noise = density.variances[some], density.noise_variances[some][:, None]
    directions = density.basis @ density.directions[some]
    gain = directions * (1 / noise - 1 / variances)[:, None]
    precision = np.eye(x.shape[1]) / noise[..., None] - gain @ directions.transpose(0, 2, 1)
    system = precision[:, places[:, :, None], places[:, None]]
    system[:, ~(is_missing[:, :, None] & is_missing[:, None])] = 0.0
    diagonal = range(places.shape[1])
    system[..., diagonal, diagonal] += ~is_missing
    root = np.linalg.inv(np.linalg.cholesky(system))
    known = ~np.isnan(x)
    mean = density.means[some] @ density.basis.T
    residual = np.where(known, density.quotients(x) - mean[:, None], 0.0)
    product = residual @ precision
    at = np.broadcast_to(places[which], (len(some), *places[which].shape))
    target = np.where(is_missing[which], np.take_along_axis(product, at, axis=2), 0.0)
    half = -(root[:, which] @ target[..., None])[..., 0]
    quadratic = (residual * product).sum(axis=2) - np.square(half).sum(axis=2)
    log_volume = -2 * np.log(np.diagonal(root, axis1=2, axis2=3)).sum(axis=2)[:, which]
    log_volume += np.log(variances / noise).sum(axis=1)[:, None] + x.shape[1] * np.log(noise)
    log_volume += known.sum(axis=1) * math.log(2 * math.pi)
    return -0.5 * (log_volume + quadratic), root, half


def _by_directions(
    density: Any, some: IntArray, x: DoubleArray, holes: Holes
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the log-density of known features by linear systems in directions of components.

    The model is ``x = m + F w`` plus noise of variance g, with w from N(0, I), and uses only the
    rows of F for known features.

    Returns
    -------
    log_prob : ndarray of shape (n_components, n_samples)
        Log-densities of the quotients under some components.

    root : ndarray of shape (n_components, n_patterns, rank, rank)
        Inverse of the Cholesky factor L of the precision of w, for each pattern.

    half : ndarray of shape (n_components, n_samples, rank)
        ``L^-1 F'(x - m) / g``.
    """
    which, noise, F = holes.which, density.noise_variances[some][:, None], density.loadings(some)
    k, d, r = F.shape
    known, mean = ~np.isnan(x), density.means[some] @ density.basis.T
    residual = np.where(known, density.quotients(x) - mean[:, None], 0.0)
    is_known = np.ones((len(holes.places), d), dtype=bool)
    np.put_along_axis(is_known, holes.places, ~holes.is_missing, axis=1)
    if _keeps_digits(density)[some].all():
        products = (F[..., :, None] * F[..., None, :]).reshape(k, d, r * r)
        system = (is_known @ products).reshape(k, -1 if r else len(is_known), r, r)
        root = np.linalg.inv(np.linalg.cholesky(system / noise[..., None, None] + np.eye(r)))
        half = (root[:, which] @ (residual @ F / noise[..., None])[..., None])[..., 0]
        quadratic = np.square(residual).sum(axis=2) / noise - np.square(half).sum(axis=2)
    else:
        # The precision would lose digits that its square root keeps.
        size = np.sqrt(noise)[..., None]
        above = is_known[:, :, None] * (F / size)[:, None]
        eye = np.broadcast_to(np.eye(r), (*above.shape[:2], r, r))
        q, upper = np.linalg.qr(np.concatenate([above, eye], axis=2))
        signs = np.where(np.diagonal(upper, axis1=2, axis2=3) < 0, -1.0, 1.0)
        q, upper = signs[:, :, None] * q, signs[..., None] * upper
        root = np.linalg.inv(upper.swapaxes(2, 3))
        target = np.concatenate([residual / size, np.zeros((k, len(x), r))], axis=2)[..., None]
        half = (q.swapaxes(2, 3)[:, which] @ target)[..., 0]
        left = target[..., 0] - (q[:, which] @ half[..., None])[..., 0]
        quadratic = np.square(left).sum(axis=2)
    log_volume = known.sum(axis=1) * np.log(2 * math.pi * noise)
    log_volume -= 2 * np.log(np.diagonal(root, axis1=2, axis2=3)).sum(axis=2)[:, which]
    return -0.5 * (log_volume + quadratic), root, half


def fill(mixture: Any, x: DoubleArray, rng: np.random.RandomState | None = None) -> DoubleArray:
    """Return samples with NaN replaced by conditional means, or by draws of a generator."""
    broad, joint = mixture.background, mixture.log_joint(x)
    if broad is not None:
        joint = np.hstack([joint, broad.log_joint(x) + math.log(mixture.background_weight)])
    parts = [(density, c) for density in (mixture, broad) if density for c in range(len(density))]
    shares, filled = softmax(joint, axis=1), x.copy()
    if rng is not None:
        # Only rows that belong to the background draw from it.
        is_near = shares[:, : len(mixture)].sum(axis=1) >= 0.5
        shares[is_near, len(mixture) :] = 0.0
        sums = shares.cumsum(axis=1)
        labels = (sums < sums[:, -1:] * rng.uniform(size=(len(x), 1))).sum(axis=1)
        shares = np.eye(len(parts))[labels]
    for holes in mixture._solved_at_once(x):
        values = np.zeros((len(holes.rows), holes.places.shape[1]))
        for (density, c), share in zip(parts, shares[holes.rows].T, strict=True):
            own = ~(share <= np.finfo(float).eps)  # NaN, from rows too far away, stays NaN.
            if own.any():
                some = holes.take(own)
                means, factors = condition(density, c, x[some.rows], some)
                if rng is not None:
                    w = rng.standard_normal((len(means), factors.shape[2], 1))
                    means += (factors[some.which] @ w)[..., 0]
                values[own] += share[own, None] * means
        holes.put(filled, values)
    return filled
