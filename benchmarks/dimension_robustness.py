"""The dimension estimate with few samples, noise and high dimensions, and its growing cost.

    python -m benchmarks dimension_robustness grid [--only NAME ...] [--seeds 5]
    python -m benchmarks dimension_robustness high [--seeds 5]
    python -m benchmarks dimension_robustness growth [--peer-python PYTHON]
    python -m benchmarks dimension_robustness draw

* `grid` fits curved manifolds of one or two dimensions, turned at random into R^10, with 500 to
  50,000 samples and noise of 0 to 10 % of the standard deviation. It measures the mean absolute
  error on 1,000 held-out samples.
* `high` fits normal distributions of 2 to 100 dimensions in R^100, and measures the dimension of
  the whole set.
* `growth` measures the time of a fit and of a prediction, and the peak memory, for a union of
  subspaces and a growing number of samples, with a separate process for each number. The peers are
  local PCA and TwoNN per sample, in the given Python.
* `draw` draws the pictures of `grid` and `high`.

All run on one thread.
"""

import json
import resource
import time

import numpy as np
from sklearn.datasets import make_s_curve, make_swiss_roll

from benchmarks.common import RESULTS, apart, fit, load, make_parser, run_task, save
from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_linear_subspaces

GRID, HIGH, GROWTH = (RESULTS / f"dimension_{name}.json" for name in ("grid", "high", "growth"))
N_FEATURES, HELD_OUT = 10, 1000
SIZES, NOISES = (500, 2500, 10_000, 50_000), (0.0, 0.02, 0.05, 0.1)
HIGH_SIZES, HIGH_DIMENSIONS, HIGH_FEATURES = (500, 2500, 10_000), (2, 5, 10, 20, 50, 100), 100
GROWTH_SIZES = (2000, 10_000, 50_000, 200_000)
# Largest number of samples for the peers. With more, a peer takes many minutes or too much memory.
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


# name: (dimension, function of a number of samples and a generator that draws points in R^3)
SHAPES = {
    "swiss roll": (2, lambda n, r: make_swiss_roll(n, random_state=seeded(r))[0]),
    "S-curve": (2, lambda n, r: make_s_curve(n, random_state=seeded(r))[0]),
    "Moebius band": (2, moebius),
    "helix": (1, helix),
    "sphere": (2, sphere),
}


def draw_samples(shape, n_samples, noise, seed):
    """Return samples of a shape in R^10, with noise in all directions."""
    random_state = np.random.default_rng(seed)
    points = SHAPES[shape][1](n_samples, random_state)
    basis, _ = np.linalg.qr(random_state.standard_normal((N_FEATURES, 3)))
    X = (points - points.mean(axis=0)) @ basis.T
    deviation = np.sqrt(np.square(X).sum(axis=1).mean() / N_FEATURES)
    return X + noise * deviation * random_state.standard_normal(X.shape)


def run_grid(arguments):
    """Measure curved manifolds for each number of samples and amount of noise."""
    for shape in arguments.only:
        cells = []
        for n_samples in SIZES:
            for noise in NOISES:
                runs = [measure(shape, n_samples, noise, s) for s in range(arguments.seeds)]
                by_seed = {f"{key}s": [run[key] for run in runs] for key in runs[0]}
                cells.append({"n_samples": n_samples, "noise": noise} | by_seed)
                print(shape, n_samples, noise, round(np.mean(by_seed["errors"]), 3), flush=True)
        save(GRID, shape, {"dimension": SHAPES[shape][0], "cells": cells})


def fitted(X, seed):
    """Return a fitted estimator with its defaults."""
    estimator = IntrinsicDimensionEstimator(random_state=seed)
    fit(estimator, X)
    return estimator


def measure(shape, n_samples, noise, seed):
    """Return the error on held-out samples, and the dimension of the set with its std."""
    X = draw_samples(shape, n_samples + HELD_OUT, noise, seed)
    model = fitted(X[HELD_OUT:], seed)
    predicted = model.predict(X[:HELD_OUT])
    return {
        "error": float(np.abs(predicted - SHAPES[shape][0]).mean()),
        "dimension": model.dimension_,
        "std": model.dimension_std_,
    }


def run_high(arguments):
    """Measure normal distributions of several dimensions."""
    for n_samples in HIGH_SIZES:
        rows = []
        for dimension in HIGH_DIMENSIONS:
            runs = []
            for seed in range(arguments.seeds):
                X, *_ = make_linear_subspaces(
                    n_samples,
                    dims=(dimension,),
                    n_features=HIGH_FEATURES,
                    random_state=seed,
                    offset_scale=1.0,
                )
                model = fitted(X, seed)
                runs.append({"dimension": model.dimension_, "std": model.dimension_std_})
            rows.append({"dimension": dimension, "runs": runs})
            print(n_samples, dimension, [round(run["dimension"], 2) for run in runs], flush=True)
        save(HIGH, str(n_samples), rows)


def run_growth(arguments):
    """Measure each size in a separate process, so that each has its own peak memory."""
    for n_samples in GROWTH_SIZES:
        row = apart("benchmarks dimension_robustness", "one", "--size", n_samples)
        if arguments.peer_python and n_samples <= MOST_FOR_PEERS:
            for method in ("lPCA FO", "TwoNN"):
                job = ("growth", n_samples, method)
                row[method] = apart(
                    "benchmarks.peers.dimension", *job, python=arguments.peer_python
                )
        save(GROWTH, str(n_samples), row)
        print(n_samples, row, flush=True)


def run_one(arguments):
    """Print the seconds of a fit, the milliseconds of a prediction, and the peak memory."""
    X, *_ = make_linear_subspaces(arguments.size + HELD_OUT, dims=(2, 4, 8), random_state=0)
    model = IntrinsicDimensionEstimator(random_state=0)
    fit_seconds, begin = fit(model, X[HELD_OUT:]), time.process_time()
    model.predict(X[:HELD_OUT])
    row = {
        "fit_seconds": fit_seconds,
        "milliseconds_per_prediction": (time.process_time() - begin) / HELD_OUT * 1000,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(json.dumps(row))


def draw_grid(plt):
    """Draw the grid: one panel for each manifold, one line for each noise level."""
    results = load(GRID)
    figure, axes = plt.subplots(1, len(results), figsize=(3 * len(results), 3.2), sharey=True)
    for ax, (shape, result) in zip(axes, results.items(), strict=True):
        for noise, colour in zip(NOISES, plt.cm.viridis([0.0, 0.3, 0.6, 0.85]), strict=True):
            cells = [cell for cell in result["cells"] if cell["noise"] == noise]
            ax.plot(
                [cell["n_samples"] for cell in cells],
                [np.mean(cell["errors"]) for cell in cells],
                "o-",
                color=colour,
                label=f"{noise:.0%} noise",
            )
        ax.set(title=f"{shape}, dimension {result['dimension']}", xscale="log", xlabel="samples")
    axes[0].set_ylabel("mean absolute error")
    axes[-1].legend(frameon=False)
    return figure


def draw_high(plt):
    """Draw the estimate as a multiple of the true dimension, a line for each number of samples."""
    figure, ax = plt.subplots(figsize=(5, 3.6))
    results = load(HIGH)
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


def run_draw(arguments):
    """Draw the results of `grid` and `high`, if they were measured."""
    from matplotlib import pyplot as plt

    for path, draw_one in ((GRID, draw_grid), (HIGH, draw_high)):
        if path.exists():
            figure = draw_one(plt)
            figure.tight_layout()
            figure.savefig(path.with_suffix(".png"), dpi=110)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=SHAPES)
    parser.add_argument("--size", type=int, help="samples of `one`")
    parser.add_argument("--peer-python", help="a Python that has scikit-dimension")
    run_task(parser, run_grid, run_high, run_growth, run_one, run_draw)
