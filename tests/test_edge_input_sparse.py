"""Data at the edge of what a SparseAutoencoder takes; bad_inputs has what is refused."""

import copy

import numpy as np
import pytest
from helpers import fit_unwarned, with_entry
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.penalties import ALIASES, TopK

X, _, _ = make_sparse_dictionary(
    200, n_atoms=8, n_active=2, n_features=6, signed=False, random_state=0
)
EVERY = pytest.mark.parametrize("penalty", sorted(ALIASES))
METHODS = pytest.mark.parametrize("method", ["fit", "partial_fit"])
NETWORKS = pytest.mark.parametrize("network", ["single_layer", "mlp"])


def quick(penalty="l1", **params):
    settings = {"n_components": 8, "max_iter": 6, "random_state": 0}
    return SparseAutoencoder(penalty=penalty, **(settings | params))


# --- data that is taken ---------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("value", [0.0, 3.0, -0.1, 1e100])
def test_rows_that_are_all_equal(penalty, value):
    """There is nothing to learn, and nothing to warn of."""
    equal = np.full((50, 4), value)
    fitted = quick(penalty).fit(equal)
    codes = fitted.transform(equal)
    assert fitted.scale_ == 1.0
    assert (codes == codes[0]).all()
    assert_allclose(fitted.inverse_transform(codes), equal, rtol=1e-12, atol=1e-6)
    assert_allclose(fitted.score_samples(equal), 1, atol=1e-6)
    assert np.isfinite(fitted.components_).all()
    assert np.isfinite(fitted.loss_curve_).all()


@EVERY
def test_rows_that_are_all_equal_then_others(penalty):
    """A stream that begins with no variance can still be learned from."""
    estimator = quick(penalty).partial_fit(np.full((50, 6), 3.0))
    for _ in range(3):
        estimator.partial_fit(X)
    assert np.isfinite(estimator.score(X))


@EVERY
@pytest.mark.parametrize("samples", [X[:, :1], X[:2], X[:30]], ids=["feature", "two", "few"])
def test_small_data(penalty, samples):
    fitted = fit_unwarned(quick(penalty, batch_size=10**4), samples)
    assert fitted.transform(samples).shape == (len(samples), 8)
    assert np.isfinite(fitted.score(samples))


@EVERY
def test_one_component(penalty):
    assert fit_unwarned(quick(penalty, n_components=1), X).transform(X).shape == (200, 1)


@EVERY
def test_constant_features(penalty):
    """A constant feature is reproduced, also where it is large."""
    with_constants = np.column_stack([X, np.full(200, 1e3), np.zeros(200)])
    fitted = fit_unwarned(quick(penalty, max_iter=60), with_constants)
    reconstruction = fitted.inverse_transform(fitted.transform(with_constants))
    assert_allclose(reconstruction[:, 6], 1e3, rtol=1e-3)
    assert_allclose(reconstruction[:, 7], 0, atol=0.3)


@EVERY
def test_an_outlier_does_not_break_the_fit(penalty):
    outlier = X.copy()
    outlier[0] = 1e6
    fitted = fit_unwarned(quick(penalty), outlier)
    assert np.isfinite(fitted.transform(outlier)).all()
    assert np.isfinite(fitted.score(outlier))


@pytest.mark.parametrize("factor", [1e-100, 1e-10, 1e10, 1e100])
def test_any_scale_trains_alike(factor):
    reference, fitted = fit_unwarned(quick(), X), fit_unwarned(quick(), factor * X)
    same = fitted.active_dimensions(factor * X) == reference.active_dimensions(X)
    assert same.mean() > 0.99
    assert fitted.score(factor * X) == pytest.approx(reference.score(X), abs=1e-3)


@pytest.mark.parametrize(("factor", "dtype"), [(1e37, np.float32), (1e300, np.float64)])
def test_the_score_of_samples_far_from_the_training_samples(factor, dtype):
    """The squares of their errors overflow; the share of their variance does not."""
    fitted = fit_unwarned(quick(), X)
    score = fitted.score((factor * X).astype(dtype))
    assert score == pytest.approx(fitted.score(1e6 * X), abs=1e-3)


def test_offset_far_from_the_origin():
    """Subtracting the mean is done in double precision."""
    moved = fit_unwarned(quick(), X + 1e6)
    same = moved.active_dimensions(X + 1e6) == fit_unwarned(quick(), X).active_dimensions(X)
    assert same.mean() > 0.98


def test_a_read_only_memmap(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fitted = fit_unwarned(quick(), mapped)
    codes = fitted.transform(mapped)
    assert_array_equal(codes, fit_unwarned(quick(), X).transform(X))
    codes.setflags(write=False)
    assert fitted.inverse_transform(codes).shape == X.shape
    fit_unwarned(quick(), mapped, "partial_fit")


def test_data_is_not_written_to():
    before, fitted = X.copy(), fit_unwarned(quick(), X)
    codes = fitted.transform(X)
    kept = codes.copy()
    fitted.inverse_transform(codes)
    fitted.score(X)
    assert_array_equal(X, before)
    assert_array_equal(codes, kept)


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, bool])
def test_other_dtypes_become_float64(dtype):
    values = (10 * np.abs(X)).astype(dtype)
    fitted, reference = fit_unwarned(quick(), values), fit_unwarned(quick(), values.astype(float))
    assert fitted.transform(values).dtype == np.float64
    assert_array_equal(fitted.transform(values), reference.transform(values.astype(float)))


# --- divergence -----------------------------------------------------------------------------

DIVERGENT = {"learning_rate_init": 1e30}


@METHODS
@NETWORKS
@EVERY
def test_divergence_leaves_the_estimator_unfitted(method, network, penalty):
    estimator = quick(penalty, network=network, **DIVERGENT)
    with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
        fit_unwarned(estimator, X, method)
    assert not hasattr(estimator, "module_")
    assert not hasattr(estimator, "n_features_in_")


@METHODS
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("params", [{"penalty": TopK(3)}, {"target_l0": 2}])
def test_divergence_leaves_an_earlier_fit(method, warm_start, params):
    estimator = fit_unwarned(quick(**params), X)
    before = copy.deepcopy(vars(estimator))
    codes = estimator.transform(X)
    estimator.set_params(warm_start=warm_start, **DIVERGENT)
    with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
        fit_unwarned(estimator, X, method)
    assert_array_equal(estimator.transform(X), codes)
    assert vars(estimator).keys() == before.keys()
    assert getattr(estimator, "alpha_", None) == before.get("alpha_")
    assert estimator.loss_curve_ == before["loss_curve_"]


@METHODS
def test_an_error_in_the_data_leaves_an_earlier_fit(method):
    estimator = fit_unwarned(quick(), X)
    codes = estimator.transform(X)
    with pytest.raises(ValueError, match="NaN"):
        getattr(estimator, method)(with_entry(X, np.nan))
    assert_array_equal(estimator.transform(X), codes)


def test_divergence_after_partial_fit_leaves_what_it_had():
    estimator = fit_unwarned(quick(target_l0=2), X, method="partial_fit")
    codes = estimator.transform(X)
    following = copy.deepcopy(estimator).partial_fit(X).transform(X)
    huge = X.copy()
    huge[0] = 1e150
    with pytest.raises(FloatingPointError, match="samples far from all others"):
        estimator.partial_fit(huge)
    assert_array_equal(estimator.transform(X), codes)
    # Nothing of the failed batch is left: the next one does what it would have done.
    assert_array_equal(estimator.partial_fit(X).transform(X), following)
