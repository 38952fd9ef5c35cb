"""Mixtures fitted to rows, the flat parts of the rows, and mixtures that learn from batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvaeense.mixture import _em
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._rows import Prepared, Units, scales_of, units_of
from skvaeense.mixture._search import FINAL, LEAST_ROWS, N_PARTS, Pair, Search, held_out
from skvaeense.mixture._stack import averaged
from skvaeense.utils._linalg import ROUNDING, TINY, principal_directions, svd, threads_for
from skvaeense.utils._records import Record, check_fields
from skvaeense.utils._rows import MANY_ROWS
from skvaeense.utils._typing import DoubleArray, IntArray
from skvaeense.utils._warnings import warn_user


class FlatPart(NamedTuple):
    """A part of the data that is flat, except for noise.

    Attributes
    ----------
    weight : float
        Share of the rows.

    mean : ndarray of shape (n_features,)
        Mean of the part.

    basis : ndarray of shape (rank, n_features)
        Orthonormal directions in which the part varies by more than its noise.

    variances : ndarray of shape (rank,)
        Variances along these directions.

    noise_variance : float
        Variance in every other direction.
    """

    weight: float
    mean: DoubleArray
    basis: DoubleArray
    variances: DoubleArray
    noise_variance: float

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.variances)

    def in_units(self, center: DoubleArray, scale: float) -> "FlatPart":
        """Return the part of rows before they were centred and divided by a scale."""
        mean, variances = center + scale * self.mean, scale**2 * self.variances
        return FlatPart(self.weight, mean, self.basis, variances, scale**2 * self.noise_variance)


class FoundMixture(NamedTuple):
    """A density, and the flat parts of the data.

    Attributes
    ----------
    density : MixtureDensity
        The density: of rows that are not flat, the average of several mixtures.

    score : float
        Mean log-density of held-out rows under densities that are fitted without them.

    mixture : MixtureDensity
        The mixture whose components are the parts.

    parts : list of FlatPart
        Flat parts, in the order of the components of the mixture.

    family : Family
        The regularisation of covariances under which held-out rows are most probable.

    scores, scores_of_one : ndarray of shape (n_held_out,)
        Log-densities of held-out rows, in the order of `held_out`, under single mixtures that are
        fitted without them: with the chosen number of components, and with one component.

    blur : float
        Mean variance by which columns with a step are smoothed.
    """

    density: MixtureDensity
    score: float
    mixture: MixtureDensity
    parts: list[FlatPart]
    family: _em.Family
    scores: DoubleArray
    scores_of_one: DoubleArray
    blur: float

    @property
    def is_flat(self) -> bool:
        """Whether directions that do not stand out from the noise are cut.

        In that case the data consists of the parts; otherwise the parts only show where the data is
        dense.
        """
        return self.family.cut


def fit_mixture(
    rows: Prepared,
    *,
    n_components: int | None = None,
    max_components: int = _em.MAX_COMPONENTS,
    basis: DoubleArray | None = None,
    rival: Callable[[Search], DoubleArray | None] | None = None,
) -> FoundMixture:
    """Return the mixture under which held-out rows are most probable, and its flat parts.

    If values are missing, the search takes filled rows; the mixture that it finds is then fitted to
    the known values.

    Parameters
    ----------
    rows : Prepared
        The rows.

    n_components : int or None, default=None
        Number of components; None chooses it.

    max_components : int, default=64
        Maximum number of components to try.

    basis : ndarray of shape (n_features, n_directions) or None, default=None
        Directions in which components vary freely. None means all directions or, with many
        features, the principal ones; features can then also be divided by their standard
        deviations.

    rival : callable or None, default=None
        Function from the search, once several components have been tried, to log-densities of the
        rows of the first split under another density, or None. If the mixture cannot reach them,
        the search ends early.

    Returns
    -------
    FoundMixture
        The mixture, in the units of the rows.
    """
    # Longer than most functions: each step needs much of what the steps before it have found.
    x, weights, steps = rows.known, rows.weights, rows.steps
    with threads_for(x.size * x.shape[1]):
        filled = rows.x
        scale = scales_of(x, weights) if basis is None else np.ones(x.shape[1])
        has_many = basis is None and x.shape[1] > MAX_DIRECTIONS and not rows.has_holes
        wanted: dict[str, Any] = {"n_components": n_components, "max_components": max_components}
        wanted |= {"log_scale": np.log(scale).sum(), "rival": rival}
        wanted["n_splits"] = 1 if has_many else None

        def search_along(*bases: DoubleArray | None) -> Search:
            def pair(y: DoubleArray) -> Pair:
                plain = _em.Rows.of(y, weights, bases[0], steps)
                return plain, _em.Rows.of(y / scale, weights, bases[1], steps / scale)

            known = pair(x)
            both = known if filled is x else pair(filled)
            return Search(both, rows.order, rows.rng, known=known, **wanted)

        if has_many:
            search = search_wide((x, x / scale), weights, rows.order, search_along)
        else:
            search = search_along(basis, basis).run()
        (family, densities, scores), one = search.best, search.one
        density, held_out = search.final(search.known), None
        own = search.known[family.scaled].facing(density.background)
        density, shares, far = own.shares_in(density)
        if has_many:
            unit, log_unit = (scale, search.log_scale) if family.scaled else (np.ones(1), 0.0)
            known = x / unit, weights, shares, far
            density, shares, held_out = turned(density, family, steps / unit, known, rows.order)
            held_out -= log_unit
        elif filled is x:
            density = replace(density, core=own.core(density, family))
            cores = [
                split.train[family.scaled].core(each, family)
                for split, each in zip(search.splits, densities, strict=True)
            ]
            both = cores, [core.blurred(1.0) for core in cores]
            held_out = np.stack([search.scores(family, some) for some in both], axis=1)
        if len(density) < (n_components or 0):
            warn_user(
                f"Only {len(density)} components of n_components={n_components} were found: others "
                'had too few distinct rows. Set fewer components, or "auto", or give more rows.',
                ConvergenceWarning,
            )
        density = density.divided_by(scale) if family.scaled else density
        sharp = replace(search.known[0], blur=0.0 * search.known[0].blur, off_blur=0.0)
        parts = flat_parts(sharp, shares, density)
        dimensions = np.array([part.rank for part in parts])
        # Without holes, no averages are fitted, which takes time.
        pulls = pulls_of(search, x, weights, scale) if rows.has_holes else None
        mixture = replace(density, dimensions=dimensions, held_out=held_out, pulls=pulls)
        scores = search.scores(family, densities)
        density, score = mixture, float(scores.mean())
        is_whole = filled is x and basis is None and not has_many
        if is_whole and n_components is None and not family.cut and len(mixture) > 1:
            density, score = averaged(search, scale, mixture, shares)
        scores_of_one = search.scores(one.family, one.densities)
        blur = _em.blur_of(steps)
        return FoundMixture(density, score, mixture, parts, family, scores, scores_of_one, blur)


def pulls_of(
    search: Search, x: DoubleArray, weights: DoubleArray, scale: DoubleArray
) -> DoubleArray:
    """Return the weights with which conditional means predict entries of held-out rows best.

    A part of the entries is hidden. The conditional means under a mixture and under one normal
    distribution are averaged first, and their average is then drawn to the mean. Both steps are
    least squares, in units of the standard deviations of the columns.

    Parameters
    ----------
    search : Search
        The search that has found the mixtures, one for each split.

    x : ndarray of shape (n_rows, n_features)
        The rows, perhaps with holes.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    scale : ndarray of shape (n_features,)
        Standard deviations of the columns.

    Returns
    -------
    ndarray of shape (2,)
        Weights of the mixture and of the normal distribution; their sum is at most 1.
    """
    family, densities, _ = search.best
    unit, rng, found = scale if family.scaled else np.ones(len(scale)), np.random.RandomState(0), []
    for out, density in zip(search.held_out, densities, strict=True):
        known = x[out] / unit
        # Columns are numbered by their spread, not by their place in a table.
        hidden = rng.uniform(size=known.shape)[:, np.argsort(np.argsort(scale))] < 1 / N_PARTS
        hidden &= ~np.isnan(known)
        holed = np.where(hidden, np.nan, known)
        root = np.sqrt(weights[out])[:, None] * unit / scale
        values = (known, density.impute(holed), density.as_one().impute(holed))
        found.append([((value - density.mean) * root)[hidden] for value in values])
    target, ours, other = (np.concatenate(values) for values in zip(*found, strict=True))

    def best(change: DoubleArray, wanted: DoubleArray) -> float:
        # Where nothing changes, or no entry is hidden, the mixture is taken as it is.
        size = float(change @ change)
        return float(np.clip(change @ wanted / size, 0.0, 1.0)) if size > 0 else 1.0

    share = best(ours - other, target - other)
    blend = share * ours + (1 - share) * other
    return best(blend, target) * np.array([share, 1 - share])


def flat_parts(rows: _em.Rows, shares: DoubleArray, density: MixtureDensity) -> list[FlatPart]:
    """Return the flat parts of rows: one for each component of a mixture.

    Parameters
    ----------
    rows : Rows
        The rows, not divided by any scale.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in the components.

    density : MixtureDensity
        The mixture, which fills in holes.

    Returns
    -------
    list of FlatPart
        Flat parts, in the order of the components.
    """
    # A component without rows keeps its place, and is described by all rows.
    is_empty = ~(shares > _em.LEAST_RESPONSIBILITY * rows.weights[:, None]).any(axis=0)
    shares = np.where(is_empty, rows.weights[:, None], shares)
    n_rows, means, covariances, rests = rows.moments(shares, density if rows.has_holes else None)
    values, vectors = _em.eigen(covariances)
    spreads = (values.sum(axis=1) + rests) / rows.n_features
    floors = _em.least_variance(spreads)[:, None]
    ranks, noises = _em.spikes(values + floors, rests, rows.n_features, n_rows, floors)
    return [
        FlatPart(
            float(density.weights[c]),
            rows.basis @ means[c],
            (rows.basis @ vectors[c][:, :rank]).T,
            values[c, :rank],
            float(noises[c]),
        )
        for c, rank in enumerate(ranks)
    ]


# With more features, components vary freely only along at most this number of principal directions.
MAX_DIRECTIONS = 128


def search_wide(
    both: Sequence[DoubleArray], weights: DoubleArray, order: IntArray, search_along: Any
) -> Search:
    """Search for a mixture along principal directions of many features.

    The directions are found without held-out rows. Their number is chosen so that held-out rows are
    most probable under one component: four numbers are tried, each half of the last, and two more
    between the best of them and its neighbours.

    Parameters
    ----------
    both : sequence of two ndarrays of shape (n_rows, n_features)
        Rows as they are, and divided by a scale.

    weights : ndarray of shape (n_rows,)
        How often each row counts.

    order : ndarray of int of shape (n_rows,)
        Order of the rows, of which the first are held out.

    search_along : callable
        Function from two bases to the search along them.

    Returns
    -------
    Search
        The search that was best, with its mixture.
    """
    train = order[max(len(order) // N_PARTS, 1) :] if len(order) > 1 else order
    plain, scaled = (_leading(x[train], weights[train]) for x in both)

    def one_along(k: int) -> Search:
        found: Search = search_along(plain[:k].T, scaled[:k].T)
        return found.change_family()

    # With more directions, new rows would lie much farther from their span than training rows do.
    most = max(min(MAX_DIRECTIONS, len(train) // 2, len(plain)), 1)
    searches = {k: one_along(k) for k in (most, most // 2, most // 4, most // 8) if k}
    best = max(searches, key=lambda k: searches[k].best.mean)
    between = round(best / 2**0.5), round(best * 2**0.5)
    searches |= {k: one_along(k) for k in between if 0 < k <= most and k not in searches}
    return max(searches.values(), key=lambda search: search.best.mean).run()


def turned(
    density: MixtureDensity,
    family: _em.Family,
    steps: DoubleArray,
    known: tuple[DoubleArray, ...],
    order: IntArray,
) -> tuple[MixtureDensity, DoubleArray, DoubleArray]:
    """Return a mixture along principal directions of all rows, with a spectrum of noise.

    Parameters
    ----------
    density : MixtureDensity
        A mixture along the same number of other directions.

    family : Family
        The regularisation of covariances.

    steps : ndarray of shape (n_features,)
        Steps between the values of columns, in the units of the mixture.

    known : tuple of ndarrays of length n_rows
        Rows in the units of the mixture, their weights, and their shares in the components and in
        the background.

    order : ndarray of int of shape (n_rows,)
        Order of the rows, of which the first are held out.

    Returns
    -------
    density : MixtureDensity
        The mixture; its components keep their order.

    shares : ndarray of shape (n_rows, n_components)
        Shares of the rows in its components.

    held_out : ndarray of shape (n_held_out, 2)
        Log-densities of held-out rows under mixtures that are fitted without them.
    """

    def fitted(
        x: DoubleArray, weights: DoubleArray, shares: DoubleArray, far: DoubleArray
    ) -> tuple[MixtureDensity, DoubleArray]:
        rows = _em.Rows.of(x, weights, _leading(x, weights)[: density.basis.shape[1]].T, steps)
        broad = rows.background()
        rows = rows.facing(broad)
        start = rows.maximise(shares, family, replace(density, background=broad), far)
        found, shares, _ = rows.shares_in(rows.em(start, family, *FINAL))
        found = replace(found, core=rows.core(found, family))
        # The components share the spectrum of their noise up to a factor. These weights divide rows
        # by the noise of their components, up to a factor.
        noise = found.noise_variances
        rows = replace(rows, weights=(shares / noise).sum(axis=1))
        factors = noise * (rows.weights.sum() / shares.sum())
        return _with_rest(found, _rest_of(x, found.basis, rows), factors), shares

    scores = _scores_of_new(lambda *some: fitted(*some)[0], known, order)
    return *fitted(*known), scores


def _scores_of_new(
    fitted: Callable[..., MixtureDensity], known: tuple[DoubleArray, ...], order: IntArray
) -> DoubleArray:
    """Return log-densities of rows under mixtures that are fitted without these rows.

    If there are very few rows, none is held out. `known` has the rows, and the other arrays that
    the fit needs, with an entry for each row.
    """
    x, scores = known[0], []
    if len(x) < 2 * LEAST_ROWS:
        return fitted(*known).log_probs(x)
    for out in held_out(order):
        kept = np.delete(np.arange(len(x)), out)
        scores.append(fitted(*(values[kept] for values in known)).log_probs(x[out]))
    return np.concatenate(scores)


def _leading(x: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the principal directions of weighted rows."""
    mean = np.average(x, axis=0, weights=weights)
    return principal_directions((x - mean) * np.sqrt(weights)[:, None])[1]


def _rest_of(x: DoubleArray, basis: DoubleArray, rows: _em.Rows) -> FlatPart:
    """Return the normal distribution of the residual of rows x off a basis, as one flat part.

    The same rows are given along any directions, too.
    """
    left = x - (x @ basis) @ basis.T
    mean, n_left = np.average(left, axis=0, weights=rows.weights), left.shape[1] - basis.shape[1]
    left -= mean
    n_directions = min(n_left, MAX_DIRECTIONS, len(left) - 1)
    others = _leading(left, rows.weights)[:n_directions]
    h = left @ others.T
    off = np.maximum(np.square(left).sum(axis=1) - np.square(h).sum(axis=1), 0.0)
    blur = np.zeros((len(others), len(others)))
    moments = replace(rows, h=h, off=off, blur=blur, off_blur=0.0).moments(rows.weights[:, None])
    # The directions that were left out were found in these rows, and hold part of their noise.
    share = max(len(rows) - 1 - basis.shape[1], 1) / len(rows)
    moments = moments._replace(
        n_rows=moments.n_rows * share,
        covariances=moments.covariances / share,
        rests=moments.rests / share,
    )
    rest = _em.gaussians(moments, n_left, _em.Family(), _em.least_variance(rows.size))
    # At least one direction is noise.
    values = np.r_[rest.variances[0], rest.noise_variances][:n_left]
    directions = (others.T @ rest.directions[0])[:, : len(values) - 1].T
    return FlatPart(1.0, mean, directions, values[:-1], float(values[-1]))


def _with_rest(density: MixtureDensity, rest: FlatPart, factors: DoubleArray) -> MixtureDensity:
    """Return a mixture along its basis, combined with one normal distribution off the basis.

    Each component takes the covariance of this distribution, times a factor.
    """
    (k, p), r = density.means.shape, rest.rank
    noises = rest.noise_variance * factors
    values, vectors = np.linalg.eigh(density.covariances)
    directions = np.zeros((k, p + r, p + r))
    directions[:, :p, :p], directions[:, p:, p:] = vectors, np.eye(r)
    along = np.maximum(values, noises[:, None])
    return replace(
        density,
        center=density.center + rest.mean,
        basis=np.hstack([density.basis, rest.basis.T]),
        means=np.hstack([density.means, np.zeros((k, r))]),
        directions=directions,
        variances=np.hstack([along, factors[:, None] * rest.variances]),
        noise_variances=noises,
        scale=None,
    )


def span_density(
    x: DoubleArray, weights: DoubleArray, columns: DoubleArray, bias: DoubleArray
) -> MixtureDensity:
    """Return the mixture that fits samples, whose components vary freely in a span alone.

    The residual of the decoder has one normal distribution, up to a factor for each component. In
    its units the residual is noise, and the mixture is sought along the span.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        Samples.

    weights : ndarray of shape (n_samples,)
        How often each sample counts.

    columns : ndarray of shape (n_features, n_columns)
        Columns of the decoder that are in use.

    bias : ndarray of shape (n_features,)
        Sample whose code is 0.

    Returns
    -------
    MixtureDensity
        The density.
    """
    span, sizes, _ = svd(columns)
    span = span[:, sizes > ROUNDING * sizes.max(initial=0.0)]
    centred = x - bias
    if span.shape[1] == 0:
        # No latent is open: the mixture is along one line.
        span = principal_directions(centred)[1][:1].T
    rng = np.random.RandomState(0)
    if span.shape[1] == len(bias):
        center, scale = units_of(x, weights)
        whole = Prepared.in_own_units((x - center) / scale, weights, rng)
        return fit_mixture(whole).density.in_units(center, scale)
    if span.shape[1] > MAX_DIRECTIONS:
        span = span @ principal_directions(centred @ span)[1][:MAX_DIRECTIONS].T
    every = _em.Rows.of(centred, weights)
    of_all = _rest_of(centred, span, every)
    rows = Prepared.in_own_units(centred - of_all.mean, weights, rng)
    # Held-out rows of the first split are new to the units in which the mixture is sought.
    train = _em.Rows.of(rows.known, rows.weights)[rows.is_train]
    rest = _rest_of(train.h, span, train)
    shrink = np.sqrt(rest.noise_variance / rest.variances)
    y = rows.known + (rows.known @ rest.basis.T * (shrink - 1)) @ rest.basis
    found = fit_mixture(replace(rows, known=y), basis=span).density
    noises = found.noise_variances
    density = _with_rest(found, of_all, noises / (found.weights @ noises))
    # Its own core has the units in which the mixture was sought.
    held_out = replace(found, core=_core_of_one(train)).log_probs(rows.known[rows.valid])
    core = _core_of_one(_em.Rows.of(rows.known, rows.weights)).in_units(of_all.mean, 1.0)
    density = replace(density, background=every.background(), core=core, held_out=held_out)
    return density.in_units(bias, 1.0)


def _core_of_one(rows: _em.Rows) -> MixtureDensity:
    """Return the core of one component."""
    return rows.core(rows.maximise(rows.weights[:, None], _em.Family()), _em.Family())


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

    density: Annotated[MixtureDensity, "d"]
    units: Annotated[Units, "d"]
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
        p, totals = density.means.shape[1], n_rows * density.weights
        cut = bool(density.n_directions.max(initial=0) < p)
        sums = totals, totals, density.means, density.covariances
        rests = (len(units.center) - p) * density.noise_variances
        return cls(density, units, cut, density.ranks, *sums, rests)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.units.n_features

    def check(self) -> None:
        """Raise an error unless all parts, which can come from a file, match the mixture."""
        k, p = self.density.means.shape
        check_fields(type(self), vars(self), {"k": k, "p": p})
        if not self.totals.sum() > 0:
            raise ValueError("there must be rows")

    def absorb(self, rows: Prepared) -> Self:
        """Return the stream after one more batch, whose mixture is the best one for the sums."""
        stream = self._with(rows)
        moments = _em.Moments(stream.n_rows, stream.means, stream.covariances, stream.rests)
        # As in the coordinates in which the mixture was fitted.
        size = self.units.size / float(np.square(self.density.unit).mean())
        parts = _em.gaussians(
            moments, self.n_features, _em.Family(self.cut), _em.least_variance(size)
        )
        known = {"weights": stream.totals / stream.totals.sum(), "dimensions": self.ranks}
        return replace(stream, density=replace(self.density, **known, **parts._asdict()))

    def _with(self, rows: Prepared) -> Self:
        """Return the stream with the sums over the rows of a batch."""
        density, steps = self.density, self.units.steps / self.density.unit
        x = density.impute(rows.known)
        own = _em.Rows.of(density.quotients(x), rows.counts, density.basis, steps)
        if density.background is not None:
            broad = density.background.log_prob(x) + np.log(density.unit).sum()
            own = replace(own, log_broad=broad)
        shares = own.responsibilities(density)[0]
        totals, new = shares.sum(axis=0), own.moments(shares)
        # Earlier batches fade, so that the mixture follows slow changes.
        room = min(1.0, MANY_ROWS / max(self.totals.sum(), TINY))
        before = room * self.totals
        share = totals / np.maximum(before + totals, TINY)
        gap = new.means - self.means
        between = ((1 - share) * share)[:, None, None] * gap[:, :, None] * gap[:, None]
        change = share[:, None, None] * (new.covariances - self.covariances)
        return replace(
            self,
            totals=before + totals,
            n_rows=room * self.n_rows + new.n_rows,
            means=self.means + share[:, None] * gap,
            covariances=self.covariances + change + between,
            rests=self.rests + share * (new.rests - self.rests),
        )

    def law(self) -> MixtureDensity:
        """Return the mixture in units of the samples."""
        return self.density.in_units(self.units.center, self.units.scale)

    def parts(self) -> list[FlatPart]:
        """Return the flat part of each component, in units of the samples."""
        density, d = self.density, self.n_features
        loadings = density.unit[:, None] * density.basis
        blur = np.diag(np.square(self.units.steps / 2))
        found = []
        for c, rank in enumerate(self.ranks.tolist()):
            covariance = loadings @ self.covariances[c] @ loadings.T - blur
            rest = float(self.rests[c] * np.square(density.unit).mean())
            values, vectors = _em.eigen(covariance)
            noise = (values[rank:].sum() + rest) / max(d - rank, 1)
            noise = max(noise, _em.least_variance((values.sum() + rest) / d))
            mean = density.center + loadings @ self.means[c]
            weight = float(density.weights[c])
            variances = np.maximum(values[:rank], noise)
            part = FlatPart(weight, mean, vectors.T[:rank], variances, noise)
            found.append(part.in_units(self.units.center, self.units.scale))
        return found
