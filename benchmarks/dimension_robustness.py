"""How the dimension estimate holds up: few samples, noise, high dimensions, and growth.

    python benchmarks/dimension_robustness.py grid [--only NAME ...] [--seeds 5]
    python benchmarks/dimension_robustness.py high [--seeds 5]
    python benchmarks/dimension_robustness.py growth [--peer-python PYTHON]
    python benchmarks/dimension_robustness.py draw

`grid` fits curved manifolds of one or two dimensions, turned at random into R^10, with 500 to
50,000 samples and noise of 0 to 10 % of the standard deviation, and notes the mean absolute error
on 1,000 held-out samples. `high` fits normal distributions of 2 to 100 dimensions in R^100, and
notes the dimension of the whole set. `growth` notes the time of a fit and of a prediction, and the
peak of the memory, for a union of subspaces and a growing number of samples, each in a process of
its own; peers are local PCA and TwoNN per sample in the Python given. `draw` makes the pictures of
the first two. One thread.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from saving import save
from sklearn.datasets import make_s_curve, make_swiss_roll
from sklearn.exceptions import ConvergenceWarning

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_affine_subspaces, make_linear_subspaces

HERE = Path(__file__).parent
GRID, HIGH, GROWTH = (
    HERE / f"results/dimension_{name}.json" for name in ("grid", "high", "growth")
)
N_FEATURES, HELD_OUT = 10, 1000
SIZES, NOISES = (500, 2500, 10_000, 50_000), (0.0, 0.02, 0.05, 0.1)
HIGH_SIZES, HIGH_DIMENSIONS, HIGH_FEATURES = (500, 2500, 10_000), (2, 5, 10, 20, 50, 100), 100
GROWTH_SIZES = (2000, 10_000, 50_000, 200_000)
# More samples than this take a peer many minutes, or too much memory.
MOST_FOR_PEERS = 50_000


def moebius(n_samples, random_state):
    angle = 2 * np.pi * random_state.random(n_samples)
    width = random_state.uniform(-0.5, 0.5, n_samples)
    radius = 1 + width * np.cos(angle / 2)
    return np.column_stack(
        [radius * np.cos(angle), radius * np.sin(angle), width * np.sin(angle / 2)]
    )


def helix(n_samples, random_state):
    angle = 4 * np.pi * random_state.random(n_samples)
    return np.column_stack([np.cos(angle), np.sin(angle), angle / np.pi])


def sphere(n_samples, random_state):
    X = random_state.standard_normal((n_samples, 3))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def seeded(random_state):
    """Return a seed for scikit-learn's generators."""
    return int(random_state.integers(2**31))


# name: (dimension, points in R^3)
SHAPES = {
    "swiss roll": (2, lambda n, r: make_swiss_roll(n, random_state=seeded(r))[0]),
    "S-curve": (2, lambda n, r: make_s_curve(n, random_state=seeded(r))[0]),
    "Moebius band": (2, moebius),
    "helix": (1, helix),
    "sphere": (2, sphere),
}


def draw_samples(shape, n_samples, noise, seed):
    """Return samples in R^10, with noise in all directions."""
    random_state = np.random.default_rng(seed)
    points = SHAPES[shape][1](n_samples, random_state)
    basis, _ = np.linalg.qr(random_state.standard_normal((N_FEATURES, 3)))
    X = (points - points.mean(axis=0)) @ basis.T
    deviation = np.sqrt(np.square(X).sum(axis=1).mean() / N_FEATURES)
    return X + noise * deviation * random_state.standard_normal(X.shape)


def run_grid(arguments):
    for shape in arguments.only or SHAPES:
        cells = []
        for n_samples in SIZES:
            for noise in NOISES:
                runs = [measure(shape, n_samples, noise, s) for s in range(arguments.seeds)]
                error = float(np.mean([run["error"] for run in runs]))
                cells.append({"n_samples": n_samples, "noise": noise, "error": error, "runs": runs})
                print(shape, n_samples, noise, round(error, 3), flush=True)
        save(GRID, shape, {"dimension": SHAPES[shape][0], "cells": cells})


def fit(X, seed):
    """Return an estimator with its defaults, fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return IntrinsicDimensionEstimator(random_state=seed).fit(X)


def measure(shape, n_samples, noise, seed):
    """Return the error on held-out samples."""
    X = draw_samples(shape, n_samples + HELD_OUT, noise, seed)
    model = fit(X[HELD_OUT:], seed)
    predicted = model.predict(X[:HELD_OUT])
    return {
        "seed": seed,
        "error": float(np.abs(predicted - SHAPES[shape][0]).mean()),
        "dimension": model.dimension_,
        "std": model.dimension_std_,
    }


def run_high(arguments):
    for n_samples in HIGH_SIZES:
        rows = []
        for dimension in HIGH_DIMENSIONS:
            runs = []
            for seed in range(arguments.seeds):
                X, *_ = make_affine_subspaces(
                    n_samples, dims=(dimension,), n_features=HIGH_FEATURES, random_state=seed
                )
                model = fit(X, seed)
                runs.append({"dimension": model.dimension_, "std": model.dimension_std_})
            rows.append({"dimension": dimension, "runs": runs})
            print(n_samples, dimension, [round(run["dimension"], 2) for run in runs], flush=True)
        save(HIGH, str(n_samples), rows)


def run_growth(arguments):
    """Measure each size in a process of its own, so that peaks of memory are its own."""
    for n_samples in GROWTH_SIZES:
        command = [sys.executable, __file__, "one", "--size", str(n_samples)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        if arguments.peer_python and n_samples <= MOST_FOR_PEERS:
            for method in ("lPCA FO", "TwoNN"):
                peer = HERE / "peers_dimension.py"
                command = [arguments.peer_python, "-W", "ignore", peer, "growth"]
                command += [str(n_samples), method]
                output = subprocess.run(command, check=True, capture_output=True).stdout
                row[method] = json.loads(output.splitlines()[-1])
        save(GROWTH, str(n_samples), row)
        print(n_samples, row, flush=True)


def measure_size(n_samples):
    """Write the cost of one fit, and of 1,000 predictions."""
    X, *_ = make_linear_subspaces(n_samples + HELD_OUT, dims=(2, 4, 8), random_state=0)
    begin = time.process_time()
    model = IntrinsicDimensionEstimator(random_state=0).fit(X[HELD_OUT:])
    fitted = time.process_time()
    model.predict(X[:HELD_OUT])
    row = {
        "fit_seconds": fitted - begin,
        "milliseconds_per_prediction": (time.process_time() - fitted) / HELD_OUT * 1000,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    sys.stdout.write(json.dumps(row))


def draw_grid(plt):
    """Draw the grid: one panel for each manifold, one line for each noise."""
    results = json.loads(GRID.read_text())
    figure, axes = plt.subplots(1, len(results), figsize=(3 * len(results), 3.2), sharey=True)
    for ax, (shape, result) in zip(axes, results.items(), strict=True):
        for noise, colour in zip(NOISES, plt.cm.viridis([0.0, 0.3, 0.6, 0.85]), strict=True):
            cells = [cell for cell in result["cells"] if cell["noise"] == noise]
            ax.plot(
                [cell["n_samples"] for cell in cells],
                [cell["error"] for cell in cells],
                "o-",
                color=colour,
                label=f"{noise:.0%} noise",
            )
        ax.set(title=f"{shape}, dimension {result['dimension']}", xscale="log", xlabel="samples")
    axes[0].set_ylabel("mean absolute error")
    axes[-1].legend(frameon=False)
    return figure


def draw_high(plt):
    """Draw the estimate over the true dimension: one line for each number of samples."""
    figure, ax = plt.subplots(figsize=(5, 3.6))
    results = json.loads(HIGH.read_text())
    ax.axhline(1, color="0.7", lw=1)
    for (n_samples, rows), colour in zip(
        results.items(), plt.cm.viridis([0.0, 0.45, 0.85]), strict=True
    ):
        true = np.array([row["dimension"] for row in rows])
        said = [[run["dimension"] for run in row["runs"]] for row in rows]
        ratio = np.array(said) / true[:, None]
        label = f"{int(n_samples):,} samples"
        ax.plot(true, ratio.mean(axis=1), "o-", color=colour, label=label)
        ax.fill_between(true, ratio.min(axis=1), ratio.max(axis=1), color=colour, alpha=0.2, lw=0)
    ax.set(xscale="log", xlabel="true dimension", ylabel="estimate / true dimension")
    ax.set_xticks(HIGH_DIMENSIONS, HIGH_DIMENSIONS)
    ax.minorticks_off()
    ax.legend(frameon=False)
    return figure


def draw():
    """Draw what has been measured."""
    from matplotlib import pyplot as plt

    for path, draw_one in ((GRID, draw_grid), (HIGH, draw_high)):
        if path.exists():
            figure = draw_one(plt)
            figure.tight_layout()
            figure.savefig(path.with_suffix(".png"), dpi=110)


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["grid", "high", "growth", "one", "draw"])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int)
    parser.add_argument("--peer-python")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "grid":
        run_grid(arguments)
    elif arguments.what == "high":
        run_high(arguments)
    elif arguments.what == "growth":
        run_growth(arguments)
    elif arguments.what == "one":
        measure_size(arguments.size)
    else:
        draw()


if __name__ == "__main__":
    main()
