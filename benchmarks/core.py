"""VAEenseTransformer on data of known dimension: the default, and the paper's model.

    python -m benchmarks core [--seeds 5] [--only NAME ...] [--out FILE]

Each experiment draws manifolds and samples anew for every seed, fits to one part of the samples,
and measures on held-out samples. Parameters have their defaults, unless a name tells another number
of latents or model: "VAEase" is the paper's model, and "VAE" the same without a gate. Times are CPU
seconds of the fit on one thread.
"""

from functools import partial

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import mean_absolute_error

from benchmarks.common import adaptivity, fit, make_parser, save, summarise
from benchmarks.data import HELD_OUT, subspaces
from skvaeense import VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_ppca, make_sparse_dictionary
from skvaeense.metrics import fvu

# name: (data of a seed, parameters that differ from the defaults)
EXPERIMENTS = {
    "4/4/4 in R^40": (subspaces((4, 4, 4), 40, 50_000), {}),
    "2/4/8 in R^40": (subspaces((2, 4, 8), 40, 50_000), {}),
    "4/4/4, n = 2,000": (subspaces((4, 4, 4), 40, 2_000), {}),
    "2/4/8, n = 2,000": (subspaces((2, 4, 8), 40, 2_000), {}),
    "4/4/4, 5 % noise": (subspaces((4, 4, 4), 40, 50_000, noise=0.05), {}),
    "2/4/8, 5 % noise": (subspaces((2, 4, 8), 40, 50_000, noise=0.05), {}),
    "4/4/4, 60 latents": (subspaces((4, 4, 4), 40, 50_000), {"n_components": 60}),
    "2/4/8, 60 latents": (subspaces((2, 4, 8), 40, 50_000), {"n_components": 60}),
    "4/4/4, 20 latents": (subspaces((4, 4, 4), 40, 50_000), {"n_components": 20}),
    "4/4/4, 20 latents, VAEase": (
        subspaces((4, 4, 4), 40, 50_000),
        {"n_components": 20, "model": VAEase()},
    ),
    "4/4/4, 20 latents, VAE": (
        subspaces((4, 4, 4), 40, 50_000),
        {"n_components": 20, "model": VAEase(gated=False)},
    ),
    "10/20/30 in R^100": (subspaces((10, 20, 30), 100, 20_000), {}),
    "4 of 20 atoms in R^40": (
        lambda seed: make_sparse_dictionary(20_000 + HELD_OUT, random_state=seed),
        {},
    ),
    "N(0, I_20) in R^20": (subspaces((20,), 20, 10_000), {}),
    "3-dim affine in R^5": (
        lambda seed: make_linear_subspaces(
            10_000 + HELD_OUT, dims=(3,), n_features=5, random_state=seed, offset_scale=1.0
        ),
        {},
    ),
}
# name: whether the model is gated
PPCA = {"PPCA data, VAE": False, "PPCA data, VAEase": True}


def measure(experiment, seed):
    make, parameters = experiment
    X, _, dimension = make(seed)
    train, test, truth = X[HELD_OUT:], X[:HELD_OUT], dimension[:HELD_OUT]
    model = VAEenseTransformer(random_state=seed, **parameters)
    seconds = fit(model, train)
    active = model.active_dimensions(test)
    count = active.sum(axis=1)
    return {
        "seed": seed,
        "n_components": model.n_components_,
        "count_error": mean_absolute_error(truth, count),
        "exact": float(np.mean(count == truth)),
        "mean_count": float(count.mean()),
        "count_by_dimension": {str(r): float(count[truth == r].mean()) for r in np.unique(truth)},
        "count_std": float(count.std()),
        "adaptivity": adaptivity(active),
        "fvu": fvu(test, model.inverse_transform(model.transform(test))),
        "score": float(model.elbo_samples(test).mean()),
        "epochs": model.n_iter_,
        "cpu_seconds": seconds,
    }


def measure_ppca(seed, gated):
    """Compare the log-density with that of PCA, on data from the model of PCA."""
    X, *_ = make_ppca(22_500, n_components=5, n_features=20, noise_variance=0.1, random_state=seed)
    train, test = X[HELD_OUT:], X[:HELD_OUT]
    model = VAEenseTransformer(5, model=VAEase(gated=gated), random_state=seed).fit(train)
    pca = PCA(5).fit(train)
    row = {"seed": seed, "vaease": model.score(test), "pca": pca.score(test)}
    return row | {"gap": row["vaease"] - row["pca"]}


def run(experiments, out, description, ppca=()):
    """Run experiments by name, print one line for each, and add the results to a JSON file."""
    parser = make_parser(description, seeds=5, only=[*experiments, *ppca], out=out)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        if name in experiments:
            rows = [measure(experiments[name], seed) for seed in range(arguments.seeds)]
            mean_count = float(np.mean([row["mean_count"] for row in rows]))
            summary = summarise(
                rows,
                "count_error_mean",
                "count_error_worst",
                "fvu_worst",
                "adaptivity_mean",
                "cpu_seconds_worst",
            ) | {"mean_count": mean_count}
        else:
            rows = [measure_ppca(seed, ppca[name]) for seed in range(arguments.seeds)]
            summary = summarise(rows, "gap_mean", "gap_worst", worst=partial(max, key=abs))
        print(name, {key: float(f"{value:.4g}") for key, value in summary.items()}, flush=True)
        save(arguments.out, name, summary | {"runs": rows})


def main():
    """Run the benchmark with the options of the command line."""
    run(EXPERIMENTS, "core.json", __doc__, PPCA)
