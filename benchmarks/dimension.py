"""The dimension of each sample of unions of manifolds and of sums of atoms.

    python -m benchmarks dimension [--only NAME ...] [--seeds 5]

Samples of each data set are drawn anew for every seed. The estimator with its defaults is fitted to
20,000 of them, on one thread. The mean absolute error per sample is measured on 2,500 held-out
samples, for its estimates, "auto", and for the number of active latents, "count". Times are CPU
seconds. What other packages gave is archived in results/archive/dimension_peers.json.
"""

import time

import numpy as np
import torch
from sklearn.metrics import mean_absolute_error

from benchmarks.common import fit, make_parser, save, summarise
from benchmarks.data import HELD_OUT, subspaces
from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_sparse_dictionary, make_spheres

N_TRAIN = 20_000
N = HELD_OUT + N_TRAIN


def dictionary(n_active, noise=0.0):
    return lambda seed: make_sparse_dictionary(N, n_active=n_active, noise=noise, random_state=seed)


def spheres(noise=0.0):
    return lambda seed: make_spheres(
        N, dims=(2, 5, 10), n_features=60, noise=noise, random_state=seed
    )


def curved(noise=0.0):
    return lambda seed: make_mlp_manifolds(
        N, dims=(2, 4, 8), n_features=40, noise=noise, random_state=seed
    )


# name: function of a seed that draws the data. Noise is a share of the standard deviation.
UNIONS = {
    "4/4/4 in R^40": subspaces((4, 4, 4), 40, N_TRAIN),
    "4/4/4 in R^40, 1 % noise": subspaces((4, 4, 4), 40, N_TRAIN, 0.01),
    "4/4/4 in R^40, 5 % noise": subspaces((4, 4, 4), 40, N_TRAIN, 0.05),
    "2/4/8 in R^40": subspaces((2, 4, 8), 40, N_TRAIN),
    "2/4/8 in R^40, 1 % noise": subspaces((2, 4, 8), 40, N_TRAIN, 0.01),
    "2/4/8 in R^40, 5 % noise": subspaces((2, 4, 8), 40, N_TRAIN, 0.05),
    "spheres 2/5/10 in R^60": spheres(),
    "spheres 2/5/10 in R^60, 5 % noise": spheres(0.05),
    "4 of 20 atoms": dictionary(4),
    "4 of 20 atoms, 5 % noise": dictionary(4, 0.05),
    "2/4/8 of 20 atoms": dictionary((2, 4, 8)),
    "2/4/8 of 20 atoms, 5 % noise": dictionary((2, 4, 8), 0.05),
    "10/20/30 in R^100": subspaces((10, 20, 30), 100, N_TRAIN),
    "fifty 4-dim in R^40": subspaces((4,) * 50, 40, N_TRAIN),
    "curved 2/4/8 in R^40": curved(),
    "curved 2/4/8 in R^40, 5 % noise": curved(0.05),
}


def measure(X, dimension, seed):
    """Return the errors of a fitted estimator, its means for each true dimension, and seconds."""
    train, test, truth = X[HELD_OUT:], X[:HELD_OUT], dimension[:HELD_OUT]
    estimator = IntrinsicDimensionEstimator(random_state=seed)
    fit_seconds, begin = fit(estimator, train), time.process_time()
    said = estimator.predict(test)
    auto = {
        "error": mean_absolute_error(truth, said),
        "mean": {str(r): float(said[truth == r].mean()) for r in np.unique(truth)},
        "fit_seconds": fit_seconds,
        "predict_seconds": time.process_time() - begin,
    }
    count = estimator.autoencoder_.active_dimensions(test).sum(axis=1)
    return {"auto": auto, "count": {"error": mean_absolute_error(truth, count)}}


def main():
    """Run the benchmark with the options of the command line."""
    arguments = make_parser(__doc__, seeds=5, only=UNIONS, out="dimension_unions.json").parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        rows, summary = [], {}
        for seed in range(arguments.seeds):
            X, _, dimension = UNIONS[name](seed)
            rows.append({"seed": seed, "methods": measure(X, dimension, seed)})
        for method in rows[0]["methods"]:
            runs = [row["methods"][method] for row in rows]
            numbers = summarise(runs, "error_mean", "error_worst")
            summary[method] = numbers | {"n_seeds": len(runs)}
        save(arguments.out, name, {"summary": summary, "runs": rows})
        print(name, {k: round(v["error_mean"], 4) for k, v in summary.items()}, flush=True)
