"""Fit a mixture to coded samples: where to start, how to go on, and which one is kept.

Expectation and maximisation alternate in coordinates of the span of the decoder. The maximum for
a component is known in closed form (Tipping and Bishop, "Mixtures of probabilistic principal
component analyzers", 1999): the eigenvectors of its covariance, which are kept where the
eigenvalue is above what noise alone would show.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from skvaeense.priors._density import CodedSamples, MixtureDensity, along
from skvaeense.utils._typing import DoubleArray, IntArray

# Latents that are open in fewer rows are left out.
LEAST_OPEN = 3
# Rows per component, at least.
LEAST_ROWS = 8
# Guesses that k-means starts from.
N_KMEANS = 2
# Share of the rows that choose, and the number of splits where rows are few.
HELD_OUT, FEW_ROWS, N_SPLITS = 0.2, 600, 5
# Rows that the shrinkage counts as: tried first, and then.
SHRINKAGE, OTHER_SHRINKAGE = 30.0, (10.0, 3.0, 0.3)
# Noise variance of a component: at least this share of the learned one, which keeps likelihoods
# bounded; and shrunk to the common one as by so many rows.
LEAST_NOISE, NOISE_ROWS = 0.02, 10.0
# Latents that are open in a smaller share of a component's rows are taken for closed.
RARELY_OPEN = 0.1
# Standard errors by which the variance of rows in a direction must exceed the noise.
VISIBLE = 2.0
# Iterations, and gains in nats at which they end: while one is chosen, and for the last.
CHOICE, FINAL = (30, 2e-2), (100, 5e-4)
# Responsibilities below this do not count for the covariance of a component.
LEAST_RESPONSIBILITY = 1e-6
# Numbers of components in the order in which they are tried, and after how many that are no better
# the search ends.
COUNTS, PATIENCE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64), 2
# Another candidate is better if it gains this many nats, and so many standard errors.
LEAST_GAIN, SURENESS = 1e-3, 0.5


class _Candidate(NamedTuple):
    """What is chosen by held-out rows."""

    n_components: int
    feature: str
    shrinkage: float
    noise_from_spectrum: bool = False


class _Trial(NamedTuple):
    """A candidate, the log-density of held-out rows, and the mixture that gave the first."""

    candidate: Any = None
    scores: Any = None
    density: Any = None

    def is_better_than(self, other: "_Trial") -> bool:
        """Return whether held-out rows show it beyond the chance of their draw."""
        if other.scores is None:
            return True
        gain = self.scores - other.scores
        return bool(gain.mean() > LEAST_GAIN + SURENESS * gain.std() / np.sqrt(len(gain)))

    def is_simpler_than(self, other: "_Trial") -> bool:
        """Return whether it has less than half the directions, and is not surely worse."""
        n_directions, n_others = (t.density.weights @ t.density.ranks for t in (self, other))
        return bool(n_directions < 0.5 * n_others) and not other.is_better_than(self)


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
        self.is_open = samples.is_open[:, used].astype(np.float64)
        self.center = samples.bias
        self.basis = _orthonormal(weight)
        self.h, self.off = along(samples.x - self.center, self.basis)
        self.weight = self.basis.T @ weight
        self.noise = samples.noise_variance
        # About their means: where a latent is only ever open at one value, it does not vary.
        n_open = np.maximum(self.is_open.sum(axis=0), 1)
        mean = (self.is_open * code).sum(axis=0) / n_open
        spread = np.square(code - mean) + samples.code_variance[:, used]
        self.open_variance = (self.is_open * spread).sum(axis=0) / n_open
        # Which latents are used, whatever their sign and the size of the sample; and where it is.
        size = np.abs(code) * np.linalg.norm(weight, axis=0)
        length = np.linalg.norm(size, axis=1, keepdims=True)
        patterns = np.sqrt(size / np.where(length > 0, length, 1))
        # Rows at different locations are farther apart than any patterns.
        at = 2.0 * np.eye(samples.location.max(initial=0) + 1)[samples.location]
        self.features = {"pattern": np.hstack([patterns, at]), "position": self.h}

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
        first = SHRINKAGE if shrinkage is None else shrinkage
        if n_components is None:
            most = max(min(max_components, n // LEAST_ROWS), 1)
            counts = [k for k in COUNTS if k <= most]
        else:
            counts = [min(n_components, n)]
        best, worse = _Trial(), 0
        for k in counts:
            trials = [
                self._try(_Candidate(k, feature, first), splits)
                for feature in (self.features if k > 1 else ["pattern"])
            ]
            trial = max(trials, key=lambda trial: float(trial.scores.mean()))
            is_better = trial.is_better_than(best)
            best, worse = (trial, 0) if is_better else (best, worse + 1)
            if worse == PATIENCE:
                break
        changes: list[dict[str, Any]] = [{"noise_from_spectrum": True}]
        if shrinkage is None:
            changes += [{"shrinkage": other} for other in OTHER_SHRINKAGE]
        # Less shrinkage may call for fewer components.
        fewer = [k for k in counts if k < best.candidate.n_components][-1:]
        changes += [{"n_components": k} for k in fewer]
        for change in changes:
            trial = self._try(best.candidate._replace(**change), splits)
            is_simpler = "noise_from_spectrum" in change and trial.is_simpler_than(best)
            best = trial if is_simpler or trial.is_better_than(best) else best
        shares, _ = _expect(best.density, self.h, self.off)
        return self._iterate(np.arange(n), shares, best.candidate, *FINAL, density=best.density)

    def _try(self, candidate: "_Candidate", splits: list[tuple[IntArray, IntArray]]) -> "_Trial":
        """Return how well a candidate fits held-out rows, and its mixture of the first split."""
        fits = [self._held_out(candidate, *split) for split in splits]
        return _Trial(candidate, np.concatenate([scores for scores, _ in fits]), fits[0][1])

    def _held_out(
        self, candidate: "_Candidate", rows: IntArray, out: IntArray
    ) -> tuple[DoubleArray, MixtureDensity]:
        """Return the log-density of held-out rows, and the mixture that gives it."""
        k, feature = candidate.n_components, self.features[candidate.feature][rows]
        labels = np.zeros(len(rows), dtype=int)
        if k > 1 and feature.shape[1]:
            # Fewer different rows than clusters leave some empty.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                means = KMeans(k, n_init=N_KMEANS, random_state=0)
                labels = means.fit_predict(feature)
        density = self._iterate(rows, np.eye(k)[labels], candidate, *CHOICE)
        return logsumexp(density.log_joint_along(self.h[out], self.off[out]), axis=1), density

    # --- fitting ------------------------------------------------------------------------------

    def _iterate(
        self,
        rows: IntArray,
        shares: DoubleArray,
        candidate: _Candidate,
        n_iter: int,
        tol: float,
        density: MixtureDensity | None = None,
    ) -> MixtureDensity:
        """Return the best mixture that shares of rows in components, or a mixture, lead to."""
        h, off = self.h[rows], self.off[rows]
        targets = self._targets(rows, shares)
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

    def _targets(self, rows: IntArray, shares: DoubleArray) -> DoubleArray:
        """Return what covariances are shrunk to: independent codes of the latents that are open.

        Latents that are closed in a component have variance 0 there. So have those that are rarely
        open: they are of rows near the others of another component.
        """
        n_rows = np.maximum(shares.sum(axis=0), 1e-9)[:, None]
        openness = (shares.T @ self.is_open[rows]) / n_rows
        openness[openness < RARELY_OPEN] = 0
        variances = openness * self.open_variance
        targets: DoubleArray = np.einsum(
            "pj,kj,qj->kpq", self.weight, variances, self.weight, optimize=True
        )
        return targets

    def _maximise(
        self,
        h: DoubleArray,
        off: DoubleArray,
        shares: DoubleArray,
        targets: DoubleArray,
        candidate: _Candidate,
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
        return MixtureDensity(self.center, self.basis, weights, means, directions, variances, noise)


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
