"""Fit a mixture to coded samples: where to start, how to go on, and which one is kept.

Expectation and maximisation alternate in coordinates of the span of the decoder and, if held-out
rows ask for them, of principal directions of what it leaves. The maximum for a component is known
in closed form (Tipping and Bishop, "Mixtures of probabilistic principal component analyzers",
1999): the eigenvectors of its covariance, which are kept where the eigenvalue is above what noise
alone would show.
"""

import warnings
from functools import cache
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import randomized_svd

from skvaeense.mixture._density import MixtureDensity, along
from skvaeense.priors._samples import CodedSamples
from skvaeense.priors._mixture_search import SHRINKAGE, Candidate, Search, Trial
from skvaeense.utils._typing import DoubleArray, IntArray

# Latents that are open in fewer rows are left out.
LEAST_OPEN = 3
# Rows per component, at least.
LEAST_ROWS = 8
# Guesses that k-means starts from.
N_KMEANS = 2
# Rows for each cluster that most often tell whether there are as many different ones.
FIRST_ROWS = 16
# Share of the rows that choose, and the number of splits where rows are few.
HELD_OUT, FEW_ROWS, N_SPLITS = 0.2, 600, 5
# Numbers of principal directions off the span of the decoder that are tried.
OFF_DIRECTIONS = (16, 64)
# Rows of all components that are added to those of each where variances of codes are estimated.
SHARED_ROWS = 3.0
# Noise variance of a component: at least this share of the learned one, which keeps likelihoods
# bounded; and shrunk to the common one as by so many rows.
LEAST_NOISE, NOISE_ROWS = 0.02, 10.0
# Standard errors by which the variance of rows in a direction must exceed the noise.
VISIBLE = 2.0
# Iterations, and gains in nats at which they end: while one is chosen, and for the last.
CHOICE, FINAL = (30, 2e-2), (100, 2e-3)
# Responsibilities below this do not count for the covariance of a component.
LEAST_RESPONSIBILITY = 1e-6
# Numbers of components in the order in which they are tried.
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class MixtureFit:
    """Fit mixtures to samples.

    Parameters
    ----------
    samples : CodedSamples
        Samples and their codes.
    """

    def __init__(self, samples: CodedSamples) -> None:
        used = samples.is_open.sum(axis=0) >= min(LEAST_OPEN, len(samples.x))
        weight, code = samples.weight[:, used], samples.code[:, used]
        self.center = samples.bias
        self.noise = samples.noise_variance
        x = samples.x - self.center
        span = _orthonormal(weight)
        self.n_spanned = span.shape[1]
        others = _principal(x - (x @ span) @ span.T, float(np.linalg.norm(x)))
        self.basis = np.hstack([span, others])
        self.h, self.off = along(x, self.basis)
        # Coordinates off the span are codes, too.
        self.weight = self.basis.T @ np.hstack([weight, others])
        self.code = np.hstack([code, self.h[:, self.n_spanned :]])
        always = np.ones((len(x), others.shape[1]))
        self.is_open = np.hstack([samples.is_open[:, used], always])
        self.squares = np.square(self.code)
        self.squares[:, : code.shape[1]] += samples.code_variance[:, used]
        # Which latents are used, whatever their sign and the size of the sample.
        size = np.abs(code) * np.linalg.norm(weight, axis=0)
        length = np.linalg.norm(size, axis=1, keepdims=True)
        patterns = np.sqrt(size / np.where(length > 0, length, 1))
        # Rows at different locations are farther apart than any patterns.
        at = 2.0 * np.eye(samples.location.max(initial=0) + 1)[samples.location]
        self.patterns = np.hstack([patterns, at])

    def _coordinates(self, rows: Any, n_directions: int) -> tuple[DoubleArray, DoubleArray]:
        """Return rows along the first directions, and their squared distance from the span."""
        h = self.h[rows]
        return h[:, :n_directions], self.off[rows] + np.square(h[:, n_directions:]).sum(axis=1)

    # --- choosing -----------------------------------------------------------------------------

    def best(
        self, n_components: int | None, max_components: int, shrinkage: float | None
    ) -> MixtureDensity:
        """Return the mixture that fits held-out rows best, fitted to all rows.

        Parameters
        ----------
        n_components : int or None
            Number of components; None chooses it.

        max_components : int
            The most that are tried.

        shrinkage : float or None
            Rows that the shrinkage counts as; None chooses it.

        Returns
        -------
        MixtureDensity
            The density.
        """
        n = len(self.h)
        rng = np.random.RandomState(0)
        n_out = max(int(HELD_OUT * n), 1)
        n_splits = N_SPLITS if n < FEW_ROWS else 1
        splits = []
        for _ in range(n_splits):
            order = rng.permutation(n)
            # Very few rows are both.
            splits.append((order[n_out:] if n > 2 * LEAST_ROWS else order, order[:n_out]))
        if n_components is None:
            most = max(min(max_components, n // LEAST_ROWS), 1)
            counts = [k for k in COUNTS if k <= most]
        else:
            counts = [min(n_components, len(splits[0][0]))]
        attempt = cache(lambda candidate: self._try(candidate, splits))
        first = SHRINKAGE if shrinkage is None else shrinkage
        search = Search(attempt, Candidate(counts[0], "pattern", first, self.n_spanned))
        sizes = [min(self.n_spanned + m, self.h.shape[1]) for m in OFF_DIRECTIONS]
        sizes = [m for m in dict.fromkeys(sizes) if m > self.n_spanned]
        search.climb("n_directions", sizes)
        search.number(counts)
        # The noise of the spectrum is another one if most directions are below it.
        noisier = search.best.candidate._replace(noise_from_spectrum=True)
        other = Search(attempt, noisier)
        is_other = other.best.n_directions < 0.5 * search.best.n_directions
        search.refine(counts, sizes, shrinkage is None)
        if is_other:
            other.refine(counts, sizes, shrinkage is None)
        if other.best.is_simpler_than(search.best) or other.best.is_better_than(search.best):
            search = other
        candidate, _, density = search.best
        shares, _ = _expect(density, *self._coordinates(slice(None), candidate.n_directions))
        return self._iterate(np.arange(n), shares, candidate, *FINAL, density=density)

    def _try(self, candidate: Candidate, splits: list[tuple[IntArray, IntArray]]) -> Trial:
        """Return how well a candidate fits held-out rows, and its mixture of the first split."""
        fits = [self._held_out(candidate, *split) for split in splits]
        return Trial(candidate, np.concatenate([scores for scores, _ in fits]), fits[0][1])

    def _held_out(
        self, candidate: Candidate, rows: IntArray, out: IntArray
    ) -> tuple[DoubleArray, MixtureDensity]:
        """Return the log-density of held-out rows, and the mixture that gives it."""
        k = candidate.n_components
        h, off = self._coordinates(out, candidate.n_directions)
        if candidate.feature == "pattern":
            feature = self.patterns[rows]
        else:
            feature = self.h[rows, : candidate.n_directions]
        labels = _clusters(feature, k)
        density = self._iterate(rows, np.eye(k)[labels], candidate, *CHOICE)
        return logsumexp(density.log_joint_along(h, off), axis=1), density

    # --- fitting ------------------------------------------------------------------------------

    def _iterate(
        self,
        rows: IntArray,
        shares: DoubleArray,
        candidate: Candidate,
        n_iter: int,
        tol: float,
        density: MixtureDensity | None = None,
    ) -> MixtureDensity:
        """Return the best mixture that shares of rows in components, or a mixture, lead to."""
        h, off = self._coordinates(rows, candidate.n_directions)
        targets = self._targets(rows, shares, candidate)
        best, before, noises = density, -np.inf, None
        if density is not None:
            noises, before = density.noise_variances, _expect(density, h, off)[1]
        for _ in range(n_iter):
            kept = shares.sum(axis=0) > min(1.0, 0.5 * len(rows) / shares.shape[1])
            shares, targets = shares[:, kept], targets[kept]
            noises = None if noises is None else noises[kept]
            fitted = self._maximise(h, off, shares, targets, candidate, noises)
            noises = fitted.noise_variances
            shares, mean = _expect(fitted, h, off)
            # Which directions are kept is no part of a maximum, and may cost likelihood.
            best = fitted if best is None or mean > before else best
            if mean - before < tol:
                break
            before = mean
        return fitted if best is None else best

    def _targets(self, rows: IntArray, shares: DoubleArray, candidate: Candidate) -> DoubleArray:
        """Return what covariances are shrunk to: independent codes, and in part the same in all.

        Their variances are those in the component, so latents that are closed there have none.
        Where there are few rows, those of other components have a say, too.
        """
        n_rows = np.maximum(shares.sum(axis=0), 1e-9)[:, None]
        code, n_open = self.code[rows], shares.T @ self.is_open[rows]
        moment = shares.T @ self.squares[rows] - np.square(shares.T @ code) / n_rows
        moment = np.maximum(moment, 0)
        per_open_row = moment.sum(axis=0) / np.maximum(n_open.sum(axis=0), 1e-9)
        moment += SHARED_ROWS * n_open / n_rows * per_open_row
        variances = moment / (n_rows + SHARED_ROWS)
        p = candidate.n_directions
        weight = self.weight[:p]
        targets: DoubleArray = np.einsum("pj,kj,qj->kpq", weight, variances, weight, optimize=True)
        mean = np.trace(targets, axis1=1, axis2=2)[:, None, None] / max(p, 1)
        return targets + candidate.roundness * (mean * np.eye(p) - targets)

    def _maximise(
        self,
        h: DoubleArray,
        off: DoubleArray,
        shares: DoubleArray,
        targets: DoubleArray,
        candidate: Candidate,
        noises: DoubleArray | None,
    ) -> MixtureDensity:
        """Return the mixture of these shares."""
        k, p, d = shares.shape[1], h.shape[1], len(self.center)
        n_rows, outside = shares.sum(axis=0), shares.T @ off
        extra = candidate.shrinkage
        means = (shares.T @ h) / n_rows[:, None]
        values, seen, vectors = np.empty((k, p)), np.empty((k, p)), np.empty((k, p, p))
        start = np.full(k, self.noise) if noises is None else noises
        for c in range(k):
            own = shares[:, c] > LEAST_RESPONSIBILITY
            around = (h[own] - means[c]) * np.sqrt(shares[own, c])[:, None]
            moment = around.T @ around
            shrunk = moment + extra * (targets[c] + start[c] * np.eye(p))
            values[c], vectors[c] = np.linalg.eigh(shrunk / (n_rows[c] + extra))
            seen[c] = (vectors[c] * (moment @ vectors[c])).sum(axis=0) / n_rows[c]
        values, seen = np.maximum(values, 0), np.maximum(seen, 0)
        if noises is None and candidate.noise_from_spectrum:
            start = np.array([_median(values[c], outside[c] / n_rows[c], d) for c in range(k)])
        least = LEAST_NOISE * self.noise
        noise = np.maximum(start, least)
        # The spread of eigenvalues that are noise (Marchenko and Pastur, 1967).
        ratio = p / (n_rows + extra)
        edge = np.square(1 + np.sqrt(ratio)) * (1 + 1e-9)
        # What rows are shrunk to is no evidence by itself: they have to show it, too.
        surely = 1 + VISIBLE * np.sqrt(2 / n_rows)
        for _ in range(3):
            kept = values > (noise * edge)[:, None]
            kept &= seen > (noise * surely)[:, None]
            left = (n_rows + extra) * (values * ~kept).sum(axis=1)
            left = np.maximum(left - extra * noise * (~kept).sum(axis=1), 0) + outside
            n_left = n_rows * (d - kept.sum(axis=1))
            common = left.sum() / max(n_left.sum(), 1e-9)
            noise = np.maximum((left + NOISE_ROWS * d * common) / (n_left + NOISE_ROWS * d), least)
        n_kept = int(kept.sum(axis=1).max(initial=0))
        variances = (
            _unbiased(values / noise[:, None], ratio[:, None], edge[:, None]) * noise[:, None]
        )
        # Those that are kept come first.
        order = np.argsort(~kept, axis=1, kind="stable")[:, :n_kept]
        kept = np.take_along_axis(kept, order, axis=1)
        vectors = np.take_along_axis(vectors, order[:, None, :], axis=2)
        directions = np.where(kept[:, None, :], vectors, 0.0)
        variances = np.where(kept, np.take_along_axis(variances, order, axis=1), noise[:, None])
        weights = n_rows / n_rows.sum()
        basis = self.basis[:, :p]
        return MixtureDensity(self.center, basis, weights, means, directions, variances, noise)


def _expect(density: MixtureDensity, h: DoubleArray, off: DoubleArray) -> tuple[DoubleArray, float]:
    """Return the shares of rows in the components, and their mean log-density."""
    joint = density.log_joint_along(h, off)
    total = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - total), float(total.mean())


def _orthonormal(weight: DoubleArray) -> DoubleArray:
    """Return an orthonormal basis of the span of columns."""
    if not weight.any():
        return np.zeros((len(weight), 0))
    vectors, values, _ = np.linalg.svd(weight, full_matrices=False)
    return np.ascontiguousarray(vectors[:, values > 1e-6 * values.max()])


def _principal(residuals: DoubleArray, length: float) -> DoubleArray:
    """Return principal directions of residuals, unless they are rounding errors of a length."""
    q = min(OFF_DIRECTIONS[-1], *residuals.shape)
    _, values, directions = randomized_svd(residuals, q, random_state=0)
    return np.ascontiguousarray(directions[values > 1e-6 * length].T)


def _median(values: DoubleArray, outside: float, d: int) -> float:
    """Return the median of eigenvalues, some of which are known by their sum only."""
    rest = d - len(values)
    return float(np.median(np.append(values, np.full(rest, outside / max(rest, 1)))))


def _unbiased(values: DoubleArray, ratio: DoubleArray, edge: DoubleArray) -> DoubleArray:
    """Return the variances along eigenvectors, where noise has variance 1.

    Eigenvalues of few rows are too large, and their vectors not quite right: Donoho, Gavish and
    Johnstone, "Optimal shrinkage of eigenvalues in the spiked covariance model", 2018.
    """
    y = np.maximum(values, edge)
    a = y + 1 - ratio
    true = 0.5 * (a + np.sqrt(np.maximum(np.square(a) - 4 * y, 0)))
    above = np.maximum(true - 1, 1e-12)
    cosine = np.clip((1 - ratio / np.square(above)) / (1 + ratio / above), 0, 1)
    return np.maximum(true * cosine + 1 - cosine, 1.0)


def _clusters(feature: DoubleArray, k: int) -> IntArray:
    """Return the clusters of rows by k-means; each different row is one if there are fewer."""
    if k == 1 or feature.shape[1] == 0:
        return np.zeros(len(feature), dtype=int)
    # Most often the first rows tell.
    if len(np.unique(feature[: FIRST_ROWS * k], axis=0)) < k:
        different, labels = np.unique(feature, axis=0, return_inverse=True)
        if len(different) < k:
            return labels.ravel()
    # It warns where rows differ by rounding only.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: IntArray = KMeans(k, n_init=N_KMEANS, random_state=0).fit_predict(feature)
    return found
