"""A mixture that learns from one batch of rows after the other, by sums over rows."""

from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np

from skvaeense.mixture._covariance import Family, Moments, gaussians
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._em import LEAST_RESPONSIBILITY, Rows, least_variance
from skvaeense.mixture._fit import FlatPart
from skvaeense.mixture._rows import Prepared, Units
from skvaeense.utils._linalg import TINY
from skvaeense.utils._records import Record, check_fields
from skvaeense.utils._rows import MANY_ROWS
from skvaeense.utils._typing import DoubleArray, IntArray


@dataclass(frozen=True, eq=False)
class MixtureStream(Record):
    """What a mixture has learned from batches, and what it needs to go on.

    The number of components and their ranks stay as they were found in the first batch.

    Attributes
    ----------
    density : MixtureDensity
        The mixture, in units of the first batch.

    units : Units
        Units of the first batch.

    cut : bool
        Whether directions that do not stand out from the noise count as noise.

    ranks : ndarray of int of shape (n_components,)
        Number of directions of each flat part.

    totals, n_rows, means, covariances, rests : ndarray
        Weight of the rows of each component so far, and their `Moments`.
    """

    density: MixtureDensity
    units: Units
    cut: bool
    ranks: Annotated[IntArray, "k int >=0 <=p"]
    totals: Annotated[DoubleArray, "k >=0"]
    n_rows: Annotated[DoubleArray, "k >=0"]
    means: Annotated[DoubleArray, "k p"]
    covariances: Annotated[DoubleArray, "k p p"]
    rests: Annotated[DoubleArray, "k >=0"]

    @classmethod
    def of(cls, density: MixtureDensity, n_rows: float, units: Units) -> Self:
        """Return the stream that goes on from a fitted mixture, in units of the samples.

        The sums over rows so far are those that the mixture expects.
        """
        density = density.in_units(-units.center / units.scale, 1 / units.scale)
        p = density.means.shape[1]
        off = (len(units.center) - p) * density.noise_variances
        return cls(
            density,
            units,
            bool(density.n_directions.max(initial=0) < p),
            density.ranks,
            density.weights * n_rows,
            density.weights * n_rows,
            density.means,
            density.covariances,
            off,
        )

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.units.n_features

    def check(self) -> None:
        """Raise an error unless all parts, which can come from a file, match the mixture."""
        k, p = self.density.means.shape
        check_fields(type(self), vars(self), {"k": k, "p": p})
        if not self.totals.sum() > 0 or self.density.n_features != self.n_features:
            raise ValueError("there must be rows, of as many features as the mixture has")

    def absorb(self, rows: Prepared) -> Self:
        """Return the stream after one more batch, whose mixture is the best one for the sums."""
        stream = self._with(rows)
        moments = Moments(stream.n_rows, stream.means, stream.covariances, stream.rests)
        weights = stream.totals / stream.totals.sum()
        common = np.einsum("k,kpq->pq", weights, moments.covariances)
        common = common + 1e-12 * np.eye(len(common))
        d, family = len(self.units.center), Family(cut=self.cut)
        # As in the coordinates in which the mixture was fitted.
        size = self.units.size / float(np.square(self.density.unit).mean())
        parts = gaussians(moments, d, family, common, least_variance(size))
        means, directions, variances, noises = parts
        density = replace(
            self.density,
            weights=weights,
            means=means,
            directions=directions,
            variances=variances,
            noise_variances=noises,
            dimensions=self.ranks,
        )
        return replace(stream, density=density)

    def _with(self, rows: Prepared) -> Self:
        """Return the stream with the sums over the rows of a batch."""
        density = self.density
        x = density.impute(rows.known) if rows.has_holes else rows.known
        joint, broad = density.log_joint(x), density._log_broad(x)
        total = np.logaddexp(np.logaddexp.reduce(joint, axis=1), broad)
        shares = np.exp(joint - total[:, None])
        shares = np.where(shares > LEAST_RESPONSIBILITY, shares, 0.0) * rows.counts[:, None]
        own = Rows.of(
            density.quotients(x), rows.counts, density.basis, self.units.steps / density.unit
        )
        totals = shares.sum(axis=0)
        seen = totals > TINY
        k, p = density.means.shape
        new = Moments(np.zeros(k), density.means.copy(), np.zeros((k, p, p)), np.zeros(k))
        for name, values in own.moments(shares[:, seen])._asdict().items():
            getattr(new, name)[seen] = values
        # Earlier batches fade, so that the mixture follows slow changes.
        room = min(1.0, MANY_ROWS / max(self.totals.sum(), TINY))
        before, n_before = room * self.totals, room * self.n_rows
        both = np.maximum(before + totals, TINY)
        a, b = before / both, totals / both
        means = a[:, None] * self.means + b[:, None] * new.means
        gap = new.means - self.means
        between = (a * b)[:, None, None] * gap[:, :, None] * gap[:, None]
        covariances = a[:, None, None] * self.covariances + b[:, None, None] * new.covariances
        return replace(
            self,
            totals=before + totals,
            n_rows=n_before + new.n_rows,
            means=means,
            covariances=covariances + between,
            rests=a * self.rests + b * new.rests,
        )

    def law(self) -> MixtureDensity:
        """Return the mixture in units of the samples."""
        return self.density.in_units(self.units.center, self.units.scale)

    def parts(self) -> list[FlatPart]:
        """Return the flat part of each component, in units of the samples."""
        density, d = self.density, len(self.units.center)
        loadings = density.unit[:, None] * density.basis
        blur = np.diag(np.square(self.units.steps / 2))
        found = []
        for c, rank in enumerate(self.ranks.tolist()):
            covariance = loadings @ self.covariances[c] @ loadings.T - blur
            rest = float(self.rests[c] * np.square(density.unit).mean())
            values, vectors = np.linalg.eigh(covariance)
            values, basis = np.maximum(values[::-1], 0.0), vectors.T[::-1][:rank]
            noise = (values[rank:].sum() + rest) / max(d - rank, 1)
            noise = max(noise, least_variance((values.sum() + rest) / d))
            mean = density.center + loadings @ self.means[c]
            weight = float(density.weights[c])
            part = FlatPart(weight, mean, basis, np.maximum(values[:rank], noise), noise)
            found.append(part.in_units(self.units.center, self.units.scale))
        return found
