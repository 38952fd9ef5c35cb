import numpy as np
import pytest
from helpers import each_once
from sklearn.decomposition import PCA
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import GridSearchCV

from skvaeense.datasets import make_linear_subspaces
from skvaeense.metrics import (
    cosine_similarity,
    explained_variance,
    explained_variance_at,
    fvu,
    l2_ratio,
    mean_max_cosine_similarity,
    shrinkage,
    squared_error,
)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    X = rng.normal(loc=5.0, size=(40, 6)) * [1, 2, 3, 4, 5, 6]
    return X, X + rng.normal(size=X.shape)


def test_fvu_is_one_minus_variance_weighted_r2(pair):
    expected = r2_score(*pair, multioutput="variance_weighted")
    assert fvu(*pair) == pytest.approx(1 - expected)
    assert explained_variance(*pair) == pytest.approx(expected)


def test_squared_error_is_summed_over_features(pair):
    assert squared_error(*pair) == pytest.approx(6 * mean_squared_error(*pair))


def test_fvu_of_simple_reconstructions(pair):
    X, _ = pair
    mean = np.broadcast_to(X.mean(axis=0), X.shape)
    assert fvu(X, X) == 0.0
    assert fvu(X, mean) == pytest.approx(1.0)
    assert explained_variance(X, X) == 1.0
    assert explained_variance(X, mean) == pytest.approx(0.0)
    assert explained_variance(X, mean + 100) < 0
    assert squared_error(X, X) == 0.0


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


def test_float32_is_summed_in_float64():
    X = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32) + np.float32(1000)
    X_reconstructed = X + np.float32(0.5)
    expected = fvu(X.astype(np.float64), X_reconstructed.astype(np.float64))
    assert fvu(X, X_reconstructed) == expected


def test_python_floats_are_returned(pair):
    assert {type(metric(*pair)) for metric in (fvu, explained_variance, squared_error)} == {float}


def test_constant_data_has_no_variance_to_explain(subtests):
    for metric, X in (
        (fvu, np.full((7, 3), 0.1)),
        (explained_variance, [[1.0, 2.0]]),
        (fvu, [[0.1, 0.7]] * 6),
    ):
        with subtests.test(metric=metric, X=X):
            message = (
                rf"constant over its {len(X)} sample\(s\), .*: give samples that differ, or use "
            )
            with pytest.raises(ValueError, match=message):
                metric(X, X)


BAD = [
    (np.eye(3), np.ones((3, 2)), r"same shape, got \(3, 3\) and \(3, 2\)"),
    (np.eye(3), np.ones((1, 3)), "must have the same shape"),
    (np.eye(3), np.full((3, 3), np.nan), "Input X_reconstructed contains NaN"),
    (np.full((3, 3), np.nan), np.eye(3), "Input X contains NaN"),
    ([1.0, 2.0], [1.0, 2.0], "Expected 2D array"),
]


def test_bad_arrays(subtests):
    for metric, bad in each_once([fvu, explained_variance, squared_error], BAD):
        with subtests.test(metric=metric):
            X, X_reconstructed, match = bad
            with pytest.raises(ValueError, match=match):
                metric(X, X_reconstructed)


@pytest.mark.parametrize("scale", [1e-305, 1e-200, 1e200, 1e306])
@pytest.mark.parametrize(
    "metric",
    [
        fvu,
        explained_variance,
        l2_ratio,
        cosine_similarity,
        shrinkage,
        mean_max_cosine_similarity,
    ],
)
def test_metrics_without_a_unit_do_not_depend_on_the_scale(pair, metric, scale):
    """Squares of values such as 1e200 are out of range."""
    X, X_reconstructed = pair
    assert metric(scale * X, scale * X_reconstructed) == pytest.approx(metric(*pair))


def test_reconstructions_of_another_scale(pair):
    X, X_reconstructed = pair
    assert l2_ratio(X, 1e200 * X) == pytest.approx(1e200)
    assert cosine_similarity(1e-200 * X, 1e200 * X) == pytest.approx(1.0)
    assert shrinkage(1e200 * X, 1e-100 * X) == pytest.approx(1.0)
    assert fvu(1e-200 * X, X_reconstructed) == np.inf
    with pytest.raises(ValueError, match=r"must be positive for shrinkage, got -[0-9.]+e"):
        shrinkage(1e100 * X, -X)


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
    with pytest.raises(ValueError, match="length must be a number above 0"):
        explained_variance_at(0)


def test_searches_choose_by_codes_of_one_length():
    X, *_ = make_linear_subspaces(300, dims=(1, 3), n_features=8, random_state=0)
    search = GridSearchCV(
        PCA(), {"n_components": [1, 2, 5]}, scoring=explained_variance_at(2), n_jobs=1
    ).fit(X)
    assert search.best_params_ == {"n_components": 5}
