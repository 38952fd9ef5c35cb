"""Fewer latents than the manifolds have dimensions together (the paper's open question 2).

    python benchmarks/paper/few_latents.py [--quick | --full]

Subspaces of dimension 4 in R^40 have 12 or 40 dimensions together. Models have from 2 latents to
as many as that, and more. What is left unexplained of held-out samples stands beside what PCA
leaves with as many components, the least that a linear decoder can leave. For each subspace: how
many latents are active on it, and its own unexplained variance. Nothing tells which of them a model
gives up.
"""

import numpy as np
from common import at_once, run
from sklearn.decomposition import PCA

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.metrics import fvu, pattern_adaptivity

HELD_OUT = 2500
LATENTS = {3: (4, 8, 12, 24), 10: (8, 24, 40, 60)}
SIZES = {
    "quick": {"n_samples": 20_000, "n_seeds": 5, "n_init": 2},
    "full": {"n_samples": 500_000, "n_seeds": 10, "n_init": 5},
}


def fit(n_subspaces, n_components, seed, n_samples, n_init):
    """Return what one model finds on held-out samples."""
    X, subspace, _ = make_linear_subspaces(
        n_samples + HELD_OUT, dims=(4,) * n_subspaces, random_state=seed
    )
    train, test, subspace = X[HELD_OUT:], X[:HELD_OUT], subspace[:HELD_OUT]
    model = VAEenseTransformer(n_components, hard=True, n_init=n_init, random_state=seed).fit(train)
    codes = model.transform(test)
    reconstruction, active = model.inverse_transform(codes), codes != 0
    pca = PCA(min(n_components, 40)).fit(train)
    parts = [subspace == i for i in range(n_subspaces)]
    return {
        "n_subspaces": n_subspaces,
        "n_components": n_components,
        "seed": seed,
        "fvu": fvu(test, reconstruction),
        "pca_fvu": fvu(test, pca.inverse_transform(pca.transform(test))),
        "active": float(active.sum(axis=1).mean()),
        "in_use": int(active.any(axis=0).sum()),
        "adaptivity": pattern_adaptivity(active, random_state=0) if active.any() else None,
        "active_by_subspace": [float(active[part].sum(axis=1).mean()) for part in parts],
        "fvu_by_subspace": [fvu(test[part], reconstruction[part]) for part in parts],
        "noise_variance": float(model.noise_variance_ / np.var(train)),
    }


def measure(arguments):
    """Yield a row for each fit."""
    jobs = [
        (n_subspaces, n_components, seed, arguments.n_samples, arguments.n_init)
        for n_subspaces, counts in LATENTS.items()
        for n_components in counts
        for seed in range(arguments.n_seeds)
    ]
    for row in at_once(fit, jobs, arguments.jobs):
        yield "fits", row


if __name__ == "__main__":
    run("few_latents", __doc__, SIZES, measure)
