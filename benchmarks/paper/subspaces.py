"""The paper's first table: numbers of active latents on three 4-dimensional subspaces of R^40.

    python -m benchmarks paper.subspaces [--quick | --full]

Every model has 20 latents and a linear decoder. "default" is the default of VAEenseTransformer, and
all others have the same encoder. VAEase, the VAE without its gate and the default know nothing
else. The sparse autoencoders know the answer: k = 4, or a price that training adapts to a mean of 4
active latents. A latent is active if its hard code is not exactly 0. Latents are counted on
held-out samples, and each seed draws new subspaces.
"""

import numpy as np
from sklearn.metrics import mean_absolute_error

from benchmarks.common import adaptivity
from benchmarks.data import HELD_OUT, subspaces
from benchmarks.paper.common import at_once, run
from skvaeense import SparseAutoencoder, VAEase, VAEenseTransformer
from skvaeense.metrics import fvu
from skvaeense.nets.penalties import L1, Log, TopK

DIMENSION, KAPPA = 4, 20
SIZES = {
    "quick": {"n_samples": 20_000, "n_seeds": 3, "max_iter": "auto"},
    "full": {"n_samples": 500_000, "n_seeds": 10, "max_iter": 150},
}


def model(name, seed, max_iter):
    """Return the estimator with this name."""
    if name == "default":
        return VAEenseTransformer(KAPPA, random_state=seed)
    if name in ("VAEase", "VAE"):
        vaease = VAEase(gated=name == "VAEase", max_iter=max_iter)
        return VAEenseTransformer(KAPPA, model=vaease, hard=True, random_state=seed)
    # Codes have both signs. With non-negative codes, a subspace of dimension 4 needs more latents.
    shared = {"network": "linear", "positive_code": False}
    shared |= {"random_state": seed, "max_iter": max_iter}
    if name == "SAE top-k":
        return SparseAutoencoder(KAPPA, penalty=TopK(DIMENSION), **shared)
    penalty = {"SAE L1": L1(), "SAE log": Log()}[name]
    return SparseAutoencoder(KAPPA, penalty=penalty, target_l0=DIMENSION, **shared)


def fit_and_count(name, seed, n_samples, max_iter):
    """Return the measures of one model on held-out samples."""
    X, subspace, dimension = subspaces((DIMENSION,) * 3, 40, n_samples)(seed)
    train, test = X[HELD_OUT:], X[:HELD_OUT]
    subspace, dimension = subspace[:HELD_OUT], dimension[:HELD_OUT]
    fitted = model(name, seed, max_iter).fit(train)
    codes = fitted.transform(test)
    active = codes != 0
    count = active.sum(axis=1)
    return {
        "model": name,
        "seed": seed,
        "active": float(count.mean()),
        "by_subspace": [float(count[subspace == i].mean()) for i in range(3)],
        "count_error": mean_absolute_error(dimension, count),
        "exact": float(np.mean(count == dimension)),
        "fvu": fvu(test, fitted.inverse_transform(codes)),
        "adaptivity": adaptivity(active),
    }


def measure(arguments):
    """Yield a row for each model and seed."""
    names = ("VAEase", "default", "VAE", "SAE L1", "SAE log", "SAE top-k")
    jobs = [
        (name, seed, arguments.n_samples, arguments.max_iter)
        for name in names
        for seed in range(arguments.n_seeds)
    ]
    for row in at_once(fit_and_count, jobs, arguments.jobs):
        yield "fits", row


def main():
    """Run the benchmark with the options of the command line."""
    run("subspaces", __doc__, SIZES, measure)
