"""Activations of a language model: unexplained variance against active latents, as in Table 3.

    python -m benchmarks paper.language_model [--quick | --full] --data FOLDER

All dictionaries have 300 latents, the same number of steps, and a linear decoder. The encoder has
one layer and codes are not negative, as is usual in sparse autoencoders, or it is VAEense's own,
whichever is better.
FOLDER holds lm_activations.npz with X_train and X_test, from other documents;
`python -m benchmarks lm_activations` makes it.
"""

import numpy as np
from sklearn.decomposition import PCA

from benchmarks.data import read_activations
from benchmarks.paper.common import run
from benchmarks.paper.frontier import Candidate, Noise, Samples, compare
from skvaeense import SparseAutoencoder
from skvaeense.metrics import fvu
from skvaeense.networks import Linear
from skvaeense.penalties import L1, BatchTopK, JumpReLU, TopK

LEVELS = (10, 30, 100)
# As fractions of the variance of a feature, with VAEense's own encoder and with one layer.
NOISE = (Noise(0.3, learned=True), Noise(0.1), Noise(0.4))
NOISE_ONE_LAYER = (
    Noise(4.0, learned=True),
    Noise(0.3, learning_rate=0.05),
    Noise(0.5, learning_rate=0.05),
    Noise(0.8, learning_rate=0.05),
)
SIZES = {
    "quick": {"n_components": 300, "max_iter": 12, "batch_size": 512, "n_seeds": 5},
    "full": {"n_components": 300, "max_iter": 150, "batch_size": 1024, "n_seeds": 5},
}


def candidates(arguments, variance):
    """Yield the methods with their settings."""
    kappa = arguments.n_components
    shared = {"max_iter": arguments.max_iter, "batch_size": arguments.batch_size}
    for noise in NOISE:
        yield noise.candidate("VAEense", variance, n_components=kappa, **shared)
    one_layer = {"network": Linear((), skip=False), "positive_code": True}
    for noise in NOISE_ONE_LAYER:
        note = ", one layer"
        yield noise.candidate("VAEense", variance, note, n_components=kappa, **one_layer, **shared)
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
    """Yield the rows of the comparison."""
    X, X_test = read_activations(arguments.data)
    order = np.random.default_rng(0).permutation(len(X))
    samples = Samples(X[order[2500:]], X[order[:2500]], X_test)
    # The scale of the samples only sets in which unit noise variances are given.
    variance = float(np.mean(np.var(samples.train, axis=0)))
    return compare(
        list(candidates(arguments, variance)),
        samples,
        LEVELS,
        fvu,
        arguments.n_seeds,
        arguments.jobs,
    )


def main():
    """Run what the command line asks for."""
    run("language_model", __doc__, SIZES, measure)
