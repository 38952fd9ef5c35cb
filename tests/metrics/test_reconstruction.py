import re

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

METRICS = [cosine_similarity, l2_ratio, shrinkage]
OF_PAIRS = [fvu, explained_variance, squared_error, *METRICS]


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
    with pytest.raises(ValueError, match="The 'length' parameter of explained_variance_at"):
        explained_variance_at(0)


def test_searches_choose_by_codes_of_one_length():
    X, *_ = make_linear_subspaces(300, dims=(1, 3), n_features=8, random_state=0)
    search = GridSearchCV(
        PCA(), {"n_components": [1, 2, 5]}, scoring=explained_variance_at(2), n_jobs=1
    ).fit(X)
    assert search.best_params_ == {"n_components": 5}


def test_l2_ratio_by_hand():
    X = [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]
    X_reconstructed = [[0.0, 10.0], [1.0, 0.0], [0.0, 0.0]]
    assert l2_ratio(X, X_reconstructed) == pytest.approx((2.0 + 0.5 + 0.0) / 3)


def test_cosine_similarity_by_hand():
    X = [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [1.0, 1.0]]
    X_reconstructed = [[2.0, 2.0], [0.0, -1.0], [4.0, 3.0], [-1.0, 1.0]]
    expected = (np.sqrt(0.5) - 1.0 + 24 / 25 + 0.0) / 4
    assert cosine_similarity(X, X_reconstructed) == pytest.approx(expected)


def test_shrinkage_by_hand():
    # The sum of squares is 1 + 4 + 1 = 6 and the inner product 2 + 6 + 0 = 8.
    X, X_reconstructed = [[2.0, 5.0], [3.0, 0.0]], [[1.0, 0.0], [2.0, 1.0]]
    assert shrinkage(X, X_reconstructed) == pytest.approx(1 - 6 / 8)


def test_scaled_copies_of_the_data(centred, subtests):
    for factor in (0.3, 1.0, 2.0):
        with subtests.test(factor=factor):
            X, _ = centred
            assert l2_ratio(X, factor * X) == pytest.approx(factor)
            assert shrinkage(X, factor * X) == pytest.approx(1 - factor)
            assert cosine_similarity(X, factor * X) == pytest.approx(1.0)
            assert cosine_similarity(X, -factor * X) == pytest.approx(-1.0)


def test_cosine_similarity_stays_within_its_range():
    # Without clipping, rounding takes some of these values above 1.
    for seed in range(20):
        X = np.random.default_rng(seed).normal(size=(1, 7))
        assert 1.0 - 1e-15 <= cosine_similarity(X, 3 * X) <= 1.0
        assert -1.0 <= cosine_similarity(X, -3 * X) <= -1.0 + 1e-15


def test_shrinkage_gives_the_best_scale(centred, subtests):
    for factor in (0.5, 3.0):
        with subtests.test(factor=factor):
            X, X_reconstructed = centred[0], factor * centred[1]
            gamma = 1 - shrinkage(X, X_reconstructed)
            best = squared_error(X, X_reconstructed / gamma)
            for other in (0.5, 0.999, 1.001, 2.0):
                assert squared_error(X, X_reconstructed / (other * gamma)) > best
            mean_square = np.sum(X_reconstructed**2) / len(X)
            mean_inner = np.sum(X_reconstructed * X) / len(X)
            gain = squared_error(X, X_reconstructed) - best
            assert gain == pytest.approx((mean_square - mean_inner) ** 2 / mean_square)
            assert shrinkage(X, X_reconstructed / gamma) == pytest.approx(0.0)


def test_projections_are_short_but_not_shrunk(centred, subtests):
    for offset in (0.0, 10.0):
        with subtests.test(offset=offset):
            X = centred[0] + offset
            pca = PCA(n_components=2).fit(X)
            X_reconstructed = pca.inverse_transform(pca.transform(X))
            assert shrinkage(X, X_reconstructed) == pytest.approx(0.0)
            mean = X.mean(axis=0)
            assert shrinkage(X - mean, X_reconstructed - mean) == pytest.approx(0.0)
            assert l2_ratio(X - mean, X_reconstructed - mean) < 0.9


def test_a_large_mean_hides_what_centring_shows(centred):
    X = centred[0] + 1000
    mean = X.mean(axis=0)
    X_reconstructed = mean + 0.5 * (X - mean)
    assert l2_ratio(X, X_reconstructed) == pytest.approx(1.0, abs=1e-3)
    assert shrinkage(X, X_reconstructed) == pytest.approx(0.0, abs=1e-3)
    assert l2_ratio(X - mean, X_reconstructed - mean) == pytest.approx(0.5)
    assert shrinkage(X - mean, X_reconstructed - mean) == pytest.approx(0.5)


def test_shrinkage_allows_samples_of_zero():
    # The first sample adds 4 to both sums. The second adds 1 to the squares of reconstructions.
    X, X_reconstructed = [[2.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]
    assert shrinkage(X, X_reconstructed) == pytest.approx(-0.25)


def test_weights_of_samples(centred):
    """Ratios and cosines do not depend on the length of a sample, and a squared error does."""
    X, X_reconstructed = centred
    factors = np.linspace(0.1, 10, len(X))[:, np.newaxis]
    longer = factors * X, factors * X_reconstructed
    assert cosine_similarity(*longer) == pytest.approx(cosine_similarity(*centred))
    assert l2_ratio(*longer) == pytest.approx(l2_ratio(*centred))
    assert shrinkage(*longer) != pytest.approx(shrinkage(*centred))
    # The cosine also does not depend on the length of reconstructions alone.
    assert cosine_similarity(X, factors * X_reconstructed) == pytest.approx(
        cosine_similarity(*centred)
    )


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


def test_samples_of_zero_are_an_error(subtests):
    for metric in (cosine_similarity, l2_ratio):
        with subtests.test(metric=metric):
            X = [[1.0, 2.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
            told = r"^X has norm 0 in 2 of its 4 row\(s\): \w.* drop these samples from both arrays"
            with pytest.raises(ValueError, match=told):
                metric(X, np.ones((4, 2)))


def test_shrinkage_needs_reconstructions_along_the_data(subtests):
    for X_reconstructed, mean in (
        (np.zeros((2, 3)), "0"),
        ([[0, 1, 0], [1, 0, 0]], "0"),
        (-np.eye(2, 3), "-1"),
    ):
        with subtests.test(X_reconstructed=X_reconstructed, mean=mean):
            told = (
                "The mean inner product of X and X_reconstructed must be positive for shrinkage, "
                f"got {mean}: check that rows match and that reconstructions are not all 0, or use "
                "squared_error."
            )
            with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
                shrinkage(np.eye(2, 3), X_reconstructed)


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
