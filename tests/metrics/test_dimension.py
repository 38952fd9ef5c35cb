import numpy as np
import pytest
from helpers import each_once
from scipy import sparse
from sklearn.metrics import mean_absolute_error

from skvaeense.metrics import dimension_accuracy, dimension_error

METRICS = [dimension_accuracy, dimension_error]


def test_agree_with_sklearn():
    rng = np.random.default_rng(0)
    true = rng.integers(1, 10, size=50)
    pred = true + rng.normal(size=50)
    assert dimension_error(true, pred) == pytest.approx(mean_absolute_error(true, pred))
    assert dimension_accuracy(true, pred) == np.mean(np.abs(pred - true) < 0.5)


def test_errors_do_not_cancel():
    assert dimension_error([4, 4], [3, 5]) == 1.0
    assert dimension_accuracy([4, 4], [3, 5]) == 0.0


def test_what_is_accepted():
    assert dimension_error([2, 4], np.array([[2.0], [5.0]])) == 0.5
    assert dimension_error(["2", "4"], ["2", "5"]) == 0.5
    assert dimension_error(np.uint8([2, 4]), np.uint8([3, 3])) == 1.0
    assert {type(metric([2, 4], [2, 5])) for metric in METRICS} == {float}


def test_accuracy_rounds_estimates():
    assert dimension_accuracy([4, 4, 4, 4], [3.51, 4.49, 3.49, 4.51]) == 0.5
    assert dimension_accuracy([4, 4, 2], [3.5, 4.5, 2.5]) == 1.0


BAD = [
    ([2, 4], [2], "dimension_true and dimension_pred must have the same shape"),
    ([], [], r"0 sample\(s\) .* minimum of 1"),
    ([2, 4], [2, np.nan], "Input dimension_pred contains NaN"),
    ([2, np.inf], [2, 4], "Input dimension_true contains infinity"),
    (4, 4, "should be a 1d array"),
    (np.eye(2), np.eye(2), "should be a 1d array"),
]


def test_bad_arrays(subtests):
    for metric, bad in each_once(METRICS, BAD):
        with subtests.test(metric=metric):
            true, pred, match = bad
            with pytest.raises(ValueError, match=match):
                metric(true, pred)


def test_sparse_arrays_are_refused_by_name(subtests):
    for metric in METRICS:
        with subtests.test(metric=metric):
            column = sparse.csr_array([[2.0], [4.0]])
            with pytest.raises(
                TypeError, match="passed for dimension_true, but dense data is required"
            ):
                metric(column, [2, 4])
            with pytest.raises(
                TypeError, match="passed for dimension_pred, but dense data is required"
            ):
                metric([2, 4], column)
