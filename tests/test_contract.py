"""What every estimator keeps to, whichever way samples come in."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEase,
    VAEenseTransformer,
)
from skvaeense.datasets import make_linear_subspaces
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture

FAR = "far from all others"


def make_all():
    """Return new estimators by name: all five, and the ways that one of them has."""
    return {
        "default": VAEenseTransformer(random_state=0),
        "gates": VAEenseTransformer(model="gates", random_state=0),
        "length": VAEenseTransformer(target_l0=1.5, random_state=0),
        "share": VAEenseTransformer(target_explained_variance=0.9, random_state=0),
        "width": VAEenseTransformer(4, random_state=0),
        "vaease": VAEenseTransformer(4, model=VAEase(n_init=1, max_iter=60), random_state=0),
        "dictionary": GateDictionary(random_state=0),
        "dictionary length": GateDictionary(target_l0=1.5, random_state=0),
        "subspaces": SubspaceMixture(random_state=0),
        "dimension": IntrinsicDimensionEstimator(random_state=0),
        "autoencoder": SparseAutoencoder(max_iter=20, random_state=0),
    }


# One way of each estimator, and the model of the paper.
CORE = ["default", "length", "vaease", "dictionary", "subspaces", "dimension", "autoencoder"]
LEARN_BY_BATCHES = [name for name in CORE if hasattr(make_all()[name], "partial_fit")]
WAYS = [(name, "fit") for name in CORE] + [(name, "partial_fit") for name in LEARN_BY_BATCHES]


@pytest.fixture(scope="module", name="X")
def planes():
    return make_linear_subspaces(160, dims=(1, 2), n_features=6, noise=0.05, random_state=0)[0]


def learned(name, way, *batches):
    """Return an estimator that has learned from batches, and the messages of its warnings."""
    estimator = make_all()[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for batch in batches:
            getattr(estimator, way)(batch)
    return estimator, " ".join(str(warning.message) for warning in caught)


def answers(estimator, X):
    """Return what an estimator says of each sample."""
    if hasattr(estimator, "score_samples"):
        return estimator.score_samples(X)
    return estimator.predict(X)


@pytest.mark.parametrize(("name", "way"), WAYS)
@pytest.mark.parametrize("distance", [1e2, 1e100])
def test_a_far_row_is_named_and_leaves_the_answers_for_others_finite(name, way, distance, X):
    far = distance * np.abs(X).max() * np.ones((1, X.shape[1]))
    estimator, messages = learned(name, way, np.vstack([X, far]))
    assert FAR in messages
    assert f"rows {len(X)}." in messages
    assert np.isfinite(answers(estimator, X)).all()


@pytest.mark.parametrize("name", ["default", "vaease", "subspaces", "dimension", "autoencoder"])
def test_a_far_row_hardly_moves_the_answers_for_others(name, X):
    usual, _ = learned(name, "fit", X)
    moved, _ = learned(
        name, "fit", np.vstack([X, 1e3 * np.abs(X).max() * np.ones((1, X.shape[1]))])
    )
    assert abs(np.mean(answers(moved, X) - answers(usual, X))) < 0.05


@pytest.mark.parametrize("name", LEARN_BY_BATCHES)
def test_a_far_row_of_a_later_batch_changes_nothing(name, X):
    far = 1e6 * np.ones((1, X.shape[1]))
    usual, _ = learned(name, "partial_fit", X, X[:80])
    moved, messages = learned(name, "partial_fit", X, np.vstack([X[:80], far]))
    assert FAR in messages
    assert_allclose(answers(moved, X), answers(usual, X), rtol=1e-4, atol=1e-4)


def test_the_share_of_the_variance_of_far_rows_has_no_cliff():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 5))
    scores = []
    # A cluster of 54 rows whose share of the variance goes from 40 to 60 %.
    for distance in np.linspace(7.5, 11, 6):
        Y = np.vstack([X[54:], X[:54] + distance * np.ones(5) / 5**0.5])
        scores.append(SubspaceMixture(random_state=0).fit(Y).score(X[54:]))
    assert np.abs(np.diff(scores)).max() < 0.05


@pytest.mark.parametrize("name", CORE)
@pytest.mark.parametrize("unit", [1e-300, 1e-100, 1e100, 1e160])
def test_any_unit_gives_finite_answers_or_says_what_to_do(name, unit, X):
    estimator = make_all()[name]
    if 1e-150 < unit < 1e150:
        estimator.fit(unit * X)
        assert np.isfinite(answers(estimator, unit * X)).all()
    else:
        with pytest.raises(ValueError, match="Multiply X by a constant first"):
            estimator.fit(unit * X)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CORE)
@pytest.mark.parametrize("kind", ["one-hot", "constant", "constant column", "few distinct", "five"])
def test_degenerate_samples_are_fitted(name, kind, X):
    rng = np.random.default_rng(0)
    rows = {
        "one-hot": np.eye(4)[rng.integers(0, 4, 100)],
        "constant": np.ones((30, 4)),
        "constant column": np.column_stack([np.ones(len(X)), X]),
        "few distinct": X[rng.integers(0, 15, 100)],
        "five": X[:5],
    }[kind]
    estimator = make_all()[name].fit(rows)
    assert np.isfinite(answers(estimator, rows)).all()


@pytest.mark.parametrize("name", ["default", "subspaces", "dimension"])
def test_constant_columns_may_have_holes(name, X):
    rows = np.column_stack([np.ones(len(X)), X])
    rows[::7, 0] = np.nan
    assert np.isfinite(answers(make_all()[name].fit(rows), rows)).all()


@pytest.mark.parametrize("name", ["length", "dictionary length"])
def test_a_length_beyond_the_number_of_features_is_refused(name, X):
    with pytest.raises(ValueError, match="target_l0=50 must be at most the number of features, 6"):
        make_all()[name].set_params(target_l0=50).fit(X)


@pytest.mark.parametrize("name", ["default", "length", "share", "dictionary", "subspaces"])
def test_jitter_of_copies_changes_nothing(name, X):
    rng = np.random.default_rng(0)
    copies = np.vstack([X, X[::3]])
    jittered = copies + 1e-13 * rng.standard_normal(copies.shape)
    usual, moved = (make_all()[name].fit(rows) for rows in (copies, jittered))
    assert_allclose(answers(moved, X), answers(usual, X), atol=1e-6)


@pytest.mark.parametrize("name", ["default", "gates", "length", "share"])
def test_a_fit_that_goes_on_stays_where_it_is(name, X):
    estimator = make_all()[name].set_params(warm_start=True).fit(X)
    before = estimator.score(X)
    assert abs(estimator.fit(X).score(X) - before) < 0.1


@pytest.mark.parametrize("name", ["default", "gates", "length", "dictionary", "subspaces"])
def test_single_precision_gives_the_same_answers(name, X):
    # As a table with a column of whole numbers, whose step is found in either precision.
    rows = np.column_stack([X, np.arange(len(X)) % 5]).astype(np.float32)
    single = make_all()[name].fit(rows)
    double = make_all()[name].fit(rows.astype(np.float64))
    assert_allclose(answers(single, rows), answers(double, rows), atol=0.05)
