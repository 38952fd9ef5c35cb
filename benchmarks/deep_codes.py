"""Codes of a given length with a nonlinear decoder: MNIST by 10, 20 or 40 of 128 latents.

    python -m benchmarks deep_codes fits [--only NAME ...] [--levels 10 20 40] [--seeds 5]
    python -m benchmarks deep_codes gates [--seeds 2]

All models have the network of `paper.mnist`, with one hidden layer in the decoder and two in the
encoder, its training images, and its number of steps. VAEense has a `target_l0`; the rivals keep
the largest entries of each image, or of the whole batch. The learning rate is that of `paper.mnist`
for the rivals, and the default for VAEense. Errors are of test images, summed over pixels in
[0, 1], from the codes as they are. Adaptivity is 0 if all images have the same active latents.

`gates` has no number of active latents, but .95 of the variance, or no target at all, which is 0 in
the results, and then ``prior="spike_slab"``. How noise and prices are set was chosen on seed 0, at
10 and 20 active latents and .95.

Every row is saved when it is done, and is not computed again: stop whenever you like. It needs
mnist.npz or OpenML; see `paper.mnist`.
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
# Of the variance.
SHARE = 0.95


def vaeense(k, seed):
    """Return a VAEense with a number of active latents."""
    return VAEenseTransformer(target_l0=k, random_state=seed, **SHARED)


def sae(penalty, k, seed):
    """Return a sparse autoencoder whose penalty has a number of active latents."""
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
    """Return the training images of `paper.mnist`, and test images."""
    X, _, X_test, _ = read_mnist(folder)
    return X[np.random.default_rng(0).permutation(len(X))[: SIZE["n_train"]]], X_test


def measure(folder, method, k, seed):
    """Fit one model, and return its numbers on test images."""
    train, test = images(folder)
    model = METHODS[method](k, seed)
    return measured(model, train, test)


def measured(model, train, test):
    """Fit a model, and return its numbers on test images."""
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
    """Fit what is not in the results yet."""
    orders = {"method": list(METHODS), "k": list(LEVELS)}
    chosen = {"method": arguments.only, "k": arguments.levels}
    of_folder = partial(measure, arguments.data)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, of_folder, summary)


def measure_gates(folder, target, seed):
    """Fit a VAEense without a number of active latents, and return its numbers on test images."""
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
    """Fit what is not in the results of gates yet."""
    orders = {"target": [SHARE, 0]}
    of_folder = partial(measure_gates, arguments.data)
    path = RESULTS / "deep_codes_gates.json"
    measure_missing(path, orders, orders, arguments.seeds, of_folder, gates_summary)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=5, only=METHODS, out="deep_codes.json")
    parser.add_argument("--levels", type=int, nargs="+", choices=LEVELS, default=LEVELS)
    add_data_option(parser)
    run_task(parser, run_fits, run_gates)
