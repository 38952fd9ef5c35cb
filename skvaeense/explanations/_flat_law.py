"""FlatLaw: flat parts of the samples, each direction of which has a latent."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from scipy.special import expit, softmax

from skvaeense.explanations._gate_law import Codes, owner_of
from skvaeense.mixture._density import MixtureDensity, Shared
from skvaeense.mixture._fit import FlatPart
from skvaeense.utils._linalg import ROUNDING, svd
from skvaeense.utils._records import check_fields
from skvaeense.utils._typing import DoubleArray, IntArray

# A latent is active if its posterior variance is below this share of the prior's.
MOST_VARIANCE = 0.8


@dataclass(frozen=True, eq=False)
class FlatLaw(Shared):  # numpydoc ignore=PR02
    """Codes of samples that lie in a few flat parts, with a latent for each direction of a part.

    Latents of a part are open as far as the sample belongs to the part. Let u be a direction of a
    part, with variance v along u and noise variance g, and let c be the coordinate of the part's
    mean along u, relative to the origin of the part. With the probability r of the part and ``L^2 =
    v - g + c^2``, a standard normal latent has the posterior mean m, the posterior variance s^2 and
    the decoder column W::

        m = r [c + (1 - g / v) u'(x - mean)] / L,    s^2 = 1 - r + r g / v,
        W = u L / (1 - (g / v)^(1/2)),               code = (1 - s) m

    Parameters
    ----------
    pieces : MixtureDensity
        Normal distributions of the pieces of the parts, which share the samples.

    groups : ndarray of int of shape (n_pieces,)
        The part of each piece.

    parts : ndarray of int of shape (n_components,)
        The part of each latent; -1 for a latent that never opens.

    rows, biases : ndarray of shape (n_components, n_features) and (n_components,)
        Linear maps from samples to posterior means, for samples that belong to the part.

    logits : ndarray of shape (n_components,)
        Logits of the posterior variances of these samples.

    components : ndarray of shape (n_components, n_features)
        Decoder columns W, as rows.

    points : ndarray of shape (n_origins, n_features)
        Origins of the parts.

    owners : ndarray of int of shape (n_components,)
        The origin of each latent.

    noise_variance : float
        Noise variance per feature, the mean over the pieces.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.explanations import FlatLaw
    >>> from skvaeense.mixture._fit import FlatPart
    >>> line = FlatPart(1.0, np.zeros(2), np.eye(2)[:1], np.array([4.0]), 0.01)
    >>> law = FlatLaw.of([line], [line], np.zeros(1, int), np.zeros((1, 2)), np.zeros(1, int))
    >>> law.encode(np.array([[2.0, 0.0]])).values.round(2)
    array([[0.95]])
    """

    pieces: MixtureDensity
    groups: Annotated[IntArray, "c int >=0 <c"]
    parts: Annotated[IntArray, "k int >=-1 <c"]
    rows: Annotated[DoubleArray, "k d"]
    biases: Annotated[DoubleArray, "k"]
    logits: Annotated[DoubleArray, "k"]
    components: Annotated[DoubleArray, "k d"]
    points: Annotated[DoubleArray, "n d"]
    owners: Annotated[IntArray, "k int >=0 <n"]
    noise_variance: Annotated[float, ">0"]

    name = "mixture"
    table = None

    @classmethod
    def of(
        cls,
        pieces: list[FlatPart],
        parts: list[FlatPart],
        groups: IntArray,
        points: DoubleArray,
        owners: IntArray,
        n_components: int | None = None,
    ) -> Self:
        """Return the law of some flat parts.

        Parameters
        ----------
        pieces : list of FlatPart
            The pieces of the parts.

        parts : list of FlatPart
            The parts.

        groups : ndarray of int of shape (n_pieces,)
            The part of each piece.

        points : ndarray of shape (n_origins, n_features)
            Origins.

        owners : ndarray of int of shape (n_parts,)
            The origin of each part.

        n_components : int or None, default=None
            Number of latents; those that no part needs never open. None adds none.

        Returns
        -------
        FlatLaw
            The law.
        """
        found: list[Any] = []
        for k, part in enumerate(parts):
            noise, mean = part.noise_variance, part.mean - points[owners[k]]
            # Networks in single precision cannot tell closer variances.
            v = np.maximum(part.variances, noise * (1 + np.finfo(np.float32).eps))
            c = part.basis @ mean
            length = np.sqrt(v - noise + np.square(c))
            row = ((1 - noise / v) / length)[:, None] * part.basis
            column = (length / (1 - np.sqrt(noise / v)))[:, None] * part.basis
            own = np.full(part.rank, k)
            logit = np.log(noise) - np.log(v - noise)
            found.append((own, row, c / length - row @ part.mean, logit, column, owners[own]))
        of_part, rows, biases, logits, columns, of_origin = map(
            np.concatenate, zip(*found, strict=True)
        )
        more = max((n_components or 0) - len(biases), 0)
        padded = [np.pad(a, [(0, more)] + [(0, 0)] * (a.ndim - 1)) for a in (rows, biases, columns)]
        noises, weights = zip(*((p.noise_variance, p.weight) for p in pieces), strict=True)
        return cls(
            _density_of(pieces),
            groups,
            np.pad(of_part, (0, more), constant_values=-1),
            padded[0],
            padded[1],
            np.pad(logits, (0, more)),
            padded[2],
            points,
            np.pad(of_origin, (0, more)),
            float(np.average(noises, weights=weights)),
        )

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.pieces.n_features

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return len(self.biases)

    @property
    def mean(self) -> DoubleArray:
        """The sample whose code is 0."""
        return self.points[0]

    def placed(self, dtype: Any, device: Any) -> Self:
        """Return the law itself: arrays have no device."""
        return self

    @cached_property
    def _is_of_part(self) -> DoubleArray:
        """Matrix that sums pieces to the latents of their parts."""
        matrix: DoubleArray = self.groups[:, None] == self.parts
        return matrix

    # --- codes --------------------------------------------------------------------------------

    def _shares(self, X: DoubleArray) -> DoubleArray:
        """Return how far each sample belongs to the part of each latent."""
        if len(self.pieces) == 1:
            return np.ones((len(X), 1)) @ self._is_of_part
        return softmax(self.pieces.log_joint(X), axis=1) @ self._is_of_part

    def assign(self, X: Any) -> IntArray:
        """Return the origin of each sample: of its most probable piece."""
        part_of_piece = np.zeros(len(self.groups), dtype=int)
        for k, origin in zip(self.parts, self.owners, strict=True):
            part_of_piece[self.groups == k] = origin
        return part_of_piece[self.pieces.log_joint(_double(X)).argmax(axis=1)]

    def posterior(self, X: Any) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return openness, and means and standard deviations of latents before the gate."""
        x = _double(X)
        shares = self._shares(x)
        mean = shares * (x @ self.rows.T + self.biases)
        std = np.sqrt(1 - shares + shares * expit(self.logits))
        return 1 - std, mean, std

    def encode(self, X: Any, *, hard: bool = True) -> Codes:
        """Return the codes of samples.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Samples.

        hard : bool, default=True
            Whether codes are exactly 0 where a latent is not active.

        Returns
        -------
        Codes
            Codes and active latents.
        """
        openness, mean, std = self.posterior(X)
        active = np.square(std) < MOST_VARIANCE
        values = openness * mean
        # The product keeps codes that are not finite; adding 0 turns a negative 0 into 0.
        return Codes(values * active + 0.0 if hard else values, active)

    def decode(self, codes: DoubleArray) -> DoubleArray:
        """Return the samples that codes decode to.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Samples. If there are several origins, active latents tell which one is added.
        """
        origins = self.mean if len(self.points) == 1 else self.points[owner_of(codes, self)]
        return codes @ self.components + origins

    # --- density ------------------------------------------------------------------------------

    def log_prob(self, X: Any) -> DoubleArray:
        """Return the log-density of samples, in nats, under the flat parts alone."""
        return self.pieces.log_prob(_double(X))

    def sample(self, n_samples: int, rng: np.random.RandomState) -> DoubleArray:
        """Draw samples, noise included."""
        return self.pieces.sample(n_samples, rng)[0]

    def impute(self, X: DoubleArray, rng: np.random.RandomState | None = None) -> DoubleArray:
        """Return samples with NaN replaced by conditional means or by draws."""
        return self.pieces.impute(X, rng)

    # --- units and files ----------------------------------------------------------------------

    def in_units(self, center: DoubleArray, scale: float) -> Self:
        """Return the law of samples before they were centred and divided by a scale."""
        rows = self.rows / scale
        return replace(
            self,
            pieces=self.pieces.in_units(center, scale),
            rows=rows,
            biases=self.biases - rows @ center,
            components=scale * self.components,
            points=center + scale * self.points,
            noise_variance=scale**2 * self.noise_variance,
        )

    def arrays(self) -> dict[str, Any]:
        """Return what determines the law, as arrays and numbers by name."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "pieces"}
        own["noise_variance"] = float(self.noise_variance)
        return own | {f"pieces_{name}": value for name, value in self.pieces.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Return the law that `arrays` has described.

        Parameters
        ----------
        arrays : dict
            Arrays and numbers by name; they may come from a file.

        Returns
        -------
        FlatLaw
            The law.

        Raises
        ------
        ValueError
            If an array is missing, not finite, or of another shape.
        """
        head = "pieces_"
        own = {name: value for name, value in arrays.items() if not name.startswith(head)}
        pieces = MixtureDensity.from_arrays(
            {name[len(head) :]: value for name, value in arrays.items() if name.startswith(head)}
        )
        sizes = {"d": pieces.n_features, "c": len(pieces), "n": len(own["points"]) or 1}
        check_fields(cls, own, sizes)
        return cls(pieces, **{**own, "noise_variance": float(own["noise_variance"])})


def _double(X: Any) -> DoubleArray:
    """Return samples as an array in double precision."""
    rows = X.detach().cpu().numpy() if hasattr(X, "detach") else X
    return np.asarray(rows, dtype=np.float64)


def _density_of(pieces: list[FlatPart]) -> MixtureDensity:
    """Return the mixture of normal distributions of some flat parts."""
    k, r = len(pieces), max(p.rank for p in pieces)
    center = np.mean([p.mean for p in pieces], axis=0)
    basis = _basis_of(pieces, center)
    directions = np.zeros((k, basis.shape[1], r))
    noises = np.array([p.noise_variance for p in pieces])
    variances = np.repeat(noises[:, None], r, axis=1)
    for c, p in enumerate(pieces):
        directions[c, :, : p.rank] = basis.T @ p.basis.T
        least = noises[c] * (1 + np.finfo(np.float32).eps)
        variances[c, : p.rank] = np.maximum(p.variances, least)
    weights, means = (np.array([getattr(p, name) for p in pieces]) for name in ("weight", "mean"))
    weights, means = weights / weights.sum(), (means - center) @ basis
    return MixtureDensity(center, basis, weights, means, directions, variances, noises)


def _basis_of(pieces: list[FlatPart], center: DoubleArray) -> DoubleArray:
    """Return orthonormal columns that span the directions and the means of pieces."""
    d = len(center)
    rows = np.concatenate([[piece.mean - center for piece in pieces], *(p.basis for p in pieces)])
    if len(rows) >= d:
        return np.eye(d)
    # With far more features than directions, no matrix has a row and a column for each feature.
    sizes = np.abs(rows).max(axis=1, keepdims=True)
    columns, values, _ = svd((rows / np.where(sizes > 0, sizes, 1.0)).T)
    span: DoubleArray = columns[:, values > ROUNDING * values.max()]
    return span if span.shape[1] else np.eye(d, 1)
