"""What explains rows best: laws of their codes and of their density, compared on the same rows."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from scipy.stats import sem

from skvaeense.explanations import _gate_fits
from skvaeense.explanations._em import Wanted
from skvaeense.explanations._flats import Flats, are_independent, of_groups, one_flat, pooled
from skvaeense.explanations._laws import FlatLaw, GateLaw
from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._fit import FlatPart, FoundMixture, MixtureStream, fit_mixture
from skvaeense.mixture._rows import Prepared, Units
from skvaeense.utils._linalg import svd
from skvaeense.utils._records import Record
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT
from skvaeense.utils._torch import threads_of_all
from skvaeense.utils._typing import DoubleArray

# Share of the steps of a fit after which gates that are surely behind a mixture stay behind it, and
# gates with few patterns keep few.
BRIEF = 0.25


class Explained(NamedTuple):
    """What a fit has found, in units of the samples.

    Attributes
    ----------
    name : {"mixture", "gates", "normal", "share", "length"}
        What gives the codes, and sets their length.

    coder : FlatLaw or GateLaw
        The law of the codes.

    density : MixtureDensity or GateLaw
        The law with the most nats of held-out rows.

    mixture : MixtureDensity
        The mixture, which may be the density.

    nats : dict of str to float
        Mean log-density of held-out rows under each law that was compared: a "mixture", one
        "normal" distribution and, if they were fitted, "gates". Gates that are surely behind the
        mixture have had only some of the steps.

    n_rows : int
        Number of rows.
    """

    name: str
    coder: Any
    density: Any
    mixture: MixtureDensity
    nats: dict[str, float]
    n_rows: int


def explain(
    rows: Prepared,
    wanted: Wanted,
    known: Any = None,
    searched: dict[str, FoundMixture] | None = None,
) -> Explained:
    """Fit a mixture and gates to rows, compare them on the same held-out rows, and choose laws.

    The density is the law under which held-out rows are most probable. Gates give the codes if they
    surely explain held-out rows best, or flat parts if these are clear; otherwise codes keep a
    share of the variance. A wanted length comes first.

    Parameters
    ----------
    rows : Prepared
        The rows.

    wanted : Wanted
        What codes should be like.

    known : GateLaw or None, default=None
        Gates of an earlier fit, in units of the samples, from which gates go on.

    searched : dict or None, default=None
        Keeps the "mixture" for another fit to the same rows, which does not search again. Such fits
        have no prices of shorter codes.

    Returns
    -------
    Explained
        The laws.
    """
    head = rows.head()
    with threads_of_all(head.known.shape):
        fits = _GateFits(head, wanted)
        kept = {} if searched is None else searched
        if "mixture" not in kept:
            kept["mixture"] = fit_mixture(head, rival=fits.rival)
        mixture = kept["mixture"]
        flats = Flats.of(mixture, head.x, wanted)
        gates = fits.best(flats, mixture)
        if gates is not None and head is not rows and _may_gain(gates, mixture):
            # A rare latent is open for too few of some rows.
            gates = _gate_fits.compared_gates(rows, wanted)
    nats = {"mixture": mixture.score, "normal": mixture.scores_of_one.mean()}
    if gates is not None:
        nats["gates"] = mixture.scores.mean() + _gain(gates, mixture).mean()
    name = _choose(mixture, flats, gates, fits)
    coder: Any
    if name == "mixture":
        coder = flats.law(mixture.parts, len(head.x), wanted.n_components)
    elif name == "normal":
        coder = one_flat(head, wanted, is_flat=flats.are_clear)
    else:
        first = gates.law if name == "gates" and gates is not None else None
        if first is not None and first.points is None and head is not rows:
            # Some of the rows have too few of a rare latent.
            first = None
        if isinstance(known, GateLaw) and known.points is None:
            first = known.in_units(-rows.center / rows.scale, 1 / rows.scale)
        wanted, has_table = wanted.for_codes(name), searched is None
        coder = _gate_fits.gate_law(rows, wanted, first, has_table=has_table)
    units = rows.center, rows.scale
    coder, found = coder.in_units(*units), mixture.density.in_units(*units)
    is_best = name == "gates" == max(nats, key=lambda key: nats[key])
    density = coder if is_best and not rows.has_holes and coder.points is None else found
    shift = rows.known.shape[1] * math.log(rows.scale)
    nats = {key: float(value - shift) for key, value in nats.items()}
    return Explained(name, coder, density, found, nats, len(rows.x))


def _gain(gates: _gate_fits.ComparedGates, mixture: FoundMixture) -> DoubleArray:
    """Return the nats by which held-out rows of the first split are more probable under gates."""
    return gates.scores - mixture.scores[: len(gates.scores)]


def _surely(gain: DoubleArray) -> int:
    """Return the sign of a mean gain that is sure, by three standard errors, or 0."""
    return int(np.sign(gain.mean()) * (abs(gain.mean()) > 3 * sem(gain, ddof=0)))


def _may_gain(gates: _gate_fits.ComparedGates, mixture: FoundMixture) -> bool:
    """Return whether gates of more rows may become more probable than a mixture.

    Gates of some rows that are surely more or less probable need no further rows.
    """
    return gates.are_codes and gates.law.points is None and not _surely(_gain(gates, mixture))


def _choose(
    mixture: FoundMixture, flats: Flats, gates: _gate_fits.ComparedGates | None, fits: "_GateFits"
) -> str:
    """Return the name of what gives the codes."""
    wanted = fits.wanted
    if wanted.has_target:
        return "share" if wanted.length is None else "length"
    if wanted.model == "gates":
        return "gates"
    if gates is not None and gates.are_codes:
        # If flat parts are clear, fewer numbers may describe the same patterns. If there are none,
        # gates must be more probable for sure.
        gain = _gain(gates, mixture)
        least = float(sem(gain, ddof=0))
        if flats.are_clear:
            n = int(fits.rows.is_train.sum())
            n_numbers = sum((part.rank + 1) * len(part.mean) for part in flats.parts)
            saved = n_numbers - gates.law.gates.weight.numel()
            least = -0.5 * saved * math.log(n) / n
        if gain.mean() > least:
            return "gates"
    if flats.are_clear:
        return "mixture" if len(flats.parts) > 1 else "normal"
    return "share" if wanted.share == "auto" and wanted.model == "auto" else "normal"


@dataclass
class _GateFits:
    """Gates of the rows that the first split of a search for mixtures trains on, where needed.

    Some of the steps show whether gates can be more probable than a mixture. Only then a whole fit
    follows.

    Attributes
    ----------
    rows : Prepared
        The rows.

    wanted : Wanted
        What codes should be like.
    """

    rows: Prepared
    wanted: Wanted

    @cached_property
    def brief(self) -> _gate_fits.ComparedGates:
        """The gates that all rows share, after some of the steps."""
        return _gate_fits.compared_gates(self.rows, self.wanted, share=BRIEF)

    @cached_property
    def shared(self) -> _gate_fits.ComparedGates:
        """The gates that all rows share."""
        return _gate_fits.compared_gates(self.rows, self.wanted)

    @property
    def are_tried(self) -> bool:
        """Whether gates are compared with a mixture."""
        wanted, n = self.wanted, len(self.rows.known)
        return wanted.model == "auto" and not wanted.has_target and n >= MIN_ROWS_TO_SPLIT

    def rival(self, search: Any) -> DoubleArray | None:
        """Return scores that a mixture must reach; None if it may explain the rows by flat parts.

        With holes, a mixture is judged by the known values, but gates by filled rows.
        """
        best = search.best
        if not self.are_tried or self.rows.has_holes:
            return None
        if best.family.cut and "brief" not in vars(self):
            directions = best.densities[0].directions
            columns = directions.transpose(0, 2, 1).reshape(-1, directions.shape[1])
            if are_independent(columns[columns.any(axis=1)]):
                return None
        return self.brief.scores if self.brief.are_codes else None

    def best(self, flats: Flats, mixture: FoundMixture) -> _gate_fits.ComparedGates | None:
        """Return the gates that are compared with a mixture, if any are."""
        bases = [part.basis for part in flats.parts]
        # No dictionary has fewer latents than directions none of which is a combination of others.
        is_clear = flats.are_clear and are_independent(np.concatenate(bases))
        if not self.are_tried or (is_clear and "brief" not in vars(self)):
            return None
        if flats.locations is None:
            # Beside clear flats, gates that are less probable may describe rows by fewer numbers.
            is_behind = not self.brief.have_patterns or _surely(_gain(self.brief, mixture)) < 0
            return self.brief if is_behind and not flats.are_clear else self.shared
        hulls = [pooled(own) for own in of_groups(mixture.parts, flats.locations.groups)]
        if sum(map(len, bases)) <= sum(hull.rank for hull in hulls):
            return self.shared
        local = _gate_fits.compared_gates_at(self.rows, self.wanted, flats.locations)
        return max(self.shared, local, key=lambda found: found.scores.mean())


# --- laws that learn from batches ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CodeStream(Record):
    """The laws of codes and of the density, which learn from batches.

    Attributes
    ----------
    mixture : MixtureStream
        The mixture.

    coder : FlatLaw or GateStream
        What codes the samples.
    """

    mixture: Annotated[MixtureStream, "d"]
    coder: Annotated[FlatLaw | _gate_fits.GateStream, "d"]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.mixture.n_features

    @classmethod
    def of(cls, before: Explained, units: Units, wanted: Wanted) -> Self:
        """Return the stream that goes on from laws."""
        coder = before.coder
        if isinstance(coder, GateLaw):
            coder = _gate_fits.GateStream.of(coder, wanted.for_codes(before.name), before.n_rows)
        return cls(MixtureStream.of(before.mixture, before.n_rows, units), coder)

    def absorb(self, rows: Prepared, before: Any) -> tuple[Self, Explained]:
        """Return the stream after one more batch, and its laws.

        Parameters
        ----------
        rows : Prepared
            The rows of the batch.

        before : Explained
            The laws before.

        Returns
        -------
        stream : CodeStream
            The stream.

        laws : Explained
            The laws.
        """
        mixture = self.mixture.absorb(rows)
        coder: Any = self.coder
        if isinstance(coder, _gate_fits.GateStream):
            coder = coder.absorb(rows)
            law: Any = coder.law
        else:
            law = coder = _moved(coder, mixture, before.name)
        density = mixture.law()
        is_gates = isinstance(before.density, GateLaw)
        found = before._replace(coder=law, mixture=density, density=law if is_gates else density)
        return replace(self, mixture=mixture, coder=coder), found


def _moved(law: FlatLaw, mixture: MixtureStream, name: str) -> FlatLaw:
    """Return flat parts with the same latents, moved to where the rows are now."""
    pieces, points = mixture.parts(), law.points
    if name == "normal":
        # One part along principal directions of all rows, whatever the number of components.
        pieces = [pooled(pieces)]
    owners, parts = [], []
    for k, own_pieces in enumerate(of_groups(pieces, law.groups)):
        own = law.parts == k
        part = _along(pooled(own_pieces), law.components[own])
        if part is None:
            return law
        parts.append(part)
        owners.append(law.owners[own].max(initial=0))
    if name == "normal":
        pieces, points = parts, parts[0].mean[None]
    return FlatLaw.of(pieces, parts, law.groups, points, np.array(owners), law.n_components)


def _along(part: FlatPart, columns: DoubleArray) -> FlatPart | None:
    """Return a part with the directions in its flat that are nearest to columns.

    So latents keep their meaning: principal directions of about the same variance would turn with
    each batch. The result is None if the part has fewer directions.
    """
    rank = len(columns)
    if part.rank < rank:
        return None
    # The orthogonal Procrustes problem: Schoenemann, "A generalized solution of the orthogonal
    # Procrustes problem", 1966.
    unit = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    left, _, right = svd(unit @ part.basis[:rank].T)
    turn = left @ right
    variances = np.square(turn) @ part.variances[:rank]
    return part._replace(basis=turn @ part.basis[:rank], variances=variances)
