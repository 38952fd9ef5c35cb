import re

import numpy as np
import pytest
from helpers import each_once
from sklearn.decomposition import PCA

from skvaeense.metrics import cosine_similarity, l2_ratio, shrinkage, squared_error

METRICS = [cosine_similarity, l2_ratio, shrinkage]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6)) * [1, 2, 3, 4, 5, 6]
    return X, 0.7 * X + rng.normal(size=X.shape)


@pytest.fixture
def rotation():
    return np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]


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


def test_scaled_copies_of_the_data(pair, subtests):
    for factor in (0.3, 1.0, 2.0):
        with subtests.test(factor=factor):
            X, _ = pair
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


def test_shrinkage_gives_the_best_scale(pair, subtests):
    for factor in (0.5, 3.0):
        with subtests.test(factor=factor):
            X, X_reconstructed = pair[0], factor * pair[1]
            gamma = 1 - shrinkage(X, X_reconstructed)
            best = squared_error(X, X_reconstructed / gamma)
            for other in (0.5, 0.999, 1.001, 2.0):
                assert squared_error(X, X_reconstructed / (other * gamma)) > best
            mean_square = np.sum(X_reconstructed**2) / len(X)
            mean_inner = np.sum(X_reconstructed * X) / len(X)
            gain = squared_error(X, X_reconstructed) - best
            assert gain == pytest.approx((mean_square - mean_inner) ** 2 / mean_square)
            assert shrinkage(X, X_reconstructed / gamma) == pytest.approx(0.0)


def test_projections_are_short_but_not_shrunk(pair, subtests):
    for offset in (0.0, 10.0):
        with subtests.test(offset=offset):
            X = pair[0] + offset
            pca = PCA(n_components=2).fit(X)
            X_reconstructed = pca.inverse_transform(pca.transform(X))
            assert shrinkage(X, X_reconstructed) == pytest.approx(0.0)
            mean = X.mean(axis=0)
            assert shrinkage(X - mean, X_reconstructed - mean) == pytest.approx(0.0)
            assert l2_ratio(X - mean, X_reconstructed - mean) < 0.9


def test_a_large_mean_hides_what_centring_shows(pair):
    X = pair[0] + 1000
    mean = X.mean(axis=0)
    X_reconstructed = mean + 0.5 * (X - mean)
    assert l2_ratio(X, X_reconstructed) == pytest.approx(1.0, abs=1e-3)
    assert shrinkage(X, X_reconstructed) == pytest.approx(0.0, abs=1e-3)
    assert l2_ratio(X - mean, X_reconstructed - mean) == pytest.approx(0.5)
    assert shrinkage(X - mean, X_reconstructed - mean) == pytest.approx(0.5)


def test_reconstructions_of_zero():
    X = [[3.0, 4.0], [0.0, 2.0]]
    X_reconstructed = [[3.0, 4.0], [0.0, 0.0]]
    assert cosine_similarity(X, X_reconstructed) == pytest.approx(0.5)
    assert cosine_similarity(X, np.zeros((2, 2))) == 0.0
    assert l2_ratio(X, X_reconstructed) == pytest.approx(0.5)
    assert l2_ratio(X, np.zeros((2, 2))) == 0.0
    assert shrinkage(X, X_reconstructed) == pytest.approx(0.0)


def test_shrinkage_allows_samples_of_zero():
    # The first sample adds 4 to both sums. The second adds 1 to the squares of reconstructions.
    X, X_reconstructed = [[2.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]
    assert shrinkage(X, X_reconstructed) == pytest.approx(-0.25)


def test_invariances(pair, rotation, subtests):
    for metric in METRICS:
        with subtests.test(metric=metric):
            X, X_reconstructed = pair
            value = metric(X, X_reconstructed)
            order = np.random.default_rng(2).permutation(len(X))
            assert metric(1e-20 * X, 1e-20 * X_reconstructed) == pytest.approx(value)
            assert metric(-1e20 * X, -1e20 * X_reconstructed) == pytest.approx(value)
            assert metric(X @ rotation, X_reconstructed @ rotation) == pytest.approx(value)
            assert metric(X[order], X_reconstructed[order]) == pytest.approx(value)
            assert metric(X, X_reconstructed[order]) != pytest.approx(value)


def test_weights_of_samples(pair):
    """Ratios and cosines do not depend on the length of a sample, and a squared error does."""
    X, X_reconstructed = pair
    factors = np.linspace(0.1, 10, len(X))[:, np.newaxis]
    longer = factors * X, factors * X_reconstructed
    assert cosine_similarity(*longer) == pytest.approx(cosine_similarity(*pair))
    assert l2_ratio(*longer) == pytest.approx(l2_ratio(*pair))
    assert shrinkage(*longer) != pytest.approx(shrinkage(*pair))
    # The cosine also does not depend on the length of reconstructions alone.
    assert cosine_similarity(X, factors * X_reconstructed) == pytest.approx(
        cosine_similarity(*pair)
    )


def test_float32_is_summed_in_float64(pair, subtests):
    for metric in METRICS:
        with subtests.test(metric=metric):
            X, X_reconstructed = (values.astype(np.float32) + np.float32(1000) for values in pair)
            expected = metric(X.astype(np.float64), X_reconstructed.astype(np.float64))
            assert metric(X, X_reconstructed) == expected


def test_lists_are_taken_and_python_floats_returned(pair, subtests):
    for metric in METRICS:
        with subtests.test(metric=metric):
            X, X_reconstructed = pair
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
    (np.eye(3), np.ones((3, 2)), r"same shape, got \(3, 3\) and \(3, 2\)"),
    (np.eye(3), np.ones((1, 3)), "must have the same shape"),
    (np.eye(3), np.full((3, 3), np.nan), "Input X_reconstructed contains NaN"),
    (np.full((3, 3), np.inf), np.eye(3), "Input X contains infinity"),
    (np.zeros((0, 3)), np.zeros((0, 3)), "0 sample"),
    ([1.0, 2.0], [1.0, 2.0], "Expected 2D array"),
]


def test_bad_arrays(subtests):
    for metric, bad in each_once(METRICS, BAD):
        with subtests.test(metric=metric):
            X, X_reconstructed, match = bad
            with pytest.raises(ValueError, match=match):
                metric(X, X_reconstructed)
