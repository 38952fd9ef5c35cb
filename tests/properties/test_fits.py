"""For any finite samples, the outputs of an estimator are finite."""

import numpy as np
import pytest
from helpers import fit_unwarned, outputs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from strategies import AUTOENCODERS, DIMENSION, ESTIMATORS, samples, vaeense

X_ANY = samples()


def assert_answers_are_finite(fitted, X):
    """Check the outputs of all methods. The score of samples without variance is undefined."""
    try:
        answers = outputs(fitted, X)
    except ValueError as error:
        if not str(error).startswith("X is constant over its"):
            raise
        answers = {"score_samples": fitted.score_samples(X)}
    for method, answer in answers.items():
        assert np.isfinite(answer).all(), method
    assert np.isfinite(fitted.mean_).all()
    if hasattr(fitted, "module_"):
        assert np.isfinite(fitted.loss_curve_).all()
        assert fitted.scale_ > 0


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(AUTOENCODERS)), X=X_ANY, seed=st.integers(0, 99))
def test_autoencoders_are_finite_and_repeated(name, X, seed):
    """A second fit, and any order of X in memory, give the same outputs."""
    before, estimator = X.copy(), clone(AUTOENCODERS[name]).set_params(random_state=seed)
    fitted = fit_unwarned(clone(estimator), X)
    assert_answers_are_finite(fitted, X)
    assert_array_equal(X, before)
    one, ordered = fitted.transform(X), np.ascontiguousarray(X)
    other = fit_unwarned(estimator, ordered).transform(ordered)
    assert one.dtype == other.dtype == (X.dtype if X.dtype == np.float32 else np.float64)
    assert abs(one - other).max() <= 1e-6 * max(1.0, abs(one).max())


@settings(max_examples=15)
@given(
    X=samples(exponents=(-18, 18), kinds=("normal",), rows=(8, 8), columns=(2, 2)),
    exponent=st.integers(-30, 30),
    learned=st.booleans(),
)
@example(X=np.float32([[1e18, 2e18], [-3e18, 1e18]]), exponent=-1, learned=False)
@example(X=np.float32([[1.0, 2.0], [-3.0, 1.0]]), exponent=-20, learned=False)
@example(X=np.float32([[1.0, 2.0], [-3.0, 1.0]]), exponent=20, learned=True)
def test_given_noise_is_finite_or_refused(X, exponent, learned):
    model = vaeense(noise_variance=10.0**exponent, learn_noise_variance=learned)
    try:
        fitted = fit_unwarned(model, X)
    except ValueError as error:
        if ", the square of the scale " not in str(error):
            raise
    else:
        assert_answers_are_finite(fitted, X)


@given(name=st.sampled_from(sorted(AUTOENCODERS)), X=X_ANY)
def test_streams_are_finite(name, X):
    fitted = fit_unwarned(clone(AUTOENCODERS[name]), X, "partial_fit").partial_fit(X[:1])
    assert_answers_are_finite(fitted, X)


@settings(max_examples=15)
@given(name=st.sampled_from(sorted(DIMENSION)), X=X_ANY)
@example(name="auto", X=np.array([[3.0], [8.0]]))
def test_dimensions_are_finite(name, X):
    before = X.copy()
    fitted = fit_unwarned(clone(DIMENSION[name]), X)
    dimension = fitted.predict(X)
    assert dimension.shape == (len(X),)
    assert dimension.dtype == np.float64
    assert (dimension >= 0).all()
    assert np.isfinite(dimension).all()
    assert_array_equal(fitted.dimension_pw_, dimension)
    assert np.isfinite(fitted.dimension_)
    assert fitted.transform(X).dtype == (X.dtype if X.dtype == np.float32 else np.float64)
    assert_array_equal(X, before)


@pytest.mark.filterwarnings("ignore:The density was learned|One value fills")
@given(
    name=st.sampled_from(sorted(ESTIMATORS)),
    X=samples(exponents=(-30, 0), kinds=("normal",), rows=(8, 8), columns=(2, 2)),
    far=st.integers(0, 300).map(lambda exponent: 10.0**exponent),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_samples_far_from_all_others(name, X, far, dtype):
    """The outputs are finite, or an error says that the samples are too far."""
    fitted = fit_unwarned(clone(ESTIMATORS[name]), X)
    with np.errstate(over="ignore"):
        distant = np.nan_to_num((far * np.float64([[1, 2], [-3, 1]])).astype(dtype))
    for method in ("transform", "active_dimensions", "score_samples", "score", "predict"):
        if hasattr(fitted, method):
            try:
                answer = getattr(fitted, method)(distant)
            except ValueError as error:
                if not str(error).startswith("X has samples too far from the training samples"):
                    raise
            else:
                answer = answer.toarray() if hasattr(answer, "toarray") else answer
                assert np.isfinite(answer).all()
