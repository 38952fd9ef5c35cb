"""Results depend neither on the units of X nor on its origin."""

import numpy as np
import pytest
from helpers import fit_unwarned
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from strategies import (
    AUTOENCODERS,
    DIMENSION,
    NETS,
    SEEDS,
    SPARSE,
    VAEENSE,
    is_near,
    rotation,
    samples,
)

from skvaeense import IntrinsicDimensionEstimator

# Powers of two, which change no digit.
FACTORS = st.integers(-100, 100).map(lambda exponent: 2.0**exponent)
VARIED = ("normal", "heavy tails", "copies", "constant columns", "dependent columns")


def varied(offsets):
    """Return samples that are not all equal, since equal samples have no scale."""
    drawn = samples(kinds=VARIED, dtypes=("float64",), exponents=(0, 0), offsets=offsets)
    return drawn.filter(lambda X: np.ptp(X, axis=0).any())


X_DOUBLE, X_CENTRAL = varied((0, 1, -1000)), varied((0,))


def fitted_pair(estimator, X, moved):
    """Return the estimator fitted to X, and fitted to the moved samples."""
    return fit_unwarned(clone(estimator), X), fit_unwarned(clone(estimator), moved)


def assert_alike(one, other, **tolerance):
    """Compare codes, dense or sparse."""
    one, other = (v.toarray() if hasattr(v, "toarray") else v for v in (one, other))
    assert_allclose(other, one, **tolerance)


@settings(max_examples=25)
@given(name=st.sampled_from(sorted(AUTOENCODERS)), X=X_DOUBLE, factor=FACTORS)
def test_autoencoders_know_no_units(name, X, factor):
    """Codes and masks of nets are equal bit for bit."""
    one, other = fitted_pair(AUTOENCODERS[name], X, factor * X)
    rounding = {"rtol": 0} if name in NETS else {"rtol": 1e-9, "atol": 1e-12}
    assert_alike(one.transform(X), other.transform(factor * X), **rounding)
    assert_array_equal(one.active_dimensions(X), other.active_dimensions(factor * X))
    if name in NETS:
        assert_array_equal(other.mean_, factor * one.mean_)
        assert other.scale_ == factor * one.scale_
    else:
        assert_allclose(other.mean_ / factor, one.mean_, **rounding)
    restored = (m.inverse_transform(m.transform(f * X)) for m, f in ((one, 1), (other, factor)))
    assert_allclose(*(r / f for r, f in zip(restored, (1, factor), strict=True)), rtol=1e-12)
    # Log-densities change with the unit, and explained variances do not.
    shift = -log_factor(one, X, factor)
    scores = one.score_samples(X), other.score_samples(factor * X)
    assert_allclose(scores[1], scores[0] + shift, rtol=1e-9, atol=1e-6 if shift else 0)
    if name not in SPARSE:
        assert other.noise_variance_ == pytest.approx(factor**2 * one.noise_variance_, rel=1e-12)
    elif is_near(X):
        assert other.score(factor * X) == pytest.approx(one.score(X), rel=1e-12)


@given(name=st.sampled_from(sorted(DIMENSION)), X=X_DOUBLE, factor=FACTORS)
def test_dimensions_have_no_unit(name, X, factor):
    one, other = fitted_pair(DIMENSION[name], X, factor * X)
    assert_allclose(other.predict(factor * X), one.predict(X), rtol=1e-9)
    assert other.dimension_ == pytest.approx(one.dimension_, rel=1e-9)


@given(
    name=st.sampled_from(sorted(AUTOENCODERS)),
    X=X_CENTRAL,
    factor=st.floats(1e-3, 1e3),
    shift=st.floats(-1e3, 1e3),
)
def test_the_origin_does_not_matter(name, X, factor, shift):
    """They agree up to rounding errors, which two epochs enlarge only a little."""
    moved = factor * X + factor * shift
    one, other = fitted_pair(AUTOENCODERS[name], X, moved)
    assert_allclose(other.mean_, factor * (one.mean_ + shift), rtol=1e-9, atol=1e-9 * factor)
    if name in NETS:
        assert other.scale_ == pytest.approx(factor * one.scale_, rel=1e-9)
    scores = other.score_samples(moved) + log_factor(one, X, factor)
    assert_allclose(scores, one.score_samples(X), rtol=1e-3, atol=1e-3)
    same = one.active_dimensions(X) == other.active_dimensions(moved)
    assert same.mean() >= 0.9


def log_factor(fitted, X, factor):
    """Return the change of a log-density by the factor, or 0 for other scores."""
    return X.shape[1] * np.log(factor) if hasattr(fitted, "noise_variance_") else 0.0


@given(name=st.sampled_from(sorted(NETS)), X=X_CENTRAL, seed=SEEDS)
def test_centre_and_scale_turn_with_the_samples(name, X, seed):
    turn = rotation(X.shape[1], seed)
    prefix = "model__" if name in VAEENSE else ""
    estimator = clone(NETS[name]).set_params(**{f"{prefix}max_iter": 1})
    one, other = fitted_pair(estimator, X, X @ turn)
    size = np.abs(X).max()
    assert_allclose(other.mean_, one.mean_ @ turn, atol=1e-9 * size)
    assert other.scale_ == pytest.approx(one.scale_, rel=1e-9)


class Identity(BaseEstimator):
    """Leave samples unchanged, with all features active, so that distances decide."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X

    inverse_transform = transform

    def active_dimensions(self, X):
        return np.ones(X.shape, dtype=bool)


@given(
    X=samples(kinds=("normal", "heavy tails"), rows=(12, 30), dtypes=("float64",), offsets=(0,)),
    method=st.sampled_from(["auto", "neighbors"]),
    seed=SEEDS,
)
def test_dimensions_by_distances_turn_with_the_samples(X, method, seed):
    estimator = IntrinsicDimensionEstimator(
        Identity(), method=method, n_neighbors=5, random_state=0
    )
    turned = X @ rotation(X.shape[1], seed)
    one, other = fitted_pair(estimator, X, turned)
    assert_allclose(other.predict(turned), one.predict(X), rtol=1e-6)
