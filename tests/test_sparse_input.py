"""Sparse samples: few are handled like dense samples, and many are never dense all at once."""

import numpy as np
import pandas as pd
import pytest
from helpers import fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from strategies import sparse_autoencoder, vaeense

from skvaeense.samples import _sources
from skvaeense.training import _data
from skvaeense.utils import _rows

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 12)) * (RNG.random((300, 12)) < 0.3)
X_NEW = RNG.standard_normal((50, 12)) * (RNG.random((50, 12)) < 0.3)
EACH = pytest.mark.parametrize("make", [vaeense, sparse_autoencoder], ids=["vaeense", "sae"])
QUICK = {"n_components": 4, "max_iter": 3, "random_state": 0}


def fitted(make, samples, **params):
    return fit_unwarned(make(**QUICK | params), samples)


@EACH
def test_few_samples_are_fitted_and_coded_as_dense_ones(make, subtests):
    dense = fitted(make, X)
    codes = dense.transform(X_NEW)
    for container in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        with subtests.test(container=container):
            thin = fitted(make, container(X))
            assert_array_equal(thin.transform(container(X_NEW)), codes)
            assert_array_equal(
                thin.active_dimensions(container(X_NEW)), dense.active_dimensions(X_NEW)
            )
            assert_array_equal(thin.score_samples(container(X_NEW)), dense.score_samples(X_NEW))


@EACH
def test_batches_train_as_dense_ones(make):
    dense, thin = (make(**QUICK).partial_fit(samples) for samples in (X, sparse.csr_array(X)))
    assert_array_equal(thin.transform(X_NEW), dense.transform(X_NEW))


@EACH
def test_data_frames_of_sparse_columns(make):
    names = [f"word{i}" for i in range(X.shape[1])]
    frame, new = (
        pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(rows), columns=names)
        for rows in (X, X_NEW)
    )
    model = fitted(make, frame)
    assert model.feature_names_in_.tolist() == names
    assert_array_equal(model.transform(new), fitted(make, X).transform(X_NEW))


@EACH
def test_many_samples_are_dense_only_some_at_a_time(make, monkeypatch):
    rows_at_once = []

    to_dense = sparse.csr_matrix.toarray

    def counted(rows):
        rows_at_once.append(rows.shape[0])
        return to_dense(rows)

    monkeypatch.setattr(_sources, "IN_MEMORY", 0)
    monkeypatch.setattr(_data, "SEARCH_ROWS", 64)
    monkeypatch.setattr(_data, "MANY_ROWS", 64)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 12 * 20)
    monkeypatch.setattr(sparse.csr_matrix, "toarray", counted)
    model = fitted(make, sparse.csr_matrix(X), batch_size=32)
    assert max(rows_at_once) < len(X)
    assert_allclose(model.mean_, X.mean(axis=0), atol=1e-12)
    assert_allclose(
        model.transform(sparse.csr_matrix(X_NEW)), model.transform(X_NEW), rtol=1e-5, atol=1e-6
    )


@EACH
def test_sparse_codes_have_the_interface_that_scikit_learn_is_set_to(make, subtests):
    for setting, kind in (("spmatrix", sparse.csr_matrix), ("sparray", sparse.csr_array)):
        with subtests.test(setting=setting, kind=kind):
            model = fitted(make, X, sparse_output=True)
            with config_context(sparse_interface=setting):
                codes = model.transform(X_NEW)
            assert type(codes) is kind
