"""GateLaw: gates over a dictionary as what a fit has found, in units of the samples."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from scipy.special import expit, logit, logsumexp

from skvaeense.explanations._gates import FIT_LOOKS, GatePosterior, Gates, restricted_code
from skvaeense.explanations._prices import PriceTable
from skvaeense.explanations._search import FoundGates, find_gates, search_gates, widest
from skvaeense.mixture._density import Shared
from skvaeense.utils._linalg import ROUNDING
from skvaeense.utils._records import check_fields
from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import checked_scale


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


@dataclass(frozen=True, eq=False)
class GateLaw(Shared):  # numpydoc ignore=PR02
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
        Whether a price meets a target. Then one search finds the gates, as in the fit, and
        otherwise two.

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

    name = "gates"

    def __post_init__(self) -> None:
        checked_scale(self.scale)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.center)

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
        price = self.gates.price.new_tensor(table.price_of(length))
        return replace(self, gates=self.gates._replace(price=price))

    def placed(self, dtype: Any, device: Any) -> Self:
        """Return the law with its tensors on a device."""
        if self.gates.weight.device.type == torch.device(device).type:
            return self
        return replace(self, gates=self.gates.to(self.gates.weight.to(device)))

    def _scaled(self, X: Any) -> torch.Tensor:
        return scaled_tensor(X, self.center, self.scale, self.gates.weight.device)

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

    def _search(self, x: torch.Tensor, first_price: Any = None) -> FoundGates:
        gates = self.gates.to(x)
        return search_gates(x, gates) if self.has_target else find_gates(x, gates, first_price)

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
            return self._search(self._scaled(X)).posterior
        labels = self.assign(X)
        like = self._scaled(X[:1])
        logit = like.new_full((len(labels), self.n_components), -math.inf)
        mean, variance, seen = torch.zeros_like(logit), torch.ones_like(logit), logit * 0.0
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
                variance[own] = found.variance.expand_as(found.mean)
        return GatePosterior(logit, mean, variance, torch.nan_to_num(seen))

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
        if not hard:
            return Codes(found.probability * found.mean, found.is_open)
        weight = self.gates.weight.to(found.mean).T
        values = restricted_code(
            found.mean, found.is_open, found.seen, weight, FIT_LOOKS, positive=self.gates.positive
        )
        # Adding 0 turns a negative 0 into 0.
        return Codes(values + 0.0, found.is_open)

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
        origins = self.mean if self.points is None else self.points[owner_of(codes, self)]
        return codes @ self.components + origins

    def posterior(self, X: Any) -> tuple[Any, Any, Any]:
        """Return probabilities of open gates, and means and standard deviations behind them."""
        found = self.infer(X)
        return found.probability, found.mean, found.std

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
        x = self._scaled(X)
        bounds: DoubleArray = self._search(x).log_prob.cpu().numpy()
        return bounds - x.shape[1] * math.log(self.scale)

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
        slabs = (value.cpu().double().numpy() for value in self.gates[2:5])
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
        arrays: dict[str, Any] = {
            name: np.asarray(value.cpu().numpy() if isinstance(value, torch.Tensor) else value)
            for name, value in self.gates._asdict().items()
        }
        arrays |= {"center": self.center, "scale": float(self.scale)}
        arrays |= {"has_target": self.has_target}
        others = {"points": self.points, "owners": self.owners, "shares": self.shares}
        others |= {} if self.table is None else self.table._asdict()
        return arrays | {name: value for name, value in others.items() if value is not None}

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
        table: Any = None
        if "prices" in arrays:
            table = PriceTable(*(arrays[name] for name in PriceTable._fields))
        names = ("points", "owners", "shares") if "points" in arrays else ()
        if "shares" in arrays and abs(arrays["shares"].sum() - 1) > ROUNDING:
            raise ValueError("shares must sum to 1")
        own = {name: torch.from_numpy(np.array(arrays[name])) for name in Gates._fields[:-1]}
        return cls(
            Gates(**own, positive=bool(arrays["positive"])),
            np.asarray(arrays["center"]),
            float(arrays["scale"]),
            table,
            bool(arrays["has_target"]),
            *(arrays[name] for name in names),
        )


def scaled_tensor(X: Any, center: DoubleArray, scale: float, device: Any) -> torch.Tensor:
    """Return samples as a centred and scaled tensor in their own precision.

    Differences are taken in double precision, so that X and 1000 X + 7 have the same codes.

    Parameters
    ----------
    X : ndarray or torch.Tensor of shape (n_samples, n_features)
        Samples.

    center : ndarray of shape (n_features,) or (n_samples, n_features)
        Centre.

    scale : float
        Scale.

    device : torch.device
        Device of the result.

    Returns
    -------
    torch.Tensor of shape (n_samples, n_features)
        The scaled samples.
    """
    if isinstance(X, torch.Tensor):
        wide = X.to(widest(X))
        return ((wide - torch.as_tensor(center).to(wide)) / scale).to(X.dtype).to(device)
    with np.errstate(over="ignore", invalid="ignore"):
        return torch.from_numpy(((X - center) / scale).astype(X.dtype)).to(device)


def owner_of(codes: DoubleArray, law: Any) -> Any:
    """Return the location whose latents are used most in each code; the first one in a code of 0.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        Codes.

    law : GateLaw or FlatLaw
        The law of the codes, with several locations.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Indices of the locations.
    """
    sizes = np.abs(codes) * np.linalg.norm(law.components, axis=1)
    used = sizes @ (law.owners[:, None] == np.arange(len(law.points)))
    return used.argmax(axis=1)
