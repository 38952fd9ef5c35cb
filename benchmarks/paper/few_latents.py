"""Fewer latents than the total dimension of all manifolds (the paper's open question 2).

    python -m benchmarks paper.few_latents [--quick | --full]

Three or ten subspaces of dimension 4 in R^40 have a total dimension of 12 or 40. VAEase has fewer
latents, as many, or more. The variance that a model leaves unexplained on held-out samples is
compared with the variance that PCA with as many components leaves unexplained, the least that a
linear decoder can leave. The unexplained variance of each subspace is also measured. Which
subspaces a model gives up is not known in advance.
"""

from sklearn.decomposition import PCA

from benchmarks.data import HELD_OUT, subspaces
from benchmarks.paper.common import at_once, run
from skvaeense import VAEase, VAEenseTransformer
from skvaeense.metrics import fvu

LATENTS = {3: (4, 8, 12, 24), 10: (8, 24, 40, 60)}
SIZES = {
    "quick": {"n_samples": 20_000, "n_seeds": 3, "n_init": 2},
    "full": {"n_samples": 500_000, "n_seeds": 10, "n_init": 5},
}


def fit(n_subspaces, n_components, seed, n_samples, n_init):
    """Return the measures of one model and of PCA on held-out samples."""
    X, subspace, _ = subspaces((4,) * n_subspaces, 40, n_samples)(seed)
    train, test, subspace = X[HELD_OUT:], X[:HELD_OUT], subspace[:HELD_OUT]
    vaease = VAEase(n_init=n_init)
    model = VAEenseTransformer(n_components, model=vaease, hard=True, random_state=seed).fit(train)
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
