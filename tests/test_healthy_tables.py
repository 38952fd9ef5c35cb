"""Healthy data: fits do not warn. Warnings are errors here."""

from itertools import count

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from strategies import TABLES, is_near

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.nets.penalties import TopK

HEALTHY = TABLES | {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "subspaces": lambda rng, n, d: make_linear_subspaces(
        n, dims=(1, 2), n_features=d, random_state=0
    )[0],
    "atoms": lambda rng, n, d: make_sparse_dictionary(
        n, n_atoms=8, n_active=2, n_features=d, random_state=0
    )[0],
}


def table(kind, n=80, d=6):
    """Return a table without rows that are far from all others, of which fits rightly warn."""
    drawn = (HEALTHY[kind](np.random.default_rng(seed), n, d) for seed in count(len(kind)))
    return next(filter(is_near, drawn))


@pytest.mark.parametrize("kind", sorted(HEALTHY))
def test_a_default_fit_says_nothing(kind):
    X = table(kind)
    fitted = VAEenseTransformer(random_state=0).fit(X)
    assert np.isfinite(fitted.score_samples(X)).all()


@pytest.mark.parametrize("kind", ["a key", "one-hot", "points", "subspaces", "zero-inflated"])
def test_streams_say_nothing(kind):
    X = np.random.default_rng(0).permutation(StandardScaler().fit_transform(table(kind)))
    vaeense = VAEenseTransformer(4, random_state=0)
    sae = SparseAutoencoder(8, penalty=TopK(2), random_state=0)
    for batch in (X[:40], X[40:], X[:40], X[40:]):
        vaeense.partial_fit(batch)
        sae.partial_fit(batch)
    assert np.isfinite(vaeense.transform(X)).all()
    assert np.isfinite(sae.transform(X)).all()
