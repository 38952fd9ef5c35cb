"""Choose a mixture by held-out rows: grow components, prune them, and regularise covariances."""

import math
from collections import Counter
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from scipy.special import expit
from sklearn.cluster import KMeans

from skvaeense.mixture._density import MixtureDensity, log_sum_exp, products_of
from skvaeense.mixture._em import MAX_COMPONENTS, Family, Gaussians, Rows, edge
from skvaeense.utils._callbacks import advance
from skvaeense.utils._linalg import TINY, principal_directions
from skvaeense.utils._rows import SEARCH_ROWS, SOME_ROWS
from skvaeense.utils._typing import DoubleArray, IntArray

# Fewer rows do not determine the covariance of a component.
LEAST_ROWS = 8
# Distances that differ by less, as a share of the largest, are equal.
TIED = 1e-5


class Proposal(NamedTuple):
    """A candidate for a new component of a mixture.

    Attributes
    ----------
    gain : float
        Gain in the log-density of all rows, in nats.

    share : float
        Weight of the component.

    nest : Nest
        The rows among which the component has grown.

    parts : Gaussians
        Components that have grown there.

    place : int
        The place of this component among them.
    """

    gain: float
    share: float
    nest: "Nest"
    parts: Gaussians
    place: int

    @property
    def component(self) -> MixtureDensity:
        """The component."""
        return self.nest.component(self.parts, self.place)


def propose(
    rows: Rows, density: MixtureDensity, family: Family, n_starts: int, rng: np.random.RandomState
) -> list[Proposal]:
    """Return the new components that raise the log-density of rows most.

    Parameters
    ----------
    rows : Rows
        The rows.

    density : MixtureDensity
        The current mixture.

    family : Family
        The regularisation of covariances.

    n_starts : int
        Number of rows that components start around.

    rng : RandomState
        The source of randomness.

    Returns
    -------
    list of Proposal
        The best proposal first; at most half as many as the mixture has components, or one.
    """
    joint = rows.joint(density)
    labels, at_most = joint.argmax(axis=1), max(1, len(density) // 2)
    counts = np.bincount(labels, minlength=len(density) + 1)
    found: list[Proposal] = []
    # Rows that no component explains can form a new component.
    least = np.r_[np.full(len(density), 2 * LEAST_ROWS), LEAST_ROWS]
    for c in np.flatnonzero(counts >= least):
        n_own = int(np.ceil(n_starts * counts[c] / len(rows)))
        own = np.flatnonzero(labels == c)
        some = rng.choice(own, min(len(own), Nest.MAX_ROWS), replace=False)
        factor = rows.weights[own].sum() / rows.weights[some].sum()
        nest = Nest(rows[some], density, joint[some], int(c), factor)
        found += nest.grow(n_own, family, rows.weights.sum(), at_most, rng)
    found.sort(key=attrgetter("gain"), reverse=True)
    enough = Nest.LEAST_GAIN * found[0].gain if found else 0.0
    return [proposal for proposal in found[:at_most] if proposal.gain > enough]


class Nest:
    """The rows of one component or of the background, among which new components grow.

    With many features, only the directions of the component are used. If it has none, and in the
    background, the principal directions of the rows are used. The index of the background follows
    the indices of the components.
    """

    # Least variances while components grow, as shares of the mean variance of the old component.
    ANNEALED = 3e-2, 1e-2, 3e-3, 0.0
    # Numbers of rows that a component starts from.
    SIZES = LEAST_ROWS, 24, 72
    # Largest number of rows that are used.
    MAX_ROWS = 1024
    # Number of features up to which all directions are used, and of principal directions else.
    MAX_DIRECTIONS = 24
    # Share of the starts that each level of the annealing keeps, and share of the best gain that
    # another proposal needs to become a component too.
    KEPT, LEAST_GAIN = 0.5, 0.2

    def __init__(
        self, rows: Rows, density: MixtureDensity, joint: DoubleArray, parent: int, factor: float
    ) -> None:
        if parent < len(density):
            directions = density.directions[parent][:, : int(density.n_directions[parent])]
            self.mean, self.spread = density.means[parent], float(density.spreads[parent])
        else:
            directions, self.mean = rows.h[:, :0].T, rows.h.mean(axis=0)
            self.spread = float(np.square(rows.h - self.mean).sum(axis=1).mean()) / rows.n_features
        p, centred = rows.h.shape[1], rows.h - self.mean
        if p <= self.MAX_DIRECTIONS:
            directions = np.eye(p)
        elif not directions.size:
            directions = principal_directions(centred)[1][: self.MAX_DIRECTIONS].T
        h, blur = centred @ directions, directions.T @ rows.blur @ directions
        rest = np.square(centred).sum(axis=1) - np.square(h).sum(axis=1)
        self.outer, self.directions = rows, directions
        self.rows = replace(
            rows,
            basis=rows.basis @ directions,
            h=h,
            off=np.maximum(rest, 0.0) + rows.off,
            weights=rows.weights * factor,
            blur=blur,
            off_blur=rows.off_blur + float(np.trace(rows.blur) - np.trace(blur)),
        )
        self.common = np.cov(h.T, aweights=rows.weights, bias=True).reshape(blur.shape) + blur
        # Log-density under the parent, with noise raised as in the new component, and at last under
        # all components. Rows that no component explains have all components for a parent.
        old, log_weight = replace(density, background=None, background_weight=0.0), 0.0
        if parent < len(density):
            old, log_weight = old.take(np.array([parent])), math.log(density.weights[parent])
        self.totals = []
        for share in self.ANNEALED[:-1]:
            self.totals.append(log_sum_exp(rows.joint(old.raised(share))[:, :-1]) + log_weight)
        self.totals.append(log_sum_exp(joint))

    def grow(
        self, n_starts: int, family: Family, n_all: float, at_most: int, rng: np.random.RandomState
    ) -> list[Proposal]:
        """Return components that grow from starts, as long as each one raises the log-density."""
        weights, rows = self.rows.weights, self.rows
        products = products_of(rows.h)
        starts = [start for _ in range(n_starts) for start in self._neighbourhoods(rng)]
        # Around rows of counts or categories, many starts are the same.
        copies = Counter(start.tobytes() for start in [np.ones(len(weights)), *starts])
        shares = np.array(list(map(np.frombuffer, copies))) * weights
        counts = np.array(list(copies.values()))
        for least, total in zip(self.ANNEALED, self.totals, strict=True):
            weight = shares.sum(axis=1) / (n_all + 1)
            parts = self._fit(shares, products, family, least)
            mixture = rows.mixture(np.ones(len(weight)), parts)
            log_prob = mixture.log_joint_along(rows.h, rows.off, products).T
            log_new, log_old = log_prob + np.log(weight)[:, None], np.log1p(-weight)
            if least == 0.0:
                break
            gains = np.logaddexp(total + log_old[:, None], log_new) - total
            order = np.argsort(-(gains @ weights))
            # How many are kept after the ones before.
            left = max(int(np.ceil(self.KEPT * counts.sum())), 3) + counts[order]
            left -= counts[order].cumsum()
            order, counts = order[left > 0], np.minimum(counts[order], left)[left > 0]
            shares = expit(np.clip(log_new[order] - total, -50, 50)) * weights
            is_kept = shares.sum(axis=1) >= LEAST_ROWS / 2
            shares, counts = shares[is_kept], counts[is_kept]
            if not len(shares):
                return []
        found: list[Proposal] = []
        for _ in range(at_most):
            gains = np.logaddexp(total + log_old[:, None], log_new) - total
            sums = gains @ weights
            i = int(sums.argmax())
            if not sums[i] > 0:
                break
            found.append(Proposal(float(sums[i]), float(weight[i]), self, parts, i))
            total = total + gains[i]
        return found

    def _neighbourhoods(self, rng: np.random.RandomState) -> Any:
        """Yield masks of rows that may share a component: rows near one row, in several senses.

        Near rows have a similar direction from the mean, as in subspaces with a common point; a
        small distance, as in clusters and curved sheets; both, as in separate flats; or similar
        values of one feature, as in tables of counts or categories.
        """
        y = self.rows.h
        length = np.square(y).sum(axis=1)
        i, j = rng.randint(len(y)), rng.randint(y.shape[1])
        # Coordinates are numbered by their spread, not by their place in a table.
        j = int(np.argsort(np.square(y).sum(axis=0))[j])
        scale = max(length.mean(), TINY)
        product = y @ y[i]
        cosine = product**2 / np.maximum(length * length[i], TINY)
        flat = (product / scale + 1) ** 2 / ((length / scale + 1) * (length[i] / scale + 1))
        along = np.abs(y[:, j] - y[i, j])
        for distance in (-cosine, length - 2 * product, -flat, along):
            ranked = np.sort(distance)
            for size in self.SIZES:
                if 2 * size <= len(y) or size == self.SIZES[0]:
                    # Rows at equal distances share the places that are left.
                    last = ranked[min(size, len(y)) - 1]
                    unit = TIED * np.abs(ranked[size:]).max(initial=TINY)
                    nearer, tied = distance < last - unit, np.abs(distance - last) <= unit
                    yield nearer + tied * (size - nearer.sum()) / tied.sum()

    def _fit(
        self, shares: DoubleArray, products: DoubleArray, family: Family, least: float
    ) -> Gaussians:
        """Return the normal distributions of shares of the rows, with the same least noise."""
        advance()
        moments = self.rows.moments_of_products(shares.T, products)
        return self.rows.gaussians(moments, family, self.common, least * self.spread)

    def component(self, parts: Gaussians, i: int) -> MixtureDensity:
        """Return one of several components in the basis of the mixture."""
        means, directions, variances, noises = map(itemgetter(slice(i, i + 1)), parts)
        r = int(directions.any(axis=1).sum())
        means, directions = self.mean + means @ self.directions.T, self.directions @ directions
        component = Gaussians(means, directions[..., :r], variances[:, :r], noises)
        return self.outer.mixture(np.ones(1), component)


# Number of parts of the rows: one part is held out, or several in turn if there are few rows.
N_PARTS, N_SPLITS = 5, 3
# Least gain of the mean over held-out rows, in nats.
LEAST_GAIN = 1e-3
# Iterations, and the gain in nats at which they stop: as components are added, in the other stages
# of the search, and for the final fit.
GROWTH, CHOICE, FINAL = (5, 1e-2), (15, 1e-2), (50, LEAST_GAIN)
# Rows as they are, and divided by a scale.
Pair: TypeAlias = tuple[Rows, Rows]


class Split(NamedTuple):
    """Training rows and held-out rows, each as they are and divided by a scale.

    If values are missing, they are filled in for training. Of held-out rows, the known values and
    the filled rows are kept.
    """

    train: Pair
    valid: Pair
    filled: Pair
    backgrounds: tuple[MixtureDensity, MixtureDensity]


class Trial(NamedTuple):
    """Mixtures, one for each split, and the log-densities of the held-out rows."""

    family: Family
    densities: list[MixtureDensity]
    scores: DoubleArray

    @property
    def mean(self) -> float:
        """Mean log-density in nats."""
        return float(self.scores.mean())

    @property
    def size(self) -> float:
        """Mean number of components."""
        return sum(map(len, self.densities)) / len(self.densities)


def held_out(order: IntArray, n_splits: int | None = None) -> list[IntArray]:
    """Return the rows that each split holds out: the first of an order, or several in turn.

    Very few rows serve as both parts of one split.
    """
    if len(order) < 2 * LEAST_ROWS:
        return [order]
    if n_splits is None:
        n_splits = N_SPLITS if len(order) < SOME_ROWS else 1
    return np.split(order[: n_splits * (len(order) // N_PARTS)], n_splits)


def _splits(rows: Pair, known: Pair, order: IntArray, every: list[IntArray]) -> list[Split]:
    """Return the splits by which mixtures are compared, with backgrounds of the training rows."""
    splits = []
    for out in every:
        kept = order if len(out) == len(order) else np.sort(np.setdiff1d(order, out))
        broad = rows[0][kept].background(), rows[1][kept].background()
        filled = _facing(rows, out, broad)
        valid = filled if known is rows else _facing(known, out, broad)
        splits.append(Split(_facing(rows, kept, broad), valid, filled, broad))
    return splits


def _facing(rows: Pair, some: IntArray, broad: tuple[MixtureDensity, MixtureDensity]) -> Pair:
    return rows[0][some].facing(broad[0]), rows[1][some].facing(broad[1])


class Search:
    """Search for the mixture under which held-out rows are most probable.

    Components are added where they gain most, until held-out rows no longer gain. Components that
    are not needed are removed. Then other families of covariances are tried, and more components
    with the best family, until neither helps. The regularisation of the best family is chosen next.
    If this family cuts directions, the other families are tried once more, each with the
    regularisation that suits it best. Then clusters are tried as other starts. In the end several
    components must be better than one by more than chance explains, over all trials.

    Parameters
    ----------
    rows : tuple of Rows
        All rows, without holes: as they are, and divided by a scale.

    order : ndarray of int of shape (n_rows,)
        Random order of the rows, of which the first are held out.

    rng : RandomState
        The source of randomness.

    log_scale : float, default=0.0
        Log of the scale, summed over the features.

    max_components : int, default=64
        Maximum number of components.

    n_components : int or None, default=None
        The number of components, if it is not to be chosen.

    known : tuple of Rows or None, default=None
        The same rows with holes, if the holes were filled for the search. Mixtures are compared by
        the known values of held-out rows.

    n_splits : int or None, default=None
        Number of splits; None means several if there are few rows.

    rival : callable or None, default=None
        Function from the search to log-densities of the rows of the first split under another
        density, or None, called once several components have been tried. If the mixture cannot
        reach them, the search ends early.
    """

    # Least gain that is more than chance, in standard errors.
    SURENESS = 0.5
    # Number of rows that new components start around, in the first and second try of a round.
    N_STARTS = (3, 12)
    # Round of growth from which a mixture is compared with a rival, as the rounds to come may gain.
    JUDGED_ROUND = 3
    # Families that are tried, in this order.
    FAMILIES = (
        Family(scaled=True),
        Family(False, 10.0, scaled=True),
        Family(False, 3.0, 0.0, scaled=True),
    )
    # Factor by which shrinkage changes.
    FACTOR = 10**0.5

    def __init__(
        self,
        rows: Pair,
        order: IntArray,
        rng: np.random.RandomState,
        *,
        log_scale: float = 0.0,
        max_components: int = MAX_COMPONENTS,
        n_components: int | None = None,
        known: Pair | None = None,
        n_splits: int | None = None,
        rival: Any = None,
    ) -> None:
        self.rows, self.log_scale, self.rng = rows, log_scale, rng
        self.known = rows if known is None else known
        self.n_components, self.rival = n_components, rival
        self.is_beaten, self.trials = False, list[Trial]()
        # Trials of one component with another family, by the trial before.
        self.moved: dict[int, tuple[Trial, dict[Family, Trial]]] = {}
        # Gains of the rounds in which components are added.
        self.gains: list[float] = []
        # The held-out rows of each split, by position. The final mixture is fitted to all rows.
        self.held_out = held_out(order[:SEARCH_ROWS], n_splits)
        self.splits = _splits(rows, self.known, order[:SEARCH_ROWS], self.held_out)
        n = len(self.splits[0].train[0])
        most = min(max_components, n // LEAST_ROWS) if n_components is None else n_components
        # Without directions, nothing distinguishes components.
        self.most = max(min(most, n), 1) if rows[0].h.shape[1] else 1
        ones = [self._start(s, Family(), s.train[0].weights[:, None]) for s in self.splits]
        # The mixture of one component, with which others are compared.
        self.one = self.best = self._trial(Family(), ones)

    def run(self) -> Self:
        """Find the best mixture."""
        if self.n_components is None:
            # One component, with the family that suits it best.
            first = self.best
            self.change_family()
            self._refine()
            self.one, self.best = self.best, first
        n_tries = 1
        while n_tries <= len(self.N_STARTS):
            before, family = self.best, self.best.family
            self.grow(n_tries)
            if self.is_beaten:
                return self
            if n_tries > 1 and self.best is before:
                # The mixture is unchanged, so it is already pruned and has the best family.
                break
            self._prune()
            self.change_family(self.N_STARTS[0])
            n_tries = n_tries + 1 if self.best.family == family else 1
        self._refine()
        if self.best.family != family:
            self.grow(len(self.N_STARTS))
            self._prune()
        self._cluster()
        if self.n_components is None and not self._is_certain(self.best, self.one):
            self.best = self.one
        return self

    def final(self, rows: Pair, n_iter: int = FINAL[0], tol: float = FINAL[1]) -> MixtureDensity:
        """Return the best mixture, fitted to all rows from the start that suits them best."""
        family, wanted = self.best.family, self.n_components
        broad = self.rows[family.scaled].background()
        own = rows[family.scaled].facing(broad)
        starts = [replace(density, background=broad) for density in self.best.densities]
        starts.sort(key=lambda start: float(own.log_prob(start) @ own.weights), reverse=True)
        found: list[MixtureDensity] = []
        for start in starts:
            found.append(own.em(start, family, n_iter, tol))
            # The first fit with the wanted number of components is taken.
            if wanted is None or len(found[-1]) == wanted:
                return found[-1]
        return min(found, key=lambda density: abs(len(density) - (wanted or 0)))

    # --- trials -------------------------------------------------------------------------------

    def _start(
        self, split: Split, family: Family, shares: DoubleArray, *before: Any
    ) -> MixtureDensity:
        """Return a mixture to start from, with the background of a split, of at least one row."""
        density = split.train[family.scaled].maximise(shares, family, *before)
        weight = max(density.background_weight, 1 / (split.train[0].weights.sum() + 1))
        broad = split.backgrounds[family.scaled]
        return replace(density, background=broad, background_weight=weight)

    def _trial(
        self, family: Family, starts: list[MixtureDensity], limits: tuple[int, float] = CHOICE
    ) -> Trial:
        """Return the trial of the mixtures that are fitted from starts."""
        densities = []
        for split, start in zip(self.splits, starts, strict=True):
            densities.append(split.train[family.scaled].em(start, family, *limits))
        self.trials.append(Trial(family, densities, self.scores(family, densities, "valid")))
        return self.trials[-1]

    def scores(
        self, family: Family, densities: list[MixtureDensity], kind: str = "filled"
    ) -> DoubleArray:
        """Return the log-densities of held-out rows under a mixture of each split."""
        scores = []
        for split, density in zip(self.splits, densities, strict=True):
            scores.append(getattr(split, kind)[family.scaled].log_prob(density))
        return np.concatenate(scores) - (self.log_scale if family.scaled else 0.0)

    def _is_preferred(self, trial: Trial, other: Trial) -> bool:
        """Return whether a trial is better, or nearer to the wanted number of components.

        It is better if held-out rows are more probable, by more than chance.
        """
        gain = trial.scores - other.scores
        least = LEAST_GAIN + self.SURENESS * gain.std() / np.sqrt(len(gain))
        is_better = bool(gain.mean() > least)
        if self.n_components is None:
            return is_better
        ours, theirs = (abs(t.size - self.n_components) for t in (trial, other))
        return ours < theirs or (ours == theirs and is_better)

    def _keep(self, trial: Trial) -> bool:
        """Keep a trial if it is preferred to the best one so far; return whether it is kept."""
        is_kept = self._is_preferred(trial, self.best)
        self.best = trial if is_kept else self.best
        return is_kept

    def _is_certain(self, trial: Trial, other: Trial) -> bool:
        """Return whether chance cannot explain that a trial is better than another one.

        If the other mixture were the true density, held-out rows would be t times as probable under
        the trial with a probability of at most 1 / t (Markov's inequality). With n rows, chance
        alone then makes any trial certain for one of n tables.
        """
        gain = float((trial.scores - other.scores).sum())
        return gain > math.log(len(self.trials) * len(self.rows[0]))

    # --- the number of components -------------------------------------------------------------

    def grow(self, n_tries: int = 1) -> Self:
        """Add components until held-out rows do not gain in several tries in a row."""
        current, n_worse = self.best, 0
        while n_worse < n_tries:
            before = self.best
            grown = self._with_more(current, self.N_STARTS[n_worse])
            if grown is None:
                n_worse += 1
                continue
            current = grown
            n_worse = 0 if self._keep(current) else n_worse + 1
            self.is_beaten = self._cannot_reach_rival(before)
            if self.is_beaten:
                break
        return self

    def _cannot_reach_rival(self, before: Trial) -> bool:
        """Return whether the mixture stays behind its rival if each round gains as the best one.

        The first rounds can gain little, so they are not judged.
        """
        self.gains.append(self.best.mean - before.mean)
        if len(self.gains) < self.JUDGED_ROUND:
            return False
        if callable(self.rival):
            self.rival = self.rival(self)
        if self.rival is None:
            return False
        gap = self.rival - self.best.scores[: len(self.rival)]
        error = gap.std() / np.sqrt(len(gap))
        # A round adds half the present number of components.
        n_rounds = math.log(max(self.most / self.best.size, 1.0)) / math.log(1.5)
        return bool(gap.mean() - error > n_rounds * max(self.gains))

    def _with_more(self, trial: Trial, n_starts: int) -> Trial | None:
        """Return the trial with new components; None if no component can be added."""
        family, grown = trial.family, list(trial.densities)
        for i, split in enumerate(self.splits):
            room = self.most - len(grown[i])
            if room > 0:
                rows = split.train[family.scaled]
                for new in propose(rows, grown[i], family, n_starts, self.rng)[:room]:
                    grown[i] = grown[i].join(new.component, new.share)
        if grown == trial.densities:
            return None
        return self._trial(family, grown, GROWTH)

    def _prune(self) -> None:
        """Remove components that held-out rows do not need."""
        most = self.best.mean
        while self.best.size > 1 and self.n_components is None:
            family, fewer = self.best.family, []
            for split, density in zip(self.splits, self.best.densities, strict=True):
                least = _least_needed(split.valid[family.scaled], density)
                kept = np.arange(len(density)) != least
                fewer.append(density.take(kept) if len(density) > 1 else density)
            trial = self._trial(family, fewer)
            most = max(most, trial.mean)
            if trial.mean < most - LEAST_GAIN:
                break
            self.best = trial

    def _cluster(self) -> None:
        """Try clusters of rows as starts, about as many as there are components."""
        before, k = self.best, max(round(self.best.size), 2)
        counts = max(k // 2, 2), k, 2 * k
        for count in dict.fromkeys(counts if self.n_components is None else [self.n_components]):
            if count <= self.most:
                starts = [self._clusters(split, count, before.family) for split in self.splits]
                self._keep(self._trial(before.family, starts))
        if self.best is not before:
            self._prune()
            self.change_family()
            self._refine()

    def _clusters(self, split: Split, k: int, family: Family) -> MixtureDensity:
        rows = split.train[family.scaled]
        means = KMeans(k, n_init=1, max_iter=20, random_state=self.rng)
        labels = means.fit_predict(rows.h, sample_weight=rows.weights)
        return self._start(split, family, np.eye(k)[labels] * rows.weights[:, None])

    # --- families -----------------------------------------------------------------------------

    def change_family(self, n_starts: int = 0) -> Self:
        """Try other families of covariances.

        Components with common correlations are simpler than others, so more of them are tried too,
        around `n_starts` rows.
        """
        before = self.best
        for family in self.FAMILIES:
            if family == before.family:
                continue
            trial = self._moved(before, family)
            if not self._keep(trial) and n_starts and family.roundness == 0:
                self._keep(self._with_more(trial, n_starts) or trial)
        return self

    def _moved(self, trial: Trial, family: Family) -> Trial:
        """Return the trial of a family from the mixtures of another trial.

        A search comes back to one component, whose trials are kept.
        """
        if trial.size > 1:
            return self._trial(family, self._starts(trial, family))
        known = self.moved.setdefault(id(trial), (trial, {}))[1]
        if family not in known:
            known[family] = self._trial(family, self._starts(trial, family))
        return known[family]

    def _starts(self, trial: Trial, family: Family) -> list[MixtureDensity]:
        """Return the mixtures of a trial in the units of a family."""
        if trial.family.scaled == family.scaled:
            return trial.densities
        found = []
        for split, density in zip(self.splits, trial.densities, strict=True):
            before, shares, broad = split.train[trial.family.scaled].shares_in(density)
            found.append(self._start(split, family, shares, before, broad))
        return found

    def _refine(self) -> None:
        """Change the regularisation while held-out rows gain.

        If directions are cut, nothing else regularises covariances. Then the other families are
        tried with the regularisation that suits them best. One of them is kept if chance cannot
        explain its gain. Without noise there is nothing in the directions that are cut.
        """
        best = self.best
        if not best.family.cut:
            self.best = self._refined(best)
        elif self._has_noise():
            for family in (family for family in self.FAMILIES if not family.cut):
                other = self._refined(self._moved(best, family))
                if self._is_certain(other, self.best):
                    self._keep(other)

    def _has_noise(self) -> bool:
        """Return whether most rows have more than rounding in the directions that are cut."""
        shares = []
        for split, density in zip(self.splits, self.best.densities, strict=True):
            rows = split.train[self.best.family.scaled]
            n = density.weights * rows.weights.sum()
            left = rows.n_features - density.n_directions
            is_noise = density.noise_variances > edge(rows.floor, left, n)
            shares.append(density.weights @ is_noise)
        return bool(np.mean(shares) > 0.5)

    def _refined(self, trial: Trial) -> Trial:
        """Return a trial with the regularisation that makes held-out rows most probable."""
        for factor, step in ((self.FACTOR, 0.0), (1 / self.FACTOR, 0.0), (1.0, -0.5), (1.0, 0.5)):
            while True:
                family = trial.family
                roundness = min(max(family.roundness + step, 0.0), 1.0)
                family = family._replace(shrinkage=factor * family.shrinkage, roundness=roundness)
                if family == trial.family:
                    break
                moved = self._moved(trial, family)
                if not self._is_preferred(moved, trial):
                    break
                trial = moved
        return trial


def _least_needed(rows: Rows, density: MixtureDensity) -> int:
    """Return the component whose removal costs held-out rows least."""
    joint = rows.joint(density)
    kept = [log_sum_exp(np.delete(joint, c, axis=1)).mean() for c in range(len(density))]
    return int(np.argmax(kept))
