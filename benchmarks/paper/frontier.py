"""Error against the mean number of active latents, for methods that are tuned in the same way.

The script of a data set lists candidates: methods, each with several settings. Active latents are
counted in the same way for all methods. The contribution ``|e_j| ||W_j||`` is about the size of
what entry j of a code adds to the reconstruction. One cut on contributions, for all samples, is set
on validation rows, so that the mean number of entries above it is the wanted number. The same cut
is applied to test rows: entries below it are set to 0, and the other entries are decoded and
counted.

For each wanted number, all settings of a method are tried. The setting with the least validation
error is fitted again from other seeds.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from benchmarks.common import adaptivity
from benchmarks.paper.common import at_once
from skvaeense import VAEase, VAEenseTransformer

# A latent is in use if it is active in at least this share of the test samples.
IN_USE = 0.01
# The number of entries may fall short of a level by at most this share.
SHORT = 0.02


class Candidate(NamedTuple):
    """A method with one of its settings."""

    method: str
    setting: str
    estimator: Any
    # Levels at which the candidate is tried; None means all levels.
    levels: tuple[int, ...] | None = None


class Samples(NamedTuple):
    """Rows to fit, to tune and to report on, and optional labels of the rows to report on."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None = None


class Noise(NamedTuple):
    """A setting of a variational autoencoder: its noise variance and its learning rate."""

    variance: float
    learning_rate: float = 0.012

    def candidate(self, method, n_components, note="", **parameters):
        """Return the candidate of this setting, with more parameters of `VAEase`."""
        vaease = VAEase(
            noise_variance=self.variance,
            learn_noise_variance=False,
            learning_rate_init=self.learning_rate,
            n_init=1,
            **parameters,
        )
        setting = f"noise variance {self.variance}, rate {self.learning_rate}{note}"
        return Candidate(method, setting, VAEenseTransformer(n_components, model=vaease))


def cut_for(amounts, level):
    """Return the cut that keeps `level` entries per sample in the mean, or None if too few."""
    flat = amounts[amounts > 0]
    n_kept = min(round(level * len(amounts)), len(flat))
    if n_kept < (1 - SHORT) * level * len(amounts):
        return None
    return float(np.partition(flat, len(flat) - n_kept)[len(flat) - n_kept])


def sizes_of_columns(estimator, n_components):
    """Return the norms of the columns of the decoder's Jacobian at the code 0."""
    # Central differences. The step is small beside codes, and large beside float32 rounding.
    steps = 0.01 * np.eye(n_components)
    ahead, behind = (np.asarray(estimator.inverse_transform(e)) for e in (steps, -steps))
    return np.linalg.norm(ahead - behind, axis=1) / 0.02


def describe(active, labels):
    """Return the numbers of active latents and the adaptivity of their pattern."""
    count = active.sum(axis=1)
    row = {
        "active": float(count.mean()),
        "std": float(count.std()),
        "in_use": int((active.mean(axis=0) >= IN_USE).sum()),
        "adaptivity": adaptivity(active),
    }
    if labels is not None:
        row["by_label"] = [float(count[labels == y].mean()) for y in np.unique(labels)]
    return row


def fit(candidate, seed, samples, levels, metric):
    """Fit a candidate, and return its errors and numbers of active latents at each level."""
    estimator = clone(candidate.estimator)
    estimator.set_params(random_state=seed).fit(samples.train)
    parts = samples.validation, samples.test
    codes = [estimator.transform(X) for X in parts]
    sizes = sizes_of_columns(estimator, codes[0].shape[1])
    amounts = [np.abs(code) * sizes for code in codes]

    def error_of(part, active):
        code = np.where(active, codes[part], 0)
        return metric(parts[part], estimator.inverse_transform(code))

    by_level = []
    for level in candidate.levels or levels:
        cut = cut_for(amounts[0], level)
        if cut is None:
            continue
        kept = [amount >= cut for amount in amounts]
        row = {
            "level": level,
            "validation_error": error_of(0, kept[0]),
            "error": error_of(1, kept[1]),
        }
        by_level.append(row | describe(kept[1], samples.labels))
    row = {"method": candidate.method, "setting": candidate.setting, "seed": seed}
    return row | {"levels": by_level}


def compare(candidates, samples, levels, metric, n_seeds, n_jobs):
    """Yield rows of `chosen`, one for each method and level.

    Parameters
    ----------
    candidates : list of Candidate
        Methods and settings.

    samples : Samples
        The data.

    levels : tuple of float
        Wanted mean numbers of active latents.

    metric : callable
        A function of samples and their reconstructions that returns the error.

    n_seeds : int
        Number of fits of each chosen setting.

    n_jobs : int
        Number of fits in parallel.
    """
    tries = []
    jobs = [(candidate, 0, samples, levels, metric) for candidate in candidates]
    for row in at_once(fit, jobs, n_jobs):
        tries.append(row)
        print(row["method"], row["setting"], flush=True)
    best = {}
    for candidate, row in zip(candidates, tries, strict=True):
        for at in row["levels"]:
            key = candidate.method, at["level"]
            if key not in best or at["validation_error"] < best[key][0]:
                best[key] = at["validation_error"], candidate
    chosen = dict.fromkeys(candidate for _, candidate in best.values())
    fits = {(c.method, c.setting): [r] for c, r in zip(candidates, tries, strict=True)}
    jobs = [
        (candidate, seed, samples, levels, metric)
        for candidate in chosen
        for seed in range(1, n_seeds)
        if not isinstance(candidate.estimator, PCA)
    ]
    for row in at_once(fit, jobs, n_jobs):
        fits[row["method"], row["setting"]].append(row)
        print(row["method"], row["setting"], "seed", row["seed"], flush=True)
    for (method, level), (_, candidate) in best.items():
        repeats = fits[method, candidate.setting]
        at = [a for r in repeats for a in r["levels"] if a["level"] == level]
        keys = [key for key in at[0] if key not in ("level", "validation_error", "error")]
        row = {"method": method, "level": level, "setting": candidate.setting}
        row["errors"] = [a["error"] for a in at]
        yield "chosen", row | {key: [a[key] for a in at] for key in keys}
