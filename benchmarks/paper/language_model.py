"""Activations of a language model: unexplained variance against active latents, as in Table 3.

    python benchmarks/paper/language_model.py [--quick | --full] --data FOLDER

All dictionaries have 300 latents, the same number of steps, and a linear decoder. Sparse
autoencoders have an encoder of one layer, as is usual, or that of VAEense, whichever is better.
FOLDER holds lm_activations.npz with X_train and X_test, from other documents;
benchmarks/lm_activations.py makes it.
"""

import frontier
import numpy as np
from common import load_activations, run
from frontier import Candidate, Samples
from sklearn.decomposition import PCA

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.penalties import L1, BatchTopK, JumpReLU, TopK

LEVELS = (10, 30, 100)
# Noise variances, as fractions of the variance of a feature, and whether they are only where it
# starts.
NOISE = ((0.3, True), (0.6, True), (0.1, False), (0.2, False), (0.4, False))
SIZES = {
    "quick": {"n_components": 300, "max_iter": 12, "batch_size": 512, "n_seeds": 5},
    "full": {"n_components": 300, "max_iter": 150, "batch_size": 1024, "n_seeds": 5},
}


def candidates(arguments, variance):
    """Yield the methods with their settings."""
    kappa = arguments.n_components
    shared = {"max_iter": arguments.max_iter, "batch_size": arguments.batch_size}
    for noise, learned in NOISE:
        estimator = VAEenseTransformer(
            kappa,
            noise_variance=noise * variance,
            learn_noise_variance=learned,
            n_init=1,
            **shared,
        )
        setting = f"noise variance {noise}{', learned' if learned else ''}"
        yield Candidate("VAEense", setting, estimator)
    for level in LEVELS:
        penalties = {
            "SAE top-k": (TopK(level), None),
            "SAE batch-top-k": (BatchTopK(level), None),
            "SAE L1": (L1(), level),
            "SAE JumpReLU": (JumpReLU(), level),
        }
        for name, (penalty, target) in penalties.items():
            for network in ("single_layer", "linear"):
                estimator = SparseAutoencoder(
                    kappa, penalty=penalty, target_l0=target, network=network, **shared
                )
                yield Candidate(name, f"{level} active, {network}", estimator)
        yield Candidate("PCA", f"{level} components", PCA(level), (level,))
    yield Candidate("PCA, largest entries", f"{kappa} components", PCA(kappa))


def measure(arguments):
    """Yield the rows of the frontier."""
    X, X_test = load_activations(arguments.data)
    order = np.random.default_rng(0).permutation(len(X))
    samples = Samples(X[order[2500:]], X[order[:2500]], X_test)
    # The scale of the samples only sets in which unit noise variances are given.
    variance = float(np.mean(np.var(samples.train, axis=0)))
    return frontier.measure(
        list(candidates(arguments, variance)),
        samples,
        LEVELS,
        "fvu",
        arguments.n_seeds,
        arguments.jobs,
    )


if __name__ == "__main__":
    run("language_model", __doc__, SIZES, measure)
