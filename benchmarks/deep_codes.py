"""Codes of a given length with a nonlinear decoder: MNIST with 10, 20 or 40 of 128 latents active.

    python -m benchmarks deep_codes fits [--only NAME ...] [--levels 10 20 40] [--seeds 5]
    python -m benchmarks deep_codes gates [--seeds 2]

All models share the network, training images and number of steps of `paper.mnist`: one hidden layer
in the decoder and two in the encoder. VAEense has a `target_l0`. The rivals keep the largest
entries of each image, or of the whole batch. The rivals have the learning rate of `paper.mnist`,
and VAEense has its default. Errors are squared errors of test images, summed over pixels in [0, 1],
with codes as the model returns them. Adaptivity is 0 if all images have the same active latents.

`gates` sets no number of active latents. It fits VAEense with ``prior="spike_slab"``, either with a
target of .95 of the variance, or without a target, which the results list as target 0. The rules
that set noise and prices were chosen on seed 0, at 10 and 20 active latents and at .95.

Each row is saved when it is done, and is not computed again, so a run can be stopped at any time.
The images come from mnist.npz or OpenML; see `paper.mnist`.
"""

from functools import cache, partial

import numpy as np

from benchmarks.common import RESULTS, fit, make_parser, measure_missing, run_task, summarise
from benchmarks.data import add_data_option, read_mnist
from benchmarks.paper.mnist import LEVELS, RATE, SIZES
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.metrics import dead_fraction, fvu, l0, pattern_adaptivity, squared_error
from skvaeense.networks import MLP
from skvaeense.penalties import BatchTopK, TopK

SIZE = SIZES["quick"]
WIDTHS = (SIZE["width"],)
SHARED = {
    "n_components": SIZE["n_components"],
    "network": MLP(WIDTHS, encoder_layer_sizes=2 * WIDTHS, skip=True),
    "max_iter": SIZE["max_iter"],
    "batch_size": SIZE["batch_size"],
}
# Share of the variance that `gates` keeps.
SHARE = 0.95


def vaeense(k, seed):
    """Return a VAEense with a target of k active latents."""
    return VAEenseTransformer(target_l0=k, random_state=seed, **SHARED)


def sae(penalty, k, seed):
    """Return a sparse autoencoder whose penalty keeps k active latents."""
    return SparseAutoencoder(
        penalty=penalty(k),
        positive_code=False,
        learning_rate_init=RATE,
        random_state=seed,
        **SHARED,
    )


METHODS = {
    "VAEense, target_l0": vaeense,
    "BatchTopK": partial(sae, BatchTopK),
    "TopK": partial(sae, TopK),
}


@cache
def images(folder):
    """Return the training images of `paper.mnist`, and the test images."""
    X, _, X_test, _ = read_mnist(folder)
    return X[np.random.default_rng(0).permutation(len(X))[: SIZE["n_train"]]], X_test


def measure(folder, method, k, seed):
    """Fit the model of a method, and return its measures on test images."""
    train, test = images(folder)
    model = METHODS[method](k, seed)
    return measured(model, train, test)


def measured(model, train, test):
    """Fit a model, and return its measures on test images."""
    seconds = fit(model, train)
    codes = model.transform(test)
    decoded = model.inverse_transform(codes)
    return {
        "error": squared_error(test, decoded),
        "fvu": fvu(test, decoded),
        "l0": l0(codes),
        "adaptivity": pattern_adaptivity(codes, random_state=0),
        "dead": dead_fraction(codes),
        "cpu_seconds": seconds,
    }


NAMES = "error_mean", "error_worst", "l0_mean", "adaptivity_mean", "cpu_seconds_mean"


def summary(rows):
    """Return means and worst values over the seeds, for each method and length."""
    found = []
    for method, k in dict.fromkeys((row["method"], row["k"]) for row in rows):
        own = [row for row in rows if (row["method"], row["k"]) == (method, k)]
        found.append({"method": method, "k": k, "n_seeds": len(own)} | summarise(own, *NAMES))
    return found


def run_fits(arguments):
    """Fit the models whose rows the results lack."""
    orders = {"method": list(METHODS), "k": list(LEVELS)}
    chosen = {"method": arguments.only, "k": arguments.levels}
    of_folder = partial(measure, arguments.data)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, of_folder, summary)


def measure_gates(folder, target, seed):
    """Fit a VAEense with a prior, and return its measures on test images."""
    model = VAEenseTransformer(
        prior="spike_slab", target_explained_variance=target or None, random_state=seed, **SHARED
    )
    return measured(model, *images(folder))


def gates_summary(rows):
    """Return means and worst values over the seeds, for each target."""
    found = []
    for target in dict.fromkeys(row["target"] for row in rows):
        own = [row for row in rows if row["target"] == target]
        found.append({"target": target, "n_seeds": len(own)} | summarise(own, *NAMES))
    return found


def run_gates(arguments):
    """Fit the gated models whose rows the results lack."""
    orders = {"target": [SHARE, 0]}
    of_folder = partial(measure_gates, arguments.data)
    path = RESULTS / "deep_codes_gates.json"
    measure_missing(path, orders, orders, arguments.seeds, of_folder, gates_summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=METHODS, out="deep_codes.json")
    parser.add_argument("--levels", type=int, nargs="+", choices=LEVELS, default=LEVELS)
    add_data_option(parser)
    run_task(parser, run_fits, run_gates)
