"""Dimension estimators on data of known dimension: ours, a trivial rival, and a diffusion model.

    python -m benchmarks dimension unions [--only NAME ...]
    python -m benchmarks dimension diffusion [--only NAME ...] [--seeds 2]
    python -m benchmarks dimension rival [--only NAME ...]

`unions` draws samples of each data set anew for every seed, fits the estimator to 20,000 of them,
and measures the mean absolute error per sample on 2,500 held-out samples. `diffusion` does the same
for the estimator in peers/diffusion.py, and `rival` for a trivial method that knows the true
dimensions. The estimators have their defaults. All run on one thread; times are CPU seconds of the
fit. Other packages are measured in dimension_peers.py, and whole sets in dimension_manifolds.py.
"""

import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_absolute_error

from benchmarks.common import RESULTS, fit, make_parser, save, summarise
from benchmarks.data import HELD_OUT, subspaces
from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from benchmarks.peers.diffusion import DiffusionDimension
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


def measure(estimator, train, test, truth):
    """Fit an estimator; return its error, its mean for each true dimension, and the seconds."""
    fit_seconds, begin = fit(estimator, train), time.process_time()
    dimension = estimator.predict(test)
    return {
        "error": mean_absolute_error(truth, dimension),
        "mean": {str(r): float(dimension[truth == r].mean()) for r in np.unique(truth)},
        "fit_seconds": fit_seconds,
        "predict_seconds": time.process_time() - begin,
    }


def measure_counts(estimator, test, truth):
    """Return the error of the number of active latents in a fitted estimator."""
    count = estimator.autoencoder_.active_dimensions(test).sum(axis=1)
    return {"error": mean_absolute_error(truth, count)}


def rival(X, dimension, seed):
    """Run PCA, FastICA and a threshold on codes, with settings chosen by the true dimensions."""
    train, test = X[HELD_OUT:], X[:HELD_OUT]
    truth, train_truth = dimension[:HELD_OUT], dimension[HELD_OUT:]
    begin, best = time.process_time(), (np.inf, None)
    for share, fun in product((0.99, 0.9999), ("logcosh", "exp")):
        pca = PCA(share, svd_solver="full").fit(train)
        ica = FastICA(fun=fun, random_state=seed, whiten="unit-variance", max_iter=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            codes = np.abs(ica.fit_transform(pca.transform(train)))
        test_codes = np.abs(ica.transform(pca.transform(test)))
        for level in np.quantile(codes, np.linspace(0.02, 0.98, 49)):
            error = mean_absolute_error(train_truth, (codes > level).sum(axis=1))
            if error < best[0]:
                best = error, (test_codes > level).sum(axis=1)
    seconds = time.process_time() - begin
    return {"PCA and ICA": {"error": mean_absolute_error(truth, best[1]), "fit_seconds": seconds}}


def summarise_methods(rows):
    """Return the mean and the worst error of each method over the seeds."""
    summary = {}
    for name in rows[0]["methods"]:
        runs = [row["methods"][name] for row in rows if name in row["methods"]]
        summary[name] = summarise(runs, "error_mean", "error_worst") | {"n_seeds": len(runs)}
    return summary


def own_methods(X, dimension, seed):
    test, truth = X[:HELD_OUT], dimension[:HELD_OUT]
    estimator = IntrinsicDimensionEstimator(random_state=seed)
    return {
        "auto": measure(estimator, X[HELD_OUT:], test, truth),
        "count": measure_counts(estimator, test, truth),
    }


def diffusion_methods(X, dimension, seed):
    train, test, truth = X[HELD_OUT:], X[:HELD_OUT], dimension[:HELD_OUT]
    estimator = DiffusionDimension(random_state=seed)
    methods = {"diffusion, normal_bundle": measure(estimator, train, test, truth)}
    # Both methods use the same trained network.
    estimator.method = "flipd"
    error = mean_absolute_error(truth, estimator.predict(test))
    return methods | {"diffusion, flipd": {"error": error}}


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=UNIONS)
    parser.add_argument("what", choices=["unions", "diffusion", "rival"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure_all = {
        "unions": own_methods,
        "diffusion": diffusion_methods,
        "rival": rival,
    }[arguments.what]
    out = arguments.out or RESULTS / f"dimension_{arguments.what}.json"
    for name in arguments.only:
        rows = []
        for seed in range(arguments.seeds):
            X, _, dimension = UNIONS[name](seed)
            rows.append({"seed": seed, "methods": measure_all(X, dimension, seed)})
        summary = summarise_methods(rows)
        save(out, name, {"summary": summary, "runs": rows})
        print(name, {k: round(v["error_mean"], 4) for k, v in summary.items()}, flush=True)
