import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from skvaeense.inspection import SparsityPatternDisplay

CODES = np.array(
    [
        [0, 1, 0, 0, 0],
        [0, 0, 0, 0, 2],
        [0, 1, -1, 0, 0],
        [0, 0, 0, 0, 1],
        [3, 0, 0, 0, 1],
    ]
)
Y = np.array([7, 5, 7, 5, 5])


def test_latents_stand_with_the_group_that_uses_them_most():
    display = SparsityPatternDisplay.from_codes(CODES, Y)
    assert_array_equal(display.latents, [4, 0, 1, 2])
    assert display.group_names == ["5", "7"]
    assert display.group_sizes == [3, 2]
    assert_array_equal(display.pattern, CODES[display.rows][:, display.latents] != 0)
    assert_array_equal(np.sort(display.rows[:3]), [1, 3, 4])


def test_larger_codes_are_darker():
    display = SparsityPatternDisplay.from_codes(CODES, Y)
    drawn = display.image_.get_array()
    assert_array_equal(drawn.mask, ~display.pattern)
    largest = np.abs(CODES).max(axis=0)
    expected = np.abs(CODES) / np.where(largest, largest, 1)
    assert_array_equal(drawn.filled(0), expected[display.rows][:, display.latents])
    alike = SparsityPatternDisplay.from_codes(CODES != 0, Y)
    assert_array_equal(alike.image_.get_array().filled(0), alike.pattern)


def test_a_dense_code_is_no_solid_rectangle():
    X = np.random.default_rng(0).standard_normal((50, 4))
    display = SparsityPatternDisplay.from_estimator(PCA(2).fit(X), X)
    assert display.pattern.all()
    assert display.image_.get_array().std() > 0.1


def test_groups_have_boundaries_and_names():
    display = SparsityPatternDisplay.from_codes(CODES, Y)
    (boundary,) = display.boundaries_
    assert_array_equal(boundary.get_ydata(), [2.5, 2.5])
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["5", "7"]
    assert_array_equal(display.ax_.get_yticks(), [1.0, 3.5])


def test_same_patterns_are_neighbours():
    pattern = SparsityPatternDisplay.from_codes(CODES).pattern
    changes = (pattern[1:] != pattern[:-1]).any(axis=1).sum()
    assert changes == len(np.unique(CODES != 0, axis=0)) - 1


def test_unused_latents_are_shown_on_demand():
    display = SparsityPatternDisplay.from_codes(CODES, Y, unused=True)
    assert_array_equal(display.latents, [4, 0, 1, 2, 3])
    assert "(5)" in display.ax_.get_xlabel()
    assert "(4 of 5)" in SparsityPatternDisplay.from_codes(CODES, Y).ax_.get_xlabel()


def test_kinds_of_codes(subtests):
    for convert in (sparse.csr_array, sparse.csc_matrix, lambda codes: codes != 0):
        with subtests.test(convert=convert):
            expected = SparsityPatternDisplay.from_codes(CODES, Y)
            display = SparsityPatternDisplay.from_codes(convert(CODES), Y)
            assert_array_equal(display.pattern, expected.pattern)
            assert_array_equal(display.latents, expected.latents)


def test_rows_are_thinned_out_alike(subtests):
    for n_classes in (2, 10):
        with subtests.test(n_classes=n_classes):
            random_state = np.random.default_rng(0)
            y = random_state.integers(n_classes, size=2000)
            display = SparsityPatternDisplay.from_codes(
                random_state.random((2000, 64)) < 0.1, y, max_samples=200
            )
            shares = np.bincount(y) / len(y)
            assert 200 - n_classes <= len(display.pattern) <= 200
            assert np.abs(display.group_sizes - 200 * shares).max() <= 1
            assert len(set(display.rows)) == len(display.rows)
            assert f"({len(display.rows)} of 2000)" in display.ax_.get_ylabel()


def test_active_latents_of_an_estimator(subspaces, vaeense, sae):
    X, y = subspaces
    for estimator in (vaeense, sae):
        display = SparsityPatternDisplay.from_estimator(estimator, X, y)
        active = estimator.active_dimensions(X)
        assert_array_equal(display.pattern, active[display.rows][:, display.latents])
        assert display.group_names == ["line", "plane"]


def test_codes_of_a_foreign_estimator_count_where_not_zero():
    estimator = FunctionTransformer().fit(CODES)
    display = SparsityPatternDisplay.from_estimator(estimator, CODES, Y)
    assert_array_equal(display.latents, [4, 0, 1, 2])


def test_bad_input(subtests):
    for codes, params, message in (
        (np.zeros((2, 2)), {}, "unused=True"),
        (CODES, {"max_samples": 0}, "max_samples must be at least 1"),
        (CODES, {"y": [1, 2]}, "inconsistent numbers"),
        (CODES[0], {}, "Expected 2D array"),
        (np.full((2, 2), np.nan), {}, "NaN"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            SparsityPatternDisplay.from_codes(codes, **params)
