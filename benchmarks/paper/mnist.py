"""Handwritten digits: squared error against active latents, as in the paper's Figure 4.

    python -m benchmarks paper.mnist [--quick | --full] [--data FOLDER]

All models have hidden layers of the same width, the same number of latents, the same number of
steps and the same images. Each method is tuned with and without a linear shortcut in the encoder.
Errors are squared errors of test images, summed over pixels in [0, 1]. FOLDER holds mnist.npz
(X_train, y_train, X_test, y_test); without it the images come from OpenML.
"""

import numpy as np
from sklearn.decomposition import PCA

from benchmarks.common import squared_error
from benchmarks.data import read_mnist
from benchmarks.paper.common import run
from benchmarks.paper.frontier import Candidate, Noise, Samples, compare
from skvaeense import SparseAutoencoder
from skvaeense.nets.networks import MLP
from skvaeense.nets.penalties import L1, Log, TopK

LEVELS = (10, 20, 40)
# Settings of the noise variance, in squared units of a pixel.
NOISE = Noise(0.015, 0.03), Noise(0.03, 0.03), Noise(0.08, 0.03)
# Learning rate of sparse autoencoders. Half of it was worse at nearly all levels.
RATE = 0.004
SIZES = {
    "quick": {
        "n_train": 20_000,
        "n_components": 128,
        "width": 128,
        "max_iter": 10,
        "batch_size": 256,
        "n_seeds": 3,
    },
    "full": {
        "n_train": 57_500,
        "n_components": 256,
        "width": 1024,
        "max_iter": 150,
        "batch_size": 512,
        "n_seeds": 5,
    },
}


def candidates(arguments):
    """Yield the methods with their settings."""
    kappa, widths = arguments.n_components, (arguments.width,)
    for skip in (True, False):
        shared = {
            "network": MLP(widths, encoder_layer_sizes=2 * widths, skip=skip),
            "max_iter": arguments.max_iter,
            "batch_size": arguments.batch_size,
        }
        note = ", shortcut" if skip else ""
        for noise in NOISE:
            for method, gated in (("VAEase", True), ("VAE", False)):
                yield noise.candidate(method, kappa, note, gated=gated, **shared)
        shared |= {"positive_code": False, "learning_rate_init": RATE}
        for level in LEVELS:
            penalties = {
                "SAE L1": (L1(), level),
                "SAE log": (Log(), level),
                "SAE top-k": (TopK(level), None),
            }
            for method, (penalty, target) in penalties.items():
                estimator = SparseAutoencoder(kappa, penalty=penalty, target_l0=target, **shared)
                yield Candidate(method, f"{level} active{note}", estimator)
    for k in LEVELS:
        yield Candidate("PCA", f"{k} components", PCA(k), (k,))
    yield Candidate("PCA, largest entries", f"{kappa} components", PCA(kappa))


def measure(arguments):
    """Yield the rows of the comparison."""
    X, _, X_test, y_test = read_mnist(arguments.data)
    order = np.random.default_rng(0).permutation(len(X))
    train, validation = X[order[: arguments.n_train]], X[order[-2500:]]
    samples = Samples(train, validation, X_test, y_test)
    return compare(
        list(candidates(arguments)),
        samples,
        LEVELS,
        squared_error,
        arguments.n_seeds,
        arguments.jobs,
    )


def main():
    """Run the benchmark with the options of the command line."""
    run("mnist", __doc__, SIZES, measure)
