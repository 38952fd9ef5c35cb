"""Handwritten digits: squared error against active latents, as in the paper's Figure 4.

    python benchmarks/paper/mnist.py [--quick | --full] [--data FOLDER]

All models have the same network, with hidden layers on both sides, the same number of latents, the
same number of steps and the same images. Errors are of test images, summed over pixels in [0, 1].
FOLDER holds mnist.npz (X_train, y_train, X_test, y_test); without it OpenML is asked.
"""

import frontier
import numpy as np
from common import load_mnist, run
from frontier import Candidate, Samples
from sklearn.decomposition import PCA

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.networks import MLP
from skvaeense.penalties import L1, Log, TopK

LEVELS = (10, 20, 40)
# Noise variances, in squared units of a pixel, and whether they are only where it starts.
NOISE = ((0.02, True), (0.05, True), (0.02, False), (0.04, False), (0.08, False))
RATES = (0.002, 0.004)
SIZES = {
    "quick": {
        "n_train": 57_500,
        "n_components": 128,
        "width": 256,
        "max_iter": 10,
        "batch_size": 512,
        "n_seeds": 5,
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
    kappa = arguments.n_components
    width = arguments.width
    shared = {
        "network": MLP((width,), encoder_layer_sizes=(width, width)),
        "max_iter": arguments.max_iter,
        "batch_size": arguments.batch_size,
    }
    for gated in (True, False):
        for noise, learned in NOISE:
            estimator = VAEenseTransformer(
                kappa,
                gated=gated,
                noise_variance=noise,
                learn_noise_variance=learned,
                n_init=1,
                **shared,
            )
            setting = f"noise variance {noise}{', learned' if learned else ''}"
            yield Candidate("VAEense" if gated else "VAE", setting, estimator)
    for name, penalty in (("SAE L1", L1()), ("SAE log", Log())):
        for target in LEVELS:
            for rate in RATES:
                estimator = SparseAutoencoder(
                    kappa,
                    penalty=penalty,
                    target_l0=target,
                    positive_code=False,
                    learning_rate_init=rate,
                    **shared,
                )
                yield Candidate(name, f"{target} active, rate {rate}", estimator)
    for k in LEVELS:
        for rate in RATES:
            estimator = SparseAutoencoder(
                kappa,
                penalty=TopK(k),
                positive_code=False,
                learning_rate_init=rate,
                **shared,
            )
            yield Candidate("SAE top-k", f"k = {k}, rate {rate}", estimator)
    for k in LEVELS:
        yield Candidate("PCA", f"{k} components", PCA(k), (k,))
    yield Candidate("PCA, largest entries", f"{kappa} components", PCA(kappa))


def measure(arguments):
    """Yield the rows of the frontier."""
    X, _, X_test, y_test = load_mnist(arguments.data)
    order = np.random.default_rng(0).permutation(len(X))
    train, validation = X[order[: arguments.n_train]], X[order[-2500:]]
    samples = Samples(train, validation, X_test, y_test)
    return frontier.measure(
        list(candidates(arguments)),
        samples,
        LEVELS,
        "squared_error",
        arguments.n_seeds,
        arguments.jobs,
    )


if __name__ == "__main__":
    run("mnist", __doc__, SIZES, measure)
