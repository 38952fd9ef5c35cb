"""Fewer latents than the manifolds have dimensions together (the paper's open question 2).

    python -m benchmarks paper.few_latents [--quick | --full]

Subspaces of dimension 4 in R^40 have 12 or 40 dimensions together. Models have from 2 latents to
as many as that, and more. What is left unexplained of held-out samples stands beside what PCA
leaves with as many components, the least that a linear decoder can leave. Each
subspace has its own unexplained variance, too. Nothing tells which of them a model gives up.
"""

from sklearn.decomposition import PCA

from benchmarks.data import HELD_OUT, subspaces
from benchmarks.paper.common import at_once, run
from skvaeense import VAEenseTransformer
from skvaeense.metrics import fvu

LATENTS = {3: (4, 8, 12, 24), 10: (8, 24, 40, 60)}
SIZES = {
    "quick": {"n_samples": 20_000, "n_seeds": 5, "n_init": 2},
    "full": {"n_samples": 500_000, "n_seeds": 10, "n_init": 5},
}


def fit(n_subspaces, n_components, seed, n_samples, n_init):
    """Return what one model finds on held-out samples."""
    X, subspace, _ = subspaces((4,) * n_subspaces, 40, n_samples)(seed)
    train, test, subspace = X[HELD_OUT:], X[:HELD_OUT], subspace[:HELD_OUT]
    model = VAEenseTransformer(n_components, n_init=n_init, random_state=seed).fit(train)
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
        "fvu_by_subspace": [fvu(test[part], reconstruction[part]) for part in parts],
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


def main():
    """Run the benchmark with the options of the command line."""
    run("few_latents", __doc__, SIZES, measure)
