"""Data at the edge of what makes sense, and fits that fail; bad_inputs has what is refused."""

import copy

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, with_entry
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.networks import Linear

X, _, _ = make_linear_subspaces(200, dims=(1, 2), n_features=6, noise=0.01, random_state=0)


def quick(**params):
    settings = {"n_components": 3, "n_init": 1, "max_iter": 6, "random_state": 0}
    return VAEenseTransformer(network=Linear((8,)), **settings).set_params(**params)


METHODS = pytest.mark.parametrize("method", ["fit", "partial_fit"])


# --- what is taken --------------------------------------------------------------------------


def test_one_feature():
    fitted = fit_unwarned(quick(), X[:, :1])
    assert fitted.transform(X[:, :1]).shape == (200, 3)
    assert np.isfinite(fitted.score(X[:, :1]))


def test_two_samples():
    fitted = fit_unwarned(quick(), X[:2])
    assert np.isfinite(fitted.score(X[:2]))


def test_fewer_samples_than_a_batch():
    assert np.isfinite(fit_unwarned(quick(batch_size=10**4), X[:30]).score(X))


def test_more_components_than_features_and_samples():
    assert fit_unwarned(quick(n_components=50), X[:10]).transform(X).shape == (200, 50)


def test_one_component():
    assert fit_unwarned(quick(n_components=1), X).transform(X).shape == (200, 1)


def test_constant_features():
    """A constant feature is reproduced, also where it is large."""
    with_constants = np.column_stack([X, np.full(200, 1e3), np.zeros(200)])
    fitted = fit_unwarned(quick(max_iter=200), with_constants)
    reconstruction = fitted.inverse_transform(fitted.transform(with_constants))
    assert_allclose(reconstruction[:, 6], 1e3, rtol=1e-3)
    assert_allclose(reconstruction[:, 7], 0, atol=0.3)


@pytest.mark.parametrize("value", [0.0, 3.0, -0.1, 1e100])
@pytest.mark.parametrize("threshold", ["contribution", "fixed_variance", "otsu"])
def test_rows_that_are_all_equal(value, threshold):
    """There is nothing to learn, and nothing to warn of."""
    equal = np.full((50, 4), value)
    fitted = quick(threshold=threshold).fit(equal)
    assert fitted.scale_ == 1.0
    assert_allclose(fitted.mean_, equal[0], rtol=1e-12)
    assert np.isfinite(fitted.score(equal))
    active = fitted.active_dimensions(equal)
    assert (active == active[0]).all()


def test_rows_that_are_all_equal_are_reconstructed():
    equal = np.tile([1.0, -2.0, 1e6], (50, 1))
    fitted = VAEenseTransformer(random_state=0, n_init=1, max_iter=200).fit(equal)
    assert_allclose(fitted.inverse_transform(fitted.transform(equal)), equal, rtol=1e-2, atol=0.05)


def test_one_row_that_differs():
    one_off = np.ones((100, 4))
    one_off[7] += 1
    assert np.isfinite(fit_unwarned(quick(), one_off).score(one_off))


def test_duplicated_rows():
    twice = np.repeat(X[:5], 20, axis=0)
    assert np.isfinite(fit_unwarned(quick(), twice).score(twice))


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, np.uint8, bool])
def test_other_dtypes_become_float64(dtype):
    values = (10 * np.abs(X)).astype(dtype)
    fitted, reference = fit_unwarned(quick(), values), fit_unwarned(quick(), values.astype(float))
    assert fitted.transform(values).dtype == np.float64
    assert_array_equal(fitted.transform(values), reference.transform(values.astype(float)))


def test_numbers_as_objects():
    fitted = fit_unwarned(quick(), X.astype(object))
    assert_array_equal(fitted.transform(X.astype(object)), fit_unwarned(quick(), X).transform(X))


def test_lists():
    assert_array_equal(
        fit_unwarned(quick(), X.tolist()).transform(X.tolist()),
        fit_unwarned(quick(), X).transform(X),
    )


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed"])
def test_memory_layout_does_not_matter(layout):
    views = {
        "fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "reversed": X[::-1].copy()[::-1],
    }
    codes = fit_unwarned(quick(), views[layout]).transform(views[layout])
    assert_allclose(codes, fit_unwarned(quick(), X).transform(X), rtol=1e-4, atol=1e-6)


def test_a_read_only_memmap(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fitted = fit_unwarned(quick(), mapped)
    assert_array_equal(fitted.transform(mapped), fit_unwarned(quick(), X).transform(X))
    codes = fitted.transform(mapped)
    codes.setflags(write=False)
    assert fitted.inverse_transform(codes).shape == X.shape
    fit_unwarned(quick(), mapped, "partial_fit")


def test_data_is_not_written_to():
    before = X.copy()
    fitted = fit_unwarned(quick(), X)
    fitted.inverse_transform(fitted.transform(X))
    fitted.score(X)
    assert_array_equal(X, before)


# --- scale ----------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-100, 1e-10, 1e10, 1e100])
@pytest.mark.parametrize("threshold", ["contribution", "fixed_variance"])
def test_any_scale_trains_alike(factor, threshold):
    estimator = quick(threshold=threshold, max_iter=20)
    reference, fitted = (
        fit_unwarned(clone(estimator), X),
        fit_unwarned(clone(estimator), factor * X),
    )
    assert reference.active_dimensions(X).any()
    same = fitted.active_dimensions(factor * X) == reference.active_dimensions(X)
    assert same.mean() > 0.99
    assert_allclose(fitted.noise_variance_, factor**2 * reference.noise_variance_, rtol=1e-2)
    shift = fitted.score(factor * X) - reference.score(X)
    assert shift == pytest.approx(-6 * np.log(factor), rel=1e-3)
    reconstruction = fitted.inverse_transform(fitted.transform(factor * X))
    assert np.isfinite(reconstruction).all()


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_any_scale_in_single_precision(factor):
    scaled = (factor * X).astype(np.float32)
    same = fit_unwarned(quick(), scaled).active_dimensions(scaled) == fit_unwarned(
        quick(), X
    ).active_dimensions(X)
    assert same.mean() > 0.98


def test_offset_far_from_the_origin():
    """Subtracting the mean is done in double precision."""
    moved = fit_unwarned(quick(), X + 1e6)
    same = moved.active_dimensions(X + 1e6) == fit_unwarned(quick(), X).active_dimensions(X)
    assert same.mean() > 0.98


# --- divergence -----------------------------------------------------------------------------

DIVERGENT = {"learning_rate_init": 1e30}


@METHODS
@pytest.mark.parametrize("max_iter", [1, 2, 6])
@pytest.mark.parametrize("batch_size", [8, 200])
def test_divergence_leaves_the_estimator_unfitted(method, max_iter, batch_size):
    estimator = quick(max_iter=max_iter, batch_size=batch_size, **DIVERGENT)
    with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
        fit_unwarned(estimator, X, method)
    assert not hasattr(estimator, "module_")
    assert not hasattr(estimator, "n_features_in_")


@METHODS
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("batch_size", [8, 200])
def test_divergence_leaves_an_earlier_fit(method, warm_start, batch_size):
    estimator = fit_unwarned(quick(), X)
    before = copy.deepcopy(vars(estimator))
    codes, score = estimator.transform(X), estimator.score(X)
    estimator.set_params(warm_start=warm_start, batch_size=batch_size, **DIVERGENT)
    with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
        fit_unwarned(estimator, X, method)
    assert_array_equal(estimator.transform(X), codes)
    assert estimator.score(X) == score
    assert vars(estimator).keys() == before.keys()


@METHODS
def test_an_error_in_the_data_leaves_an_earlier_fit(method):
    estimator = fit_unwarned(quick(), X)
    codes = estimator.transform(X)
    with pytest.raises(ValueError, match="NaN"):
        getattr(estimator, method)(with_entry(X, np.nan))
    assert_array_equal(estimator.transform(X), codes)
    assert estimator.n_features_in_ == 6


def test_divergence_after_partial_fit_leaves_what_it_had():
    estimator = fit_unwarned(quick(), X, "partial_fit")
    codes = estimator.transform(X)
    following = copy.deepcopy(estimator).partial_fit(X).transform(X)
    huge = X.copy()
    huge[0] = 1e150
    with pytest.raises(FloatingPointError, match="samples far from all others"):
        estimator.partial_fit(huge)
    assert_array_equal(estimator.transform(X), codes)
    # Nothing of the failed batch is left: the next one does what it would have done.
    assert_array_equal(estimator.partial_fit(X).transform(X), following)


def test_a_start_that_diverges_is_left_out(monkeypatch):
    """The other starts go on."""
    build = Linear.build
    n_built = []

    def first_is_broken(self, *args, **kwargs):
        module = build(self, *args, **kwargs)
        n_built.append(1)
        if len(n_built) == 1:
            torch.nn.init.constant_(module.decoder.weight, float("nan"))
        return module

    monkeypatch.setattr(Linear, "build", first_is_broken)
    fitted = fit_unwarned(quick(n_init=2), X)
    assert len(n_built) == 2
    assert np.isfinite(fitted.score(X))


def test_an_outlier_does_not_break_the_fit():
    outlier = X.copy()
    outlier[0] = 1e6
    fitted = fit_unwarned(quick(), outlier)
    assert np.isfinite(fitted.transform(outlier)).all()
    assert np.isfinite(fitted.score(outlier))
