"""What cannot matter does not matter: units, offsets, the order of rows and features, copies."""

import numpy as np
import pytest
from helpers import fit_unwarned
from sklearn.datasets import load_diabetes, load_iris, load_linnerud, load_wine, make_moons

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture

TABLES = {
    "iris": load_iris().data,
    "wine": load_wine().data,
    "diabetes": load_diabetes(scaled=False).data[:150],
    "linnerud": load_linnerud().data,
    "moons": make_moons(200, noise=0.1, random_state=0)[0],
    "counts": np.random.default_rng(0).poisson(2.0, (150, 4)).astype(float),
    "subspaces": make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.02, random_state=0)[
        0
    ],
    "atoms": make_sparse_dictionary(200, n_atoms=10, n_active=2, noise=0.05, random_state=0)[0],
}


def others(X):
    """Yield what a table could also look like: rows, the order of columns, and the scale."""
    rng = np.random.default_rng(0)
    columns = np.arange(X.shape[1])
    turned = rng.permutation(columns)
    yield "order", rng.permutation(X)[:, turned], turned, 1.0
    yield "unit", 2.54e6 * X, columns, 2.54e6
    yield "offset", X + 1000 * X.std(axis=0), columns, 1.0
    yield "jitter", X + 1e-12 * X.std(axis=0) * rng.standard_normal(X.shape), columns, 1.0


def each(*quick, slow):
    """Parametrise by tables, of which those that take long are slow."""
    return pytest.mark.parametrize(
        "name", [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]
    )


@each("iris", "linnerud", "counts", "subspaces", slow=("wine", "diabetes", "moons", "atoms"))
def test_the_density_of_a_table_is_its_own(name, subtests):
    X = TABLES[name]
    fitted = SubspaceMixture(random_state=0).fit(X)
    expected = fitted.score_samples(X)
    for what, other, columns, scale in others(X):
        with subtests.test(what=what):
            same = SubspaceMixture(random_state=0).fit(other)
            assert same.n_components_ == fitted.n_components_
            rows = scale * X[:, columns] + (1000 * X.std(axis=0) if what == "offset" else 0.0)
            found = same.score_samples(rows) + X.shape[1] * np.log(scale)
            # An offset of a thousand standard deviations costs three digits.
            precision = 1e-3 if what == "offset" else 1e-5
            np.testing.assert_allclose(found, expected, rtol=precision, atol=precision)


@each("iris", "subspaces", slow=("moons", "atoms"))
def test_codes_of_a_table_are_its_own(name, subtests):
    X = TABLES[name]
    fitted = fit_unwarned(VAEenseTransformer(random_state=0), X)
    active = fitted.active_dimensions(X).sum(axis=1)
    for what, other, columns, scale in others(X):
        if what == "jitter" and len(np.unique(X, axis=0)) < len(X):
            continue  # Copies that differ are rows of their own, so others are held out.
        with subtests.test(what=what):
            same = fit_unwarned(VAEenseTransformer(random_state=0), other)
            assert same.explanation_ == fitted.explanation_
            assert same.density_name_ == fitted.density_name_
            shift = X.shape[1] * np.log(scale)
            for key, nats in fitted.explanation_nats_.items():
                # Gates follow from hundreds of steps in single precision.
                error = 0.05 if key == "gates" else 1e-3
                assert same.explanation_nats_[key] + shift == pytest.approx(nats, abs=error)
            rows = scale * X[:, columns] + (1000 * X.std(axis=0) if what == "offset" else 0.0)
            counts = same.active_dimensions(rows).sum(axis=1)
            assert np.abs(counts - active).mean() < 0.02
            scores = same.score_samples(rows) + shift
            assert scores.mean() == pytest.approx(fitted.score_samples(X).mean(), abs=0.05)


def test_a_dictionary_does_not_depend_on_the_order_of_rows():
    X = TABLES["atoms"]
    one, other = (GateDictionary(random_state=0).fit(rows) for rows in (X, X[::-1]))
    np.testing.assert_allclose(other.score_samples(X), one.score_samples(X), rtol=1e-4)


def test_seeds_show_the_spread_of_a_density():
    scores = [
        SubspaceMixture(random_state=seed).fit(TABLES["iris"]).score(TABLES["wine"][:, :4])
        for seed in range(2)
    ]
    assert scores[0] != scores[1]
