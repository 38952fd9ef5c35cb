import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import FunctionTransformer

from skvaeense.inspection import class_activity, sparsity_pattern

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


def activity_of(codes, y):
    return class_activity(FunctionTransformer(accept_sparse=True), codes, y)


def pattern_of(codes, y=None):
    return sparsity_pattern(FunctionTransformer(accept_sparse=True), codes, y)


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


def test_latents_stand_with_the_class_that_uses_them_most():
    for result in (activity_of(CODES, Y), pattern_of(CODES, Y)):
        assert_array_equal(result.latents, [3, 0, 1, 2])
    assert_array_equal(activity_of(CODES * [1, 1, 0, 1], Y).latents, [3, 0, 1])
    # By its share of the class, not by its count.
    codes, y = np.repeat(np.eye(2), [6, 2], axis=0), np.repeat(["large", "small"], [6, 2])
    codes[:3, 1] = 1.0
    assert_array_equal(pattern_of(codes, y).latents, [0, 1])


def test_pattern_by_hand():
    pattern = pattern_of(CODES, Y)
    assert_array_equal(pattern.rows, [3, 1, 4, 2, 0])
    expected = [[1 / 2, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]
    assert_array_equal(pattern.sizes, expected)


def test_same_patterns_are_neighbours():
    codes = np.random.default_rng(0).random((80, 4)) < 0.5
    pattern = pattern_of(codes)
    changes = (pattern.sizes[1:] != pattern.sizes[:-1]).any(axis=1).sum()
    assert changes == len(np.unique(codes, axis=0)) - 1


def test_nothing_is_active():
    pattern = pattern_of(np.zeros((5, 4)), Y)
    assert pattern.sizes.shape == (5, 0)
    assert_array_equal(pattern.rows, [1, 3, 4, 0, 2])
    assert activity_of(np.zeros((5, 4)), Y).latents.shape == (0,)


def test_pattern_of_an_estimator(subspaces, vaeense, sae):
    X, y = subspaces
    for estimator in (vaeense, sae):
        pattern, active = sparsity_pattern(estimator, X, y), estimator.active_dimensions(X)
        at = np.ix_(pattern.rows, pattern.latents)
        assert_array_equal(pattern.sizes > 0, active[at])
        codes = np.abs(estimator.transform(X) * active)
        assert_allclose(pattern.sizes, codes[at] / codes.max(axis=0)[pattern.latents])
        activity = class_activity(estimator, X, y)
        assert_array_equal(pattern.latents, activity.latents)
        for i, name in enumerate(["line", "plane"]):
            assert_array_equal(activity.share[i], active[y == name].mean(axis=0))
            assert activity.mean_active[i] == active[y == name].sum(axis=1).mean()


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
