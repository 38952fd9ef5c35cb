"""The samples in which latents are largest."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvaeense import SparseAutoencoder
from skvaeense.language import top_activating

CODES = np.array([[0.0, 2.0, -1.0], [0.0, -3.0, 1.0], [0.5, 2.0, 0.0], [0.0, 0.0, -1.0]])


class Counter(BaseEstimator):
    """Codes are the samples. The numbers of samples that are coded at once are recorded."""

    def fit(self, X, y=None):
        self.n_rows_ = []
        return self

    def transform(self, X):
        self.n_rows_.append(X.shape[0])
        return X


def rounded(X):
    """Return codes with few different values, so that many are equal or 0."""
    return np.round(X)


def by_sorting(codes, n_samples):
    """Return samples and codes from a full stable sort of each column."""
    samples = np.argsort(-np.abs(codes), axis=0, kind="stable")[:n_samples].T
    values = np.take_along_axis(codes.T, samples, axis=1)
    return np.where(values == 0, -1, samples), values


def test_largest_of_either_sign_come_first_and_ties_in_order():
    result = top_activating(FunctionTransformer(), CODES, n_samples=3)
    assert_array_equal(result.latents, [0, 1, 2])
    assert_array_equal(result.samples, [[2, -1, -1], [1, 0, 2], [0, 1, 3]])
    assert_array_equal(result.codes, [[0.5, 0, 0], [-3, 2, 2], [-1, 1, -1]])
    result = top_activating(FunctionTransformer(lambda X: X > 0), CODES, n_samples=2)
    assert_array_equal(result.samples, [[2, -1], [0, 2], [1, -1]])
    # The latents that are asked for, in few samples at a time, fewer than asked for.
    counter = Counter().fit(CODES)
    result = top_activating(counter, CODES, latents=[1, 0], n_samples=6, batch_size=3)
    assert_array_equal(result.latents, [1, 0])
    assert_array_equal(result.samples, [[1, 0, 2, -1, -1, -1], [2, -1, -1, -1, -1, -1]])
    assert counter.n_rows_ == [3, 1]


def test_batches_give_what_a_full_sort_gives(subtests):
    for scale in (0.6, 3.0):
        for batch_size in (1, 7, 64, 1000):
            with subtests.test(batch_size=batch_size, scale=scale):
                X = scale * np.random.default_rng(0).standard_normal((200, 9))
                result = top_activating(
                    FunctionTransformer(rounded), X, n_samples=12, batch_size=batch_size
                )
                samples, codes = by_sorting(np.round(X), 12)
                assert_array_equal(result.samples, samples)
                assert_array_equal(result.codes, codes)


def test_kinds_of_samples(subtests):
    # Frames are cut by position, not by label.
    frame = partial(pd.DataFrame, index=[3.0, 2.0, 1.0, 0.0])
    for convert in (np.ndarray.tolist, sparse.csr_array, sparse.coo_array, frame):
        with subtests.test(convert=convert):
            expected = top_activating(FunctionTransformer(), CODES, n_samples=2)
            estimator = FunctionTransformer(accept_sparse=True)
            result = top_activating(estimator, convert(CODES), n_samples=2, batch_size=3)
            assert_array_equal(result.samples, expected.samples)
            assert_array_equal(result.codes, expected.codes)


def test_codes_that_are_sparse_and_samples_through_a_pipeline():
    expected = top_activating(FunctionTransformer(), CODES, n_samples=2)
    for estimator, X in (
        (FunctionTransformer(sparse.csr_array), CODES),
        (make_pipeline(FunctionTransformer(lambda X: X / 2), FunctionTransformer()), 2 * CODES),
    ):
        result = top_activating(estimator, X, n_samples=2)
        assert_array_equal(result.samples, expected.samples)
        assert_array_equal(result.codes, expected.codes)


def test_bad_parameters(subtests):
    for params, message in (
        ({"n_samples": 0}, "n_samples must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"latents": [-1]}, "latents must be from 0 to 2"),
        ({"latents": [0.0]}, "latents must be from 0 to 2"),
        ({"latents": []}, "latents must be from 0 to 2"),
        ({"X": np.empty((0, 3))}, "X has no samples"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            top_activating(FunctionTransformer(), **({"X": CODES} | params))


def test_an_estimator_that_is_not_fitted_or_has_no_codes():
    with pytest.raises(NotFittedError, match="SparseAutoencoder"):
        top_activating(SparseAutoencoder(), CODES)
    with pytest.raises(TypeError, match="LinearRegression has no transform"):
        top_activating(make_pipeline(LinearRegression()).fit(CODES, CODES[:, 0]), CODES)
