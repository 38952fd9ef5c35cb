"""What VAEenseTransformer finds with default parameters on data of known dimension.

    python benchmarks/core.py [--seeds 5] [--only NAME ...] [--out FILE]

Each experiment draws manifolds and samples anew for every seed, fits on one part and measures on
held-out samples. Times are CPU seconds of the fit on one thread.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA

from skvaeense import VAEenseTransformer
from skvaeense.datasets import (
    make_affine_subspaces,
    make_gaussian,
    make_linear_subspaces,
    make_ppca,
    make_sparse_dictionary,
)
from skvaeense.metrics import dimension_accuracy, dimension_error, fvu, pattern_adaptivity

HELD_OUT = 2500


def subspaces(dims, n_features, n_samples, noise=0.0):
    return lambda seed: make_linear_subspaces(
        n_samples + HELD_OUT, dims=dims, n_features=n_features, noise=noise, random_state=seed
    )


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
    "4/4/4, 20 latents, VAE": (
        subspaces((4, 4, 4), 40, 50_000),
        {"n_components": 20, "gated": False},
    ),
    "10/20/30 in R^100": (subspaces((10, 20, 30), 100, 20_000), {}),
    "4 of 20 atoms in R^40": (
        lambda seed: make_sparse_dictionary(20_000 + HELD_OUT, random_state=seed),
        {},
    ),
    "N(0, I_20) in R^20": (lambda seed: make_gaussian(10_000 + HELD_OUT, random_state=seed), {}),
    "3-dim affine in R^5": (
        lambda seed: make_affine_subspaces(
            10_000 + HELD_OUT, dims=(3,), n_features=5, random_state=seed
        ),
        {},
    ),
}


def measure(experiment, seed):
    make, parameters = experiment
    X, _, dimension = make(seed)
    train, test, truth = X[HELD_OUT:], X[:HELD_OUT], dimension[:HELD_OUT]
    model = VAEenseTransformer(random_state=seed, **parameters)
    begin = time.process_time()
    model.fit(train)
    seconds = time.process_time() - begin
    active = model.active_dimensions(test)
    count = active.sum(axis=1)
    return {
        "seed": seed,
        "n_components": model.n_components_,
        "count_error": dimension_error(truth, count),
        "exact": dimension_accuracy(truth, count),
        "mean_count": float(count.mean()),
        "count_by_dimension": {str(r): float(count[truth == r].mean()) for r in np.unique(truth)},
        "count_std": float(count.std()),
        "adaptivity": pattern_adaptivity(active, random_state=0),
        "fvu": fvu(test, model.inverse_transform(model.transform(test))),
        "score": model.score(test),
        "epochs": model.n_iter_,
        "cpu_seconds": seconds,
    }


def measure_ppca(seed, gated):
    """Compare the score with PCA's on data from its own model."""
    X, *_ = make_ppca(22_500, n_components=5, n_features=20, noise_variance=0.1, random_state=seed)
    train, test = X[HELD_OUT:], X[:HELD_OUT]
    model = VAEenseTransformer(5, gated=gated, random_state=seed).fit(train)
    pca = PCA(5).fit(train)
    return {"seed": seed, "vaeense": model.score(test), "pca": pca.score(test)}


def summarise(rows):
    errors = [row["count_error"] for row in rows]
    return {
        "count_error_mean": float(np.mean(errors)),
        "count_error_worst": float(np.max(errors)),
        "mean_count": float(np.mean([row["mean_count"] for row in rows])),
        "fvu_worst": float(np.max([row["fvu"] for row in rows])),
        "adaptivity_mean": float(np.mean([row["adaptivity"] for row in rows])),
        "cpu_seconds_worst": float(np.max([row["cpu_seconds"] for row in rows])),
        "runs": rows,
    }


def compare_with_ppca(n_seeds):
    """Return, with and without gate, how far the score is from PCA's on data from PCA's model."""
    results = {}
    for gated in (False, True):
        rows = [measure_ppca(seed, gated) for seed in range(n_seeds)]
        gaps = [row["vaeense"] - row["pca"] for row in rows]
        results[f"PPCA data, gated={gated}"] = {
            "gap_mean": float(np.mean(gaps)),
            "gap_worst": float(max(gaps, key=abs)),
            "runs": rows,
        }
        print(f"PPCA data, gated={gated}: score minus PCA's {np.mean(gaps):+.3f} nats", flush=True)
    return results


def run(experiments, path, description, extra=None):
    """Run experiments by name, print a line each, and add the results to a JSON file."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path, default=path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.only or experiments:
        rows = [measure(experiments[name], seed) for seed in range(arguments.seeds)]
        results[name] = r = summarise(rows)
        print(
            f"{name}: count {r['mean_count']:.2f}, error {r['count_error_mean']:.4f} "
            f"(worst {r['count_error_worst']:.4f}), FVU at most {r['fvu_worst']:.1e}, "
            f"CPU at most {r['cpu_seconds_worst']:.1f} s",
            flush=True,
        )
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    if extra is not None and not arguments.only:
        results |= extra(arguments.seeds)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    run(EXPERIMENTS, Path(__file__).parent / "results/core.json", __doc__, compare_with_ppca)
