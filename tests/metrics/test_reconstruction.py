import numpy as np
import pytest
from helpers import each_once
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from skvaeense.datasets import make_linear_subspaces
from skvaeense.metrics import (
    explained_variance,
    explained_variance_at,
    fvu,
    mean_max_cosine_similarity,
)

OF_PAIRS = [fvu, explained_variance]


@pytest.fixture
def centred():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6)) * [1, 2, 3, 4, 5, 6]
    return X, 0.7 * X + rng.normal(size=X.shape)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    X = rng.normal(loc=5.0, size=(40, 6)) * [1, 2, 3, 4, 5, 6]
    return X, X + rng.normal(size=X.shape)


def test_fvu_is_one_minus_variance_weighted_r2(pair):
    expected = r2_score(*pair, multioutput="variance_weighted")
    assert fvu(*pair) == pytest.approx(1 - expected)
    assert explained_variance(*pair) == pytest.approx(expected)


def test_fvu_of_simple_reconstructions(pair):
    X, _ = pair
    mean = np.broadcast_to(X.mean(axis=0), X.shape)
    assert fvu(X, X) == 0.0
    assert fvu(X, mean) == pytest.approx(1.0)
    assert explained_variance(X, X) == 1.0
    assert explained_variance(X, mean) == pytest.approx(0.0)
    assert explained_variance(X, mean + 100) < 0


def test_explained_variance_agrees_with_pca(pair):
    X, _ = pair
    pca = PCA(n_components=2).fit(X)
    X_reconstructed = pca.inverse_transform(pca.transform(X))
    assert explained_variance(X, X_reconstructed) == pytest.approx(
        pca.explained_variance_ratio_.sum()
    )


def test_errors_in_constant_features_count():
    X = np.array([[0.0, 1.0], [2.0, 1.0]])
    X_reconstructed = np.array([[0.0, 2.0], [2.0, 1.0]])
    assert fvu(X, X_reconstructed) == 0.5


def test_constant_data_has_no_variance_to_explain(subtests):
    for metric, X in (
        (fvu, np.full((7, 3), 0.1)),
        (explained_variance, [[1.0, 2.0]]),
        (fvu, [[0.1, 0.7]] * 6),
    ):
        with subtests.test(metric=metric, X=X):
            message = rf"constant over its {len(X)} sample\(s\), .*: give samples that differ"
            with pytest.raises(ValueError, match=message):
                metric(X, X)


@pytest.mark.parametrize("scale", [1e-305, 1e-200, 1e200, 1e306])
@pytest.mark.parametrize(
    "metric",
    [
        fvu,
        explained_variance,
        mean_max_cosine_similarity,
    ],
)
def test_metrics_without_a_unit_do_not_depend_on_the_scale(pair, metric, scale):
    """Squares of values such as 1e200 are out of range."""
    X, X_reconstructed = pair
    assert metric(scale * X, scale * X_reconstructed) == pytest.approx(metric(*pair))


def test_reconstructions_of_another_scale(pair):
    X, X_reconstructed = pair
    assert fvu(1e-200 * X, X_reconstructed) == np.inf


def test_codes_are_compared_at_one_length():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)) * [5, 4, 3, 2, 1]
    pca = PCA().fit(X)
    whole = explained_variance_at(5)(pca, X)
    assert whole == pytest.approx(1)
    shares = [explained_variance_at(length)(pca, X) for length in (1, 2, 3)]
    assert shares == sorted(shares)
    # The largest entries of each sample explain more than the first entries.
    codes = pca.transform(X)
    codes[:, 1:] = 0
    assert shares[0] > explained_variance(X, pca.inverse_transform(codes))
    with pytest.raises(ValueError, match="The 'length' parameter of explained_variance_at"):
        explained_variance_at(0)


def test_searches_choose_by_codes_of_one_length():
    X, *_ = make_linear_subspaces(300, dims=(1, 3), n_features=8, random_state=0)
    search = GridSearchCV(
        PCA(), {"n_components": [1, 2, 5]}, scoring=explained_variance_at(2), n_jobs=1
    ).fit(X)
    assert search.best_params_ == {"n_components": 5}


def test_float32_is_summed_in_float64(centred, subtests):
    for metric in OF_PAIRS:
        with subtests.test(metric=metric):
            X, X_reconstructed = (
                values.astype(np.float32) + np.float32(1000) for values in centred
            )
            expected = metric(X.astype(np.float64), X_reconstructed.astype(np.float64))
            assert metric(X, X_reconstructed) == expected


def test_lists_are_taken_and_python_floats_returned(centred, subtests):
    for metric in OF_PAIRS:
        with subtests.test(metric=metric):
            X, X_reconstructed = centred
            expected = metric(X, X_reconstructed)
            assert type(expected) is float
            assert metric(X.tolist(), np.asfortranarray(X_reconstructed)) == pytest.approx(expected)
            assert metric(np.asfortranarray(X), X_reconstructed.tolist()) == pytest.approx(expected)


BAD = [
    (np.eye(3), np.ones((3, 2)), r"same shape, \(3, 3\) != \(3, 2\)"),
    (np.eye(3), np.ones((1, 3)), "must have the same shape"),
    (np.eye(3), np.full((3, 3), np.nan), "Input X_reconstructed contains NaN"),
    (np.full((3, 3), np.inf), np.eye(3), "Input X contains infinity"),
    (np.zeros((0, 3)), np.zeros((0, 3)), "0 sample"),
    ([1.0, 2.0], [1.0, 2.0], "Expected 2D array"),
]


def test_bad_arrays(subtests):
    for metric, bad in each_once(OF_PAIRS, BAD):
        with subtests.test(metric=metric):
            X, X_reconstructed, match = bad
            with pytest.raises(ValueError, match=match):
                metric(X, X_reconstructed)
