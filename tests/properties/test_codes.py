"""Outputs of the methods of an autoencoder are consistent, for each sample by itself."""

import warnings

import numpy as np
import pytest
from helpers import fit_unwarned
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from strategies import AUTOENCODERS, DIMENSION, SEEDS, SPARSE, VAEENSE, is_near, samples, vaeense

from skvaeense.metrics import explained_variance, l0

VARIED = ("normal", "heavy tails", "copies", "constant columns", "mostly zero")
X_ANY = samples(exponents=(-6, 6))
X_DOUBLE = samples(kinds=VARIED, dtypes=("float64",), exponents=(-6, 6), offsets=(0, 1))
# In double precision, products of other shapes differ only in the last digits.
X_ROWS = samples(dtypes=("float64",), exponents=(-3, 3))
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def dense(codes):
    return codes.toarray() if sparse.issparse(codes) else codes


@given(name=st.sampled_from(sorted(VAEENSE)), X=X_ANY)
def test_hard_codes_are_the_active_ones(name, X):
    fitted = fit_unwarned(clone(VAEENSE[name]), X)
    mask = fitted.active_dimensions(X)
    soft, hard, stored = (
        fitted.set_params(hard=hard, sparse_output=stored).transform(X)
        for hard, stored in ((False, False), (True, False), (False, True))
    )
    assert_allclose(hard, soft * mask, rtol=1e-5)
    assert_array_equal(hard != 0, mask & (soft != 0))
    assert_array_equal(stored.toarray(), hard)
    assert stored.nnz == np.count_nonzero(hard)
    assert l0(stored) == l0(hard) <= mask.sum(axis=1).mean()


@given(name=st.sampled_from(sorted(SPARSE)), X=X_ANY)
def test_sparse_codes_are_the_active_ones(name, X):
    fitted = fit_unwarned(clone(SPARSE[name]), X)
    codes = dense(fitted.transform(X))
    assert_array_equal(codes != 0, fitted.active_dimensions(X))
    assert not fitted.positive_code or (codes >= 0).all()
    assert_array_equal(dense(fitted.set_params(sparse_output=True).transform(X)), codes)


@given(name=st.sampled_from(sorted(SPARSE)), X=X_DOUBLE)
def test_explained_variance_is_that_of_the_reconstruction(name, X):
    fitted = fit_unwarned(clone(SPARSE[name]), X)
    restored = fitted.inverse_transform(fitted.transform(X))
    error = np.square((X - restored) / fitted.scale_).mean(axis=1)
    assert_allclose(fitted.score_samples(X), 1 - error, atol=1e-9, rtol=1e-6)
    if np.ptp(X, axis=0).any() and is_near(X):
        assert fitted.score(X) == pytest.approx(fitted.score_samples(X).mean(), abs=1e-6)
        assert fitted.score(X) == pytest.approx(explained_variance(X, restored), abs=1e-6)


@given(X=X_DOUBLE, gated=st.booleans(), positive=st.booleans())
def test_the_bound_follows_from_the_posterior(X, gated, positive):
    """For a linear decoder, the expected error and the divergence have closed forms."""
    fitted = fit_unwarned(vaeense(gated=gated, positive_code=positive, hard=False), X)
    _, mean, std = fitted.posterior(X)
    gate = 1 - std if gated else 1
    assert ((std > 0) & (std <= 1)).all()
    assert_allclose(fitted.transform(X), gate * mean, rtol=1e-9, atol=1e-12)
    spread = np.square(gate * std) @ np.square(fitted.components_).sum(axis=1)
    residual = X - fitted.inverse_transform(gate * mean)
    error = np.square(residual).sum(axis=1) + spread
    divergence = 0.5 * (std**2 + mean**2 - 1 - 2 * np.log(std)).sum(axis=1)
    noise, d = fitted.noise_variance_, X.shape[1]
    bound = -0.5 * (error / noise + d * np.log(2 * np.pi * noise)) - divergence
    assert_allclose(fitted.elbo_samples(X), bound, rtol=1e-5, atol=1e-5)
    with warnings.catch_warnings():
        # With so few samples there may be no log-density to compare.
        warnings.filterwarnings("ignore", "One value fills|The density was learned")
        assert fitted.score(X) == pytest.approx(fitted.score_samples(X).mean())


@given(name=st.sampled_from(sorted(AUTOENCODERS)), X=X_ANY)
def test_codes_are_decoded_in_their_precision_and_form(name, X):
    fitted = fit_unwarned(clone(AUTOENCODERS[name]).set_params(sparse_output=False), X)
    codes = fitted.transform(X)
    restored = fitted.inverse_transform(codes)
    assert restored.dtype == codes.dtype
    assert_allclose(fitted.inverse_transform(sparse.csr_array(codes)), restored)


@given(name=st.sampled_from(sorted(AUTOENCODERS)), X=X_ROWS, seed=SEEDS)
def test_order_and_company_do_not_matter(name, X, seed):
    fitted = fit_unwarned(clone(AUTOENCODERS[name]), X)
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(X))[: rng.integers(1, len(X) + 1)]
    codes, scores = dense(fitted.transform(X)), fitted.score_samples(X)
    assert_allclose(dense(fitted.transform(X[some])), codes[some], **CLOSE)
    assert_allclose(fitted.score_samples(X[some]), scores[some], **CLOSE)
    restored = fitted.inverse_transform(codes)
    assert_allclose(fitted.inverse_transform(codes[some]), restored[some], **CLOSE)


@given(X=X_ROWS, seed=SEEDS, name=st.sampled_from(["count", "neighbors"]))
def test_dimensions_are_those_of_single_samples(X, seed, name):
    fitted = fit_unwarned(clone(DIMENSION[name]), X)
    order = np.random.default_rng(seed).permutation(len(X))
    assert_allclose(fitted.predict(X[order]), fitted.predict(X)[order], rtol=1e-6, atol=1e-6)
