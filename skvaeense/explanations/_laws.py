"""Laws of codes, in units of the samples: FlatLaw, of flat parts, and GateLaw, of a dictionary."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from scipy.special import expit, logit, logsumexp, softmax
from torch import Tensor

from skvaeense.explanations._gates import NEW_FALL, SLABS, GatePosterior, Gates
from skvaeense.explanations._search import FoundGates, find_gates, widest
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._fit import FlatPart
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._records import Record, check_fields
from skvaeense.utils._typing import DoubleArray, IntArray
from skvaeense.utils._validation import checked_scale

# A latent of a flat part is active if its posterior variance is below this share of the prior's.
MOST_VARIANCE = 0.8


class Codes(NamedTuple):
    """Codes of samples, and which latents are active.

    Attributes
    ----------
    values : ndarray or torch.Tensor of shape (n_samples, n_components)
        The codes.

    active : ndarray or torch.Tensor of bool of shape (n_samples, n_components)
        Mask of the active latents.
    """

    values: Any
    active: Any


class Law(Record):
    """Codes of samples that lie around one or several points.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features)
        Columns of the decoder, as rows.

    mean : ndarray of shape (n_features,)
        The sample whose code is 0.

    points : ndarray of shape (n_locations, n_features) or None
        Points that groups of samples lie around.

    owners : ndarray of int of shape (n_components,)
        The location of each latent.
    """

    components: Any
    mean: Any
    points: Any
    owners: Any

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.mean)

    def placed(self, dtype: Any, device: Any) -> Self:
        """Return the law itself: arrays have no device."""
        return self

    def decode(self, codes: DoubleArray) -> DoubleArray:
        """Return the samples that codes decode to.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Samples. If there are several locations, active latents tell which one is added.
        """
        several = self.points is not None and len(self.points) > 1
        decoded: DoubleArray = codes @ self.components
        return decoded + (self.points[self.owner_of(codes)] if several else self.mean)

    def owner_of(self, codes: DoubleArray) -> IntArray:
        """Return the location whose latents each code uses most; the first one in a code of 0.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Codes, if there are several locations.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Indices of the locations.
        """
        sizes = np.abs(codes) * np.linalg.norm(self.components, axis=1)
        used = sizes @ (self.owners[:, None] == np.arange(len(self.points)))
        labels: IntArray = used.argmax(axis=1)
        return labels


@dataclass(frozen=True, eq=False)
class FlatLaw(Law):  # numpydoc ignore=PR02
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

    pieces: Annotated[MixtureDensity, "d"]
    groups: Annotated[IntArray, "c int >=0 <c"]
    parts: Annotated[IntArray, "k int >=-1 <c"]
    rows: Annotated[DoubleArray, "k d"]
    biases: Annotated[DoubleArray, "k"]
    logits: Annotated[DoubleArray, "k"]
    components: Annotated[DoubleArray, "k d"]
    points: Annotated[DoubleArray, "n d"]
    owners: Annotated[IntArray, "k int >=0 <n"]
    noise_variance: Annotated[float, ">0"]

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
        own = np.repeat(np.arange(len(parts)), [part.rank for part in parts])
        noise = np.array([part.noise_variance for part in parts])[own]
        # Networks in single precision cannot tell closer variances.
        least = noise * (1 + np.finfo(np.float32).eps)
        v = np.maximum(np.concatenate([part.variances for part in parts]), least)
        basis, means = np.concatenate([p.basis for p in parts]), np.array([p.mean for p in parts])
        c = ((means - points[owners])[own] * basis).sum(axis=1)
        length = np.sqrt(v - noise + np.square(c))
        rows = ((1 - noise / v) / length)[:, None] * basis
        columns = (length / (1 - np.sqrt(noise / v)))[:, None] * basis
        more = max((n_components or 0) - len(own), 0)

        def padded(values: Any, spare: float = 0) -> Any:
            widths = [(0, more)] + [(0, 0)] * (values.ndim - 1)
            return np.pad(values, widths, constant_values=spare)

        density, biases = _density_of(pieces), c / length - (rows * means[own]).sum(axis=1)
        logits, places = np.log(noise) - np.log(v - noise), (points, padded(owners[own]))
        rows, biases, logits, columns = map(padded, (rows, biases, logits, columns))
        noise_variance = float(density.noise_variances @ density.weights)
        latents = padded(own, -1), rows, biases, logits, columns
        return cls(density, groups, *latents, *places, noise_variance)

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return len(self.biases)

    @property
    def mean(self) -> DoubleArray:
        """The sample whose code is 0."""
        return self.points[0]

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

    # --- density ------------------------------------------------------------------------------

    def log_prob(self, X: Any) -> DoubleArray:
        """Return the log-density of samples, in nats, under the flat parts alone."""
        return self.pieces.log_prob(_double(X))

    def sample(self, n_samples: int, rng: np.random.RandomState) -> DoubleArray:
        """Draw samples, noise included."""
        return self.pieces.sample(n_samples, rng)[0]

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

    def check(self) -> None:
        """Raise an error unless all arrays, which can come from a file, fit together."""
        # There is at least one origin.
        check_fields(type(self), vars(self), {"c": len(self.pieces), "n": len(self.points) or 1})


def _double(X: Any) -> DoubleArray:
    """Return samples as an array in double precision."""
    rows = X.detach().cpu().numpy() if hasattr(X, "detach") else X
    return np.asarray(rows, dtype=np.float64)


def _density_of(pieces: list[FlatPart]) -> MixtureDensity:
    """Return the mixture of normal distributions of some flat parts."""
    k, r = len(pieces), max(p.rank for p in pieces)
    center = np.mean([p.mean for p in pieces], axis=0)
    rows = np.concatenate([[p.mean - center for p in pieces], *(p.basis for p in pieces)])
    # With far more features than directions, no matrix has a row and a column for each feature.
    basis = np.eye(len(center)) if len(rows) >= len(center) else np.linalg.qr(rows.T)[0]
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


class PriceTable(NamedTuple):
    """Prices of open gates, and what codes of new samples are like at these prices.

    Attributes
    ----------
    prices : ndarray of shape (n_prices,)
        Prices, ascending.

    lengths : ndarray of shape (n_prices,)
        Mean numbers of open gates, descending.

    left : ndarray of shape (n_prices,)
        Shares of the variance that codes leave, ascending.
    """

    prices: Annotated[DoubleArray, "m"]
    lengths: Annotated[DoubleArray, "m >0"]
    left: Annotated[DoubleArray, "m"]

    def moved(self, price: float, stretch: float) -> "PriceTable":
        """Return the table with another first price, and steps that are longer by a factor."""
        return self._replace(prices=price + stretch * (self.prices - self.prices[0]))

    @property
    def longest(self) -> float:
        """Mean number of open gates at the first price."""
        return float(self.lengths[0])

    def price_of(self, length: float) -> float:
        """Return the price of codes of a length, interpolated in the logarithm of the length."""
        order = slice(None, None, -1)
        return float(np.interp(math.log(length), np.log(self.lengths[order]), self.prices[order]))

    def length_that_keeps(self, share: float) -> float:
        """Return the mean length of codes that keep a share of the variance.

        The share is limited to the range from the shortest to the longest codes.
        """
        left, lengths = np.log(np.maximum(self.left, ROUNDING)), np.log(self.lengths)
        return float(np.exp(np.interp(math.log(1 - share), left, lengths)))


@dataclass(frozen=True, eq=False)
class GateLaw(Law):  # numpydoc ignore=PR02
    """Sparse codes over a dictionary, and a bound of the density.

    A sample is ``x = b + sum_j s_j z_j w_j + noise``, where gate j is open, s_j = 1, with
    probability p_j, and z_j is normal if it is.

    Parameters
    ----------
    gates : Gates
        The gates, for samples that are centred and divided by the scale.

    center : ndarray of shape (n_features,)
        Centre of the samples.

    scale : float
        Scale of the samples. Codes are in this unit.

    table : PriceTable or None, default=None
        Prices of open gates that give codes of other lengths.

    has_target : bool, default=False
        Whether a price meets a target. Then one of two searches starts from the gates that annealed
        mean field opens, as in the fit.

    points : ndarray of shape (n_locations, n_features) or None, default=None
        Points that groups of samples lie around, if there are several.

    owners : ndarray of int of shape (n_components,) or None, default=None
        The location of each latent.

    shares : ndarray of shape (n_locations,) or None, default=None
        Share of the samples at each location.

    Examples
    --------
    A sample in the direction of the first of two atoms:

    >>> import numpy as np
    >>> import torch
    >>> from skvaeense.explanations import Gates, GateLaw
    >>> one, numbers = torch.ones(2), (torch.tensor(0.1), torch.tensor(0.0))
    >>> gates = Gates(torch.eye(2), 0 * one, 0.5 * one, 0 * one, one, *numbers)
    >>> law = GateLaw(gates, np.zeros(2), 1.0)
    >>> law.encode(np.array([[2.0, 0.0]])).active
    tensor([[ True, False]])
    """

    gates: Gates
    center: Annotated[DoubleArray, "d"]
    scale: Annotated[float, ">0"]
    table: PriceTable | None = None
    has_target: bool = False
    points: Annotated[DoubleArray | None, "n d"] = None
    owners: Annotated[Any, "k int >=0 <n"] = None
    shares: Annotated[Any, "n >0"] = None

    def __post_init__(self) -> None:
        checked_scale(self.scale)

    @property
    def n_components(self) -> int:
        """Number of latents."""
        return len(self.gates.weight)

    @property
    def components(self) -> DoubleArray:
        """Atoms, in units of the samples, as rows."""
        return self.scale * self.gates.weight.cpu().double().numpy()

    @property
    def mean(self) -> DoubleArray:
        """The sample whose code is 0."""
        return self.center + self.scale * self.gates.bias.cpu().double().numpy()

    @property
    def noise_variance(self) -> float:
        """Noise variance in squared units of the samples."""
        return self.scale**2 * float(self.gates.noise_variance)

    # --- codes --------------------------------------------------------------------------------

    def at_length(self, length: float) -> Self:
        """Return the law whose codes have another mean length, by a price of open gates."""
        table: Any = self.table
        return replace(self, gates=self.gates.with_price(table.price_of(length)))

    def placed(self, dtype: Any, device: Any) -> Self:
        """Return the law with its tensors on a device."""
        if self.gates.weight.device.type == torch.device(device).type:
            return self
        return replace(self, gates=self.gates.to(self.gates.weight.to(device)))

    def scaled(self, X: Any) -> Tensor:
        """Return samples as a centred and scaled tensor in their own precision.

        Differences are taken in double precision, so that X and 1000 X + 7 have the same codes.
        """
        device = self.gates.weight.device
        if isinstance(X, Tensor):
            wide = X.to(widest(X))
            center = torch.as_tensor(self.center).to(wide)
            return ((wide - center) / self.scale).to(X.dtype).to(device)
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(((X - self.center) / self.scale).astype(X.dtype)).to(device)

    def assign(self, X: Any) -> Any:
        """Return the location of each sample: of the gates under which it is most probable."""
        return self._by_location(X).argmax(axis=1)

    def _by_location(self, X: Any) -> DoubleArray:
        """Return bounds of the joint log-density of samples and each location."""
        found = [self._at(g).log_prob(X) for g in range(len(self.shares))]
        return np.stack(found, axis=1) + np.log(self.shares)

    def _at(self, location: int) -> "GateLaw":
        """Return the law of the samples of one location."""
        own = torch.as_tensor(self.owners == location, device=self.gates.weight.device)
        points: Any = self.points
        return GateLaw(self.gates.at(own), points[location], self.scale)

    def _search(self, X: Any) -> FoundGates:
        x = self.scaled(X)
        gates = self.gates.to(x)
        return find_gates(x, gates, gates.anneal(x, NEW_FALL).is_open if self.has_target else None)

    def infer(self, X: Any) -> GatePosterior:
        """Return the posterior of each latent, given all other gates that a search has found.

        Parameters
        ----------
        X : ndarray or torch.Tensor of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        GatePosterior
            The posterior, for scaled samples.
        """
        if self.points is None:
            return self._search(X).posterior
        labels, like = self.assign(X), self.scaled(X[:1])
        logit = like.new_full((len(labels), self.n_components), -math.inf)
        mean, variance, seen = (torch.full_like(logit, value) for value in (0.0, 1.0, 0.0))
        for g in range(len(self.shares)):
            rows, columns = np.flatnonzero(labels == g), np.flatnonzero(self.owners == g)
            if len(rows) and len(columns):
                found = self._at(g).infer(X[rows])
                # One open gate tells the location.
                best = found.gate_logit.argmax(dim=1, keepdim=True)
                least = found.gate_logit.gather(1, best).clamp_min(torch.finfo(like.dtype).tiny)
                own = np.ix_(rows, columns)
                logit[own] = found.gate_logit.scatter(1, best, least)
                mean[own], seen[own] = found.mean, found.seen
                variance[own] = found.variance
        return GatePosterior(logit, mean, variance, seen)

    def encode(self, X: Any, *, hard: bool = True) -> Codes:
        """Return the codes of samples.

        Parameters
        ----------
        X : ndarray or torch.Tensor of shape (n_samples, n_features)
            Samples.

        hard : bool, default=True
            Whether codes are the best ones for the open gates, and exactly 0 where a gate is
            closed. Otherwise they are posterior means, gates included.

        Returns
        -------
        Codes
            Codes and active latents, as tensors.
        """
        found = self.infer(X)
        values = self.gates.code(found) if hard else found.probability * found.mean
        return Codes(values, found.is_open)

    def posterior(self, X: Any) -> tuple[Any, Any, Any]:
        """Return probabilities of open gates, and means and standard deviations behind them."""
        found = self.infer(X)
        return found.probability, found.mean, found.variance.sqrt().expand_as(found.mean)

    # --- density ------------------------------------------------------------------------------

    def log_prob(self, X: Any) -> DoubleArray:
        """Return a lower bound of the log-density of samples.

        Parameters
        ----------
        X : ndarray or torch.Tensor of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Bounds in nats, in units of the samples.
        """
        if self.points is not None:
            both: DoubleArray = logsumexp(self._by_location(X), axis=1)
            return both
        bounds: DoubleArray = self._search(X).log_prob.cpu().numpy()
        return bounds - self.n_features * math.log(self.scale)

    def sample(self, n_samples: int, rng: np.random.RandomState) -> DoubleArray:
        """Draw samples, noise included.

        Parameters
        ----------
        n_samples : int
            Number of samples.

        rng : RandomState
            The source of randomness.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The samples.
        """
        slabs = (getattr(self.gates, name).cpu().double().numpy() for name in SLABS)
        probability, mean, variance = slabs
        shape = n_samples, self.n_components
        is_open = rng.uniform(size=shape) < expit(logit(probability) - float(self.gates.price))
        if self.points is not None:
            labels = rng.choice(len(self.shares), n_samples, p=self.shares)
            is_open &= labels[:, None] == self.owners
        z = mean + np.sqrt(variance) * rng.standard_normal(shape)
        noise = rng.standard_normal((n_samples, len(self.center)))
        origins = self.mean if self.points is None else self.points[labels]
        drawn: DoubleArray = (is_open * z) @ self.components + origins
        return drawn + math.sqrt(self.noise_variance) * noise

    # --- units and files ----------------------------------------------------------------------

    def in_units(self, center: DoubleArray, scale: float) -> Self:
        """Return the law of samples before they were centred and divided by a scale."""
        points = None if self.points is None else center + scale * self.points
        center = center + scale * self.center
        return replace(self, center=center, scale=scale * self.scale, points=points)

    def arrays(self) -> dict[str, Any]:
        """Return what determines the law, as arrays and numbers by name."""
        arrays: dict[str, Any] = self.gates._asdict() | vars(self) | {"scale": float(self.scale)}
        arrays |= {} if self.table is None else self.table._asdict()
        del arrays["gates"], arrays["table"]
        return {
            name: value.cpu().numpy() if isinstance(value, Tensor) else value
            for name, value in arrays.items()
            if value is not None
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return arrays for pickles and the like: skops cannot write tensors."""
        return self.arrays()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(self.from_arrays(state)))

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Return the law that `arrays` has described.

        Parameters
        ----------
        arrays : dict
            Arrays and numbers by name; they may come from a file.

        Returns
        -------
        GateLaw
            The law.

        Raises
        ------
        ValueError
            If an array is missing, not finite, or of another shape.
        """
        arrays = {name: value for name, value in arrays.items() if value is not None}
        # At least one price and one location.
        counts = {"m": "prices", "n": "points"}
        sizes = {size: len(arrays.get(name, ())) or 1 for size, name in counts.items()}
        for part in (Gates, PriceTable, cls):
            sizes = check_fields(part, arrays, sizes)
        if "shares" in arrays and abs(arrays["shares"].sum() - 1) > ROUNDING:
            raise ValueError("shares must sum to 1")
        own = {name: torch.from_numpy(np.array(arrays[name])) for name in Gates._fields[:-1]}
        gates = Gates(**own, positive=bool(arrays["positive"]))
        table: Any = None
        if "prices" in arrays:
            table = PriceTable(*(arrays[name] for name in PriceTable._fields))
        names = ("points", "owners", "shares") if "points" in arrays else ()
        numbers = float(arrays["scale"]), table, bool(arrays["has_target"])
        return cls(gates, arrays["center"], *numbers, *(arrays[name] for name in names))
