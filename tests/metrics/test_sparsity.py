import numpy as np
import pytest
from helpers import each_once
from scipy import sparse

from skvaeense.metrics import dead_fraction, l0

CODES = np.array([[0.5, 0.0, -1.0, 0.0], [0.0, 0.0, 1e-300, 0.0], [0.0, 0.0, 3.0, 2.0]])
CONTAINERS = [
    np.ndarray.tolist,
    lambda codes: codes != 0,
    np.asfortranarray,
    sparse.csr_matrix,
    sparse.coo_array,
    lambda codes: sparse.csr_array(codes != 0),
]


def test_known_values(subtests):
    for container in CONTAINERS:
        with subtests.test(container=container):
            codes = container(CODES)
            assert l0(codes) == pytest.approx(5 / 3)
            assert dead_fraction(codes) == 0.25


def test_python_numbers_are_returned():
    assert type(l0(CODES)) is float
    assert type(dead_fraction(CODES)) is float


def test_zeros_stored_in_a_sparse_matrix_are_not_active():
    codes = sparse.csr_array(CODES)
    codes.data[:] = 0.0
    assert l0(codes) == 0
    assert dead_fraction(codes) == 1
    assert codes.nnz == 5


BAD = [
    ([1.0, 0.0], "Expected 2D array, got 1D array"),
    ([[np.nan, 0.0]], "Input codes contains NaN"),
    (np.zeros((0, 3)), "0 sample"),
]


def test_bad_codes(subtests):
    for metric, bad in each_once([dead_fraction, l0], BAD):
        with subtests.test(metric=metric):
            codes, match = bad
            with pytest.raises(ValueError, match=match):
                metric(codes)
