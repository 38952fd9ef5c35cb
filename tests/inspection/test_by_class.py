import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import FunctionTransformer

from skvaeense.inspection import class_activity, dimension_by_scale, sparsity_pattern

CODES = np.array(
    [
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 2.0],
        [0.0, 1.0, -1.0, 0.0],
        [3.0, 0.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
)
Y = np.array(["b", "a", "b", "a", "a"])
DIMENSIONS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan], [9.0, 8.0]])


class Scales(BaseEstimator):
    """The samples are the dimensions at two scales."""

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def dimension_scale(self, X):
        return np.array([4, 16]), np.asarray(X)


def scales_of(dimensions, y=None):
    return dimension_by_scale(Scales().fit(dimensions), dimensions, y)


def activity_of(codes, y):
    return class_activity(FunctionTransformer(accept_sparse=True), codes, y)


def pattern_of(codes, y=None, **params):
    return sparsity_pattern(FunctionTransformer(accept_sparse=True), codes, y, **params)


def test_table_by_hand():
    activity = activity_of(CODES, Y)
    assert_array_equal(activity.classes, ["a", "b"])
    assert_array_equal(activity.n_samples, [3, 2])
    assert_allclose(activity.share, [[1 / 3, 0, 0, 2 / 3], [0, 1, 1 / 2, 0]])
    assert_allclose(activity.mean_active, [1, 3 / 2])
    assert_allclose(activity.std_active, [np.sqrt(2 / 3), 1 / 2])


def test_mutual_information_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=300)
    codes = rng.random((300, 20)) < rng.random((4, 20))[y]
    codes[:, 0], codes[:, 1], codes[:, 2] = True, False, y == 2
    information = activity_of(codes, y).mutual_information
    expected = [mutual_info_score(y, column) for column in codes.T]
    assert_allclose(information, expected, atol=1e-12)
    assert_array_equal(information[:2], 0)
    assert (information >= 0).all()


def test_a_latent_of_all_samples_says_nothing(subtests):
    for n_samples in (3, 10, 49):
        with subtests.test(n_samples=n_samples):
            codes = np.ones((n_samples, 1))
            assert activity_of(codes, np.arange(n_samples) % 3).mutual_information == 0


def test_active_is_what_the_estimator_says(subspaces, vaeense, sae):
    X, y = subspaces
    for estimator in (vaeense, sae):
        activity, active = class_activity(estimator, X, y), estimator.active_dimensions(X)
        for i, name in enumerate(["line", "plane"]):
            assert_array_equal(activity.share[i], active[y == name].mean(axis=0))
            assert activity.mean_active[i] == active[y == name].sum(axis=1).mean()


def test_kinds_of_codes(subtests):
    for convert in (sparse.csr_array, sparse.csc_matrix, lambda codes: codes != 0):
        with subtests.test(convert=convert):
            expected, activity = activity_of(CODES, Y), activity_of(convert(CODES), Y)
            for name in expected:
                assert_array_equal(activity[name], expected[name])
            expected, pattern = pattern_of(CODES, Y), pattern_of(convert(CODES), Y)
            assert_array_equal(pattern.sizes > 0, expected.sizes > 0)
            assert_array_equal(pattern.latents, expected.latents)


def test_bad_classes(subtests):
    for y, message in ((["a"], "inconsistent numbers"), (np.zeros((5, 2)), "1d array")):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            activity_of(CODES, y)
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            pattern_of(CODES, y)
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            scales_of(np.ones((5, 2)), y)


def test_latents_stand_with_the_class_that_uses_them_most():
    for result in (activity_of(CODES, Y), pattern_of(CODES, Y)):
        assert_array_equal(result.latents, [3, 0, 1, 2])
    assert_array_equal(activity_of(CODES * [1, 1, 0, 1], Y).latents, [3, 0, 1])


def test_a_latent_is_used_by_its_share_of_the_class_and_not_by_its_count():
    codes = np.repeat(np.eye(2), [6, 2], axis=0)
    codes[:3, 1] = 1.0
    result = pattern_of(codes, np.repeat(["large", "small"], [6, 2]))
    assert_array_equal(result.latents, [0, 1])
    assert activity_of(codes, np.repeat(["large", "small"], [6, 2])).share[1, 1] == 1


def test_pattern_by_hand():
    pattern = pattern_of(CODES, Y)
    assert pattern.class_names == ["a", "b"]
    assert_array_equal(pattern.n_rows, [3, 2])
    assert_array_equal(pattern.rows, [3, 1, 4, 2, 0])
    expected = [[1 / 2, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]
    assert_array_equal(pattern.sizes, expected)


def test_entries_of_a_mask_are_alike():
    assert set(pattern_of(CODES != 0, Y).sizes.ravel()) == {0.0, 1.0}


def test_same_patterns_are_neighbours():
    codes = np.random.default_rng(0).random((80, 4)) < 0.5
    pattern = pattern_of(codes)
    assert pattern.class_names == [""]
    changes = (pattern.sizes[1:] != pattern.sizes[:-1]).any(axis=1).sum()
    assert changes == len(np.unique(codes, axis=0)) - 1


def test_nothing_is_active():
    pattern = pattern_of(np.zeros((5, 4)), Y)
    assert pattern.sizes.shape == (5, 0)
    assert_array_equal(pattern.rows, [1, 3, 4, 0, 2])
    assert activity_of(np.zeros((5, 4)), Y).latents.shape == (0,)


def test_rows_are_thinned_out_alike(subtests):
    for n_classes in (2, 10):
        with subtests.test(n_classes=n_classes):
            random_state = np.random.default_rng(0)
            y = random_state.integers(n_classes, size=2000)
            pattern = pattern_of(random_state.random((2000, 64)) < 0.1, y, max_samples=200)
            shares = np.bincount(y) / len(y)
            assert 200 - n_classes <= len(pattern.sizes) <= 200
            assert np.abs(pattern.n_rows - 200 * shares).max() <= 1
            assert len(set(pattern.rows)) == len(pattern.rows) == pattern.n_rows.sum()
            assert_array_equal(y[pattern.rows], np.repeat(np.arange(n_classes), pattern.n_rows))


def test_sizes_are_of_the_largest_code_of_all_samples():
    pattern = pattern_of(np.arange(1.0, 11)[:, None], max_samples=3)
    assert_array_equal(pattern.sizes.ravel(), (pattern.rows + 1) / 10)


def test_pattern_of_an_estimator(subspaces, vaeense, sae):
    X, y = subspaces
    for estimator in (vaeense, sae):
        pattern, active = sparsity_pattern(estimator, X, y), estimator.active_dimensions(X)
        at = np.ix_(pattern.rows, pattern.latents)
        assert_array_equal(pattern.sizes > 0, active[at])
        codes = np.abs(estimator.transform(X) * active)
        assert_allclose(pattern.sizes, codes[at] / codes.max(axis=0)[pattern.latents])
        assert_array_equal(pattern.latents, class_activity(estimator, X, y).latents)


def test_estimator_without_codes():
    class Mask(BaseEstimator):
        def fit(self, X, y=None):
            self.is_fitted_ = True
            return self

        def active_dimensions(self, X):
            return np.asarray(X) != 0

    assert_array_equal(
        sparsity_pattern(Mask().fit(CODES), CODES, Y).sizes, pattern_of(CODES != 0, Y).sizes
    )


def test_bad_number_of_rows():
    with pytest.raises(ValueError, match="max_samples must be at least 1"):
        pattern_of(CODES, max_samples=0)


def test_quartiles_of_known_dimensions():
    result = scales_of(DIMENSIONS, ["a", "a", "a", "b"])
    assert_array_equal(result.n_neighbors, [4, 16])
    assert result.class_names == ["a", "b"]
    assert_allclose(result.quartiles[0], [[2.0, 2.5], [3.0, 3.0], [4.0, 3.5]])
    assert_allclose(result.quartiles[1], [[9.0, 8.0]] * 3)


def test_quartiles_of_an_estimator(subspaces, dimension_estimator):
    X, y = subspaces
    result = dimension_by_scale(dimension_estimator, X, y)
    n_neighbors, dimensions = dimension_estimator.dimension_scale(X)
    assert_array_equal(result.n_neighbors, n_neighbors)
    assert_allclose(result.quartiles[0, 1], np.nanmedian(dimensions[y == "line"], axis=0))
    (everything,) = dimension_by_scale(dimension_estimator, X).quartiles
    assert_allclose(everything, np.nanquantile(dimensions, [0.25, 0.5, 0.75], axis=0))


def test_classes_of_unknown_dimension_are_left_out():
    result = scales_of(DIMENSIONS[1:], ["a", "b", "c"])
    assert result.class_names == ["a", "c"]
    with pytest.raises(ValueError, match="all NaN"):
        scales_of(np.full((2, 2), np.nan))
