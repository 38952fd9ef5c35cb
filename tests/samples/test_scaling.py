import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.samples._scaling import Scaling
from skvaeense.utils import _rows

DOUBLE = {"dtype": torch.float64, "device": "cpu"}
SINGLE = {"dtype": torch.float32, "device": "cpu"}


def draw(n_samples=200, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_features)) * [1, 2, 3, 0.1, 5] + [3, 0, -8, 1, 0.5]


def test_centres_and_scales_by_one_number():
    X = draw()
    scaled = Scaling.from_data(X).apply(X, **DOUBLE).numpy()
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    assert np.square(scaled).mean() == pytest.approx(1)
    centred = X - X.mean(axis=0)
    assert_allclose(scaled, centred / np.sqrt(np.square(centred).mean()), rtol=1e-12, atol=1e-12)


def test_chunks_do_not_matter(monkeypatch):
    X = draw()
    scaling = Scaling.from_data(X)
    scaled = scaling.apply(X, **DOUBLE)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 7 * 3)
    by_chunks = Scaling.from_data(X)
    assert_allclose(by_chunks.mean, scaling.mean, rtol=1e-13)
    assert by_chunks.scale == pytest.approx(scaling.scale, rel=1e-13)
    assert torch.equal(scaling.apply(X, **DOUBLE), scaled)


def test_precision_far_from_the_origin():
    """Single precision then stores the deviations, and not the mean."""
    X = draw()
    far = X + 1e7
    near = Scaling.from_data(X).apply(X, **SINGLE)
    assert_allclose(Scaling.from_data(far).apply(far, **SINGLE), near, rtol=0, atol=1e-6)


def test_affine_maps_leave_the_scaled_samples():
    X = draw()
    scaled = Scaling.from_data(X).apply(X, **SINGLE)
    moved = Scaling.from_data(1000 * X + 7).apply(1000 * X + 7, **SINGLE)
    assert_allclose(moved, scaled, rtol=0, atol=1e-6)


def test_powers_of_two_are_exact(subtests):
    for factor in (2.0**-400, 2.0**-40, 2.0**40, 2.0**400):
        with subtests.test(factor=factor):
            X = draw()
            scaled = Scaling.from_data(X).apply(X, **DOUBLE)
            assert torch.equal(Scaling.from_data(factor * X).apply(factor * X, **DOUBLE), scaled)


def test_single_precision_samples_are_summed_in_double():
    X = (draw() + 1e4).astype(np.float32)
    expected = Scaling.from_data(X.astype(np.float64))
    scaling = Scaling.from_data(X)
    assert_array_equal(scaling.mean, expected.mean)
    assert scaling.mean.dtype == np.float64
    assert scaling.scale == expected.scale


def test_samples_without_variance_are_only_centred(subtests):
    for value in (0.0, 1.0, -0.1, 1e-200, 1e300):
        with subtests.test(value=value):
            X = np.full((1000, 3), value)
            scaling = Scaling.from_data(X)
            assert scaling.scale == 1.0
            assert_allclose(scaling.mean, value, rtol=1e-12)


def test_scale_beyond_the_range(subtests):
    for factor in (1e-160, 1e160, 1e300):
        with (
            subtests.test(factor=factor),
            pytest.raises(ValueError, match="beyond the range of float64"),
        ):
            Scaling.from_data(factor * draw())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensor_has_the_dtype_asked_for(dtype):
    X = draw()
    scaled = Scaling.from_data(X).apply(X, dtype=dtype, device="cpu")
    assert scaled.dtype == dtype
    assert scaled.shape == X.shape


def test_read_only_samples():
    X = draw()
    X.setflags(write=False)
    scaled = Scaling.from_data(X).apply(X, **DOUBLE)
    scaled += 1
    assert_array_equal(X, draw())


def test_rows_in_another_order():
    X = np.random.default_rng(0).standard_normal((5000, 30))
    order = np.random.default_rng(1).permutation(5000)
    scaling = Scaling.from_data(X)
    expected = scaling.apply(X, **SINGLE)[order]
    assert torch.equal(scaling.apply(X, **SINGLE, order=order), expected)
