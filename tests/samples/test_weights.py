"""Weights of rows: distinct rows, and the number of copies of each row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.samples import _weights
from skvaeense.samples._weights import checked_weights, distinct_rows, drawn, n_draws


def rows_and_weights(n=300, *, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    # Integers, whose last bits are all 0.
    return rng.integers(-3, 4, (n, 12)).astype(dtype), rng.integers(0, 5, n).astype(float)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_as_good_as_copies_in_any_order(dtype):
    X, weights = rows_and_weights(dtype=dtype)
    order = np.random.default_rng(1).permutation(len(X))
    copies = distinct_rows(X.repeat(weights.astype(int), axis=0))
    found = distinct_rows(X[order], 3 * weights[order])
    assert_array_equal(found.X, copies.X)
    assert_array_equal(found.weights, copies.weights)
    assert_array_equal(found.places == -1, weights[order] == 0)
    assert_array_equal(found.X[found.places][weights[order] > 0], X[order][weights[order] > 0])


def test_rows_that_all_differ_stay_as_they_are():
    X = np.random.default_rng(0).standard_normal((50, 3))
    for weights in (None, np.full(50, 2.5)):
        found = distinct_rows(X, weights)
        assert found.X is X
        assert found.weights is None
        assert found.places == slice(None)


def test_equal_numbers_of_copies_leave_the_order():
    X = np.random.default_rng(0).standard_normal((50, 3))
    found = distinct_rows(np.concatenate([X, X]))
    assert_array_equal(found.X, X)
    assert found.weights is None
    assert_array_equal(found.places, np.tile(np.arange(50), 2))


def test_one_row_is_there_twice():
    found = distinct_rows(np.ones((20, 4)), np.r_[0.0, np.ones(19)])
    assert_array_equal(found.X, np.ones((2, 4)))
    assert_array_equal(found.places, np.r_[-1, np.zeros(19)])


def test_different_rows_of_one_hash_are_told_apart(monkeypatch):
    X, weights = rows_and_weights()
    expected = distinct_rows(X, weights)
    monkeypatch.setattr(_weights, "_hashes", lambda X: X[:, 0].astype(int))
    found = distinct_rows(X, weights)
    counts = weights > 0
    assert_array_equal(found.X[found.places][counts], expected.X[expected.places][counts])
    assert sorted(found.weights) == sorted(expected.weights)


def test_holes_are_equal():
    X = np.array([[np.nan, 1.0], [np.nan, 1.0], [0.0, 1.0]])
    found = distinct_rows(X)
    assert len(found.X) == 2
    assert sorted(found.weights) == [1, 2]


def test_whole_weights_draw_exactly_as_many_copies(subtests):
    for offset in (0.01, 0.5, 0.99):
        with subtests.test(offset=offset):
            weights = np.array([1.0, 4.0, 2.0, 7.0])
            assert_array_equal(np.bincount(drawn(weights, offset)), weights)


def test_draws_are_unbiased_and_bounded():
    weights = np.random.default_rng(0).lognormal(0, 3, 40)
    assert n_draws(weights) == 8192
    offsets = (np.arange(200) + 0.5) / 200
    counts = np.mean([np.bincount(drawn(weights, u), minlength=40) for u in offsets], axis=0)
    assert_allclose(counts, 8192 * weights / weights.sum(), atol=0.01)


def test_bad_weights(subtests):
    for weights, message in (
        (np.ones(3), "sample_weight.shape"),
        (np.ones((4, 1)), "must be 1D"),
        ([1, 1, -1, 1], "Negative values"),
        ([1, 1, np.nan, 1], "NaN"),
        (np.nan, "NaN"),
        (np.inf, "infinity"),
        ([0, 0, 0, 0], "at least one non-zero"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            checked_weights(weights, np.ones((4, 2)))
