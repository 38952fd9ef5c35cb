"""What whole fits take: how they grow, what starts cost, and how soon the answer is there.

    python benchmarks/speed_fits.py WHAT [--threads 1] [--repeats 5]

WHAT is one of:

* `growth`: fits with more samples and more latents: seconds of an epoch, and peak memory above the
  samples;
* `starts`: a fit with eight starts, over one with one start, by the clock;
* `answer`: until dimensions are right, beside the recipe of the paper's code;
* `one`: a single fit of `growth`, which has a process of its own.

Results are added to those of speed.py.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import speed_loops
import torch
from saving import save
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from speed import RESULTS
from threadpoolctl import threadpool_limits

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.metrics import dimension_error
from skvaeense.networks import Linear
from skvaeense.thresholds import FixedVariance, Latents, Otsu

GROWTH_SAMPLES = (1000, 10_000, 100_000, 1_000_000)
GROWTH_LATENTS = (16, 64, 256, 1024, 4096)
HELD_OUT = 2500
SEEDS = range(5)
# Fits that are timed until the answer: the defaults, and what is enough for subspaces alone.
FITS = {
    "defaults": {},
    "small": {
        "network": Linear((64, 64)),
        "n_init": 3,
        "max_iter": 5,
        "learning_rate_init": 0.03,
    },
}
# The recipe: passes over samples, and how many samples the paper has. Ours has a tenth of them, and
# so has the recipe here; its time grows with their number.
PASSES = 150
PAPER_SAMPLES = 500_000
N_SAMPLES = 50_000


def fit(model, X):
    """Return the model, fitted: warnings of what few steps lead to are of no interest here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def run_growth(arguments):
    """Measure fits of more and more samples, and latents, each in a process of its own."""
    # "auto" layers have a unit for each latent, from 256 to 1,024 of them.
    for key, name, values, width in (
        ("growth in samples", "--samples", GROWTH_SAMPLES, "auto"),
        ("growth in latents", "--latents", GROWTH_LATENTS, "auto"),
        ("growth in latents, layers of 256", "--latents", GROWTH_LATENTS, "256"),
    ):
        rows = []
        for value in values:
            command = [sys.executable, __file__, "one", name, str(value), "--width", width]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            print(rows[-1], flush=True)
            save(RESULTS, key, rows)


def run_one(arguments):
    """Write what one fit, of a given number of epochs, takes."""
    n, k = arguments.samples, arguments.latents
    # Made in pieces, since the generator of data sets needs memory of its own.
    X = np.empty((n, 40), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        X[start : start + 10_000] = rng.standard_normal(X[start : start + 10_000].shape)
    width = arguments.width if arguments.width == "auto" else (int(arguments.width),) * 2
    model = VAEenseTransformer(
        k, network=Linear(width), n_init=1, max_iter=arguments.epochs, random_state=0
    )
    fit(clone(model).set_params(max_iter=2), X[:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    begin = time.process_time()
    fit(model, X)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row = {
        "n_samples": n,
        "n_components": k,
        "batch_size": min(256, n // 8),
        "n_epochs": model.n_iter_,
        "seconds_per_epoch": seconds / model.n_iter_,
        "copies_of_X": (peak - before) / X.nbytes,
        "extra_megabytes": (peak - before) / 2**20,
    }
    sys.stdout.write(json.dumps(row))


def run_starts(arguments):
    """Time a fit with eight starts, over one with one, by the clock and all threads."""
    X, *_ = make_linear_subspaces(5000, dims=(4, 4, 4), random_state=0)
    seconds = {n: [] for n in (1, 8)}
    for _ in range(arguments.repeats):
        for n_init, taken in seconds.items():
            begin = time.perf_counter()
            fit(VAEenseTransformer(20, n_init=n_init, random_state=0), X)
            taken.append(time.perf_counter() - begin)
    ratio = statistics.median(seconds[8]) / statistics.median(seconds[1])
    key = f"starts, {arguments.threads} thread" + "s" * (arguments.threads > 1)
    save(RESULTS, key, {"ratio": ratio, "seconds": seconds})
    print(ratio)


def run_answer(arguments):
    """Time until dimensions are right, for several fits and the paper's recipe."""
    rows = []
    for seed in SEEDS:
        X, _, dimension = make_linear_subspaces(
            N_SAMPLES + HELD_OUT, dims=(4, 4, 4), random_state=seed
        )
        held_out, train, truth = X[:HELD_OUT], X[HELD_OUT:], dimension[:HELD_OUT]
        row = {"seed": seed, "n_samples": N_SAMPLES}
        for name, parameters in FITS.items():
            begin = time.process_time()
            model = fit(VAEenseTransformer(20, random_state=seed, **parameters), train)
            seconds = time.process_time() - begin
            error = dimension_error(truth, model.active_dimensions(held_out).sum(axis=1))
            row[name] = {"seconds": seconds, "error": error}
        begin = time.process_time()
        log_variance = speed_loops.paper_recipe(
            torch.tensor(train, dtype=torch.float32), PASSES, seed
        )(torch.tensor(held_out, dtype=torch.float32))
        seconds = time.process_time() - begin
        row["recipe"] = {"seconds": seconds, "seconds_500k": seconds * PAPER_SAMPLES / N_SAMPLES}
        latents = Latents(log_variance, log_variance, np.ones(20), 1.0)
        for name, rule in (("otsu", Otsu()), ("fixed_variance", FixedVariance())):
            count = rule.active(latents).sum(axis=1)
            row["recipe"][f"error_{name}"] = dimension_error(truth, count)
        rows.append(row)
        print(row, flush=True)
        save(RESULTS, "answer", rows)


def main():
    """Run what the command line asks for."""
    tasks = {
        "growth": run_growth,
        "starts": run_starts,
        "answer": run_answer,
        "one": run_one,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(tasks))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--latents", type=int, default=20)
    parser.add_argument("--width", default="auto")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        tasks[arguments.what](arguments)


if __name__ == "__main__":
    main()
