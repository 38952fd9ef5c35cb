"""The output of a sample depends neither on its place nor on other samples."""

import numpy as np
from helpers import fit_unwarned
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from strategies import AUTOENCODERS, DIMENSION, SEEDS, samples

# In double precision, products of other shapes differ only in the last digits.
X_DOUBLE = samples(dtypes=("float64",), exponents=(-3, 3))
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
NAMES = st.sampled_from(sorted(AUTOENCODERS))


def joined(parts):
    """Return dense or sparse arrays stacked by rows, as a dense array."""
    return np.concatenate([p.toarray() if sparse.issparse(p) else p for p in parts])


@given(name=NAMES, X=X_DOUBLE, seed=SEEDS)
def test_order_and_company_do_not_matter(name, X, seed):
    fitted = fit_unwarned(clone(AUTOENCODERS[name]), X)
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(X))[: rng.integers(1, len(X) + 1)]
    codes = joined([fitted.transform(X)])
    assert_allclose(joined([fitted.transform(X[some])]), codes[some], **CLOSE)
    scores = fitted.score_samples(X)
    assert_allclose(fitted.score_samples(X[some]), scores[some], **CLOSE)
    assert_allclose(
        fitted.inverse_transform(codes[some]), fitted.inverse_transform(codes)[some], **CLOSE
    )


@given(name=NAMES, X=X_DOUBLE, n_rows=st.integers(1, 7))
def test_chunks_do_not_matter(name, X, n_rows):
    fitted = fit_unwarned(clone(AUTOENCODERS[name]), X)
    chunks = [X[i : i + n_rows] for i in range(0, len(X), n_rows)]
    for method in (fitted.transform, fitted.score_samples):
        assert_allclose(joined(map(method, chunks)), joined([method(X)]), **CLOSE)


@given(X=X_DOUBLE, seed=SEEDS, name=st.sampled_from(["count", "neighbors"]))
def test_dimensions_are_those_of_single_samples(X, seed, name):
    fitted = fit_unwarned(clone(DIMENSION[name]), X)
    order = np.random.default_rng(seed).permutation(len(X))
    dimension = fitted.predict(X)
    assert_allclose(fitted.predict(X[order]), dimension[order], rtol=1e-6, atol=1e-6)
