"""The least error that any estimate can have on independently active atoms with noise.

    python -m benchmarks dimension_bayes [--seeds 5]

The data are `independent atoms, 5% noise` of dimension_reliability.py. The atoms, the noise and the
distribution of codes together determine the distribution of the number of active atoms of a sample,
which Gibbs sampling estimates here. The median of this distribution has the least possible mean
absolute error. The 80 % of the samples with the least expected error are the best choice of that
many samples. Our rows are read from dimension_reliability.json, and use the same samples.
"""

import numpy as np
from scipy.special import expit, log_ndtr, ndtr, ndtri

from benchmarks.common import RESULTS, load, make_parser, summarise, write
from benchmarks.dimension_families import HELD_OUT, INDEPENDENT, draw_independent
from benchmarks.dimension_reliability import JUDGEMENT, KEPT

OUT = RESULTS / "dimension_bayes.json"
NAME = "independent atoms, 5% noise"
# Sweeps of the chain over all atoms, and first sweeps that are left out as burn-in.
N_SWEEPS, N_LEFT_OUT = 1500, 200


def count_distributions(X, atoms, noise_std, share, active, random_state):
    """Return the distribution of the number of active atoms of each sample.

    The chain starts at `active`. Codes are absolute values of standard normal numbers. A sample
    without an active atom is given the first atom, so each sample has at least one.
    """
    rng, n = np.random.default_rng(random_state), len(X)
    variance, norms = noise_std**2, np.square(atoms).sum(axis=1)
    active = active.copy()
    codes = np.where(active, np.maximum(X @ np.linalg.pinv(atoms), 0.01), 0.0)
    residual = X - codes @ atoms
    counts = np.zeros((n, len(atoms) + 1))
    for sweep in range(N_SWEEPS):
        for j, atom in enumerate(atoms):
            residual += np.outer(codes[:, j], atom)
            spread = np.sqrt(1 / (norms[j] / variance + 1))
            mean = spread**2 * (residual @ atom) / variance
            above = mean / spread
            logit = prior_logit(active, j, share) + np.log(2 * spread)
            logit += 0.5 * np.square(above) + log_ndtr(above)
            active[:, j] = rng.random(n) < expit(logit)
            # Draw from a normal distribution truncated to values above 0.
            draw = ndtri(np.clip(rng.uniform(ndtr(-above), 1), 1e-12, 1 - 1e-12))
            draw = mean + spread * draw
            codes[:, j] = np.where(active[:, j], np.maximum(draw, 0.0), 0.0)
            residual -= np.outer(codes[:, j], atom)
        if sweep >= N_LEFT_OUT:
            counts[np.arange(n), active.sum(axis=1)] += 1
    return counts / counts.sum(axis=1, keepdims=True)


def prior_logit(active, j, share):
    """Return the log-odds that atom j is active, given the activity of the other atoms."""
    others = active.sum(axis=1) - active[:, j]
    logit = np.full(len(active), np.log(share / (1 - share)))
    # The first atom can be active alone for two reasons: it was drawn, or no atom was drawn.
    if j > 0:
        logit[(others == 1) & active[:, 0]] = np.log(share**2 / (1 - share))
    logit[others == 0] = np.inf
    return logit


def measure(seed):
    """Return the least possible errors on the held-out samples of a seed."""
    X, active, atoms, noise_std = draw_independent(**INDEPENDENT, noise=0.05, seed=seed)
    X, active = X[:HELD_OUT], active[:HELD_OUT]
    share = INDEPENDENT["share"]
    probability = count_distributions(X, atoms, noise_std, share, active, seed)
    counts = np.arange(probability.shape[1])
    median = (probability.cumsum(axis=1) < 0.5).sum(axis=1)
    expected = (probability * np.abs(counts - median[:, None])).sum(axis=1)
    error = np.abs(median - active.sum(axis=1))
    kept = np.argsort(expected, kind="stable")[: round(KEPT * len(error))]
    return {
        "seed": seed,
        "error": float(error.mean()),
        "kept_error": float(error[kept].mean()),
    }


def main():
    """Run the benchmark with the options of the command line."""
    rows = [measure(seed) for seed in range(make_parser(__doc__, seeds=5).parse_args().seeds)]
    ours = [row for row in load(JUDGEMENT)[NAME]["per_seed"] if row["seed"] < len(rows)]
    runs = {"whoever knows the atoms": rows, "IntrinsicDimensionEstimator": ours}
    results = {
        method: summarise(runs[method], "error_mean", "kept_error_mean")
        | {"errors": [row["error"] for row in runs[method]]}
        for method in runs
    }
    for method, result in results.items():
        print(method, round(result["error_mean"], 3), round(result["kept_error_mean"], 3))
    write(OUT, results)
