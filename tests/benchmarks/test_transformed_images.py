import builtins

import numpy as np
import pytest

from benchmarks.generators import transformed_images
from benchmarks.generators.transformed_images import (
    RANGES,
    _sources,
    _View,
    make_transformed_images,
)


def view(free, images="digits", side=16):
    """Return a view of the centre of the first source."""
    source = _sources(images)[0]
    center = (np.array(source.shape) - 1) / 2
    return _View(source, center, transformed_images.WIDTHS[images], side, np.array(free))


def moved(free, parameter=1.0, **options):
    """Return images before and after one transform."""
    return view([free], **options).images(np.array([[0.0], [parameter]])).reshape(2, 16, 16)


def test_shifts():
    for free, axis in ((0, 0), (1, 1)):
        # The shift is three pixels.
        before, after = moved(free, 3 / 16 / RANGES[free], images="photographs")
        shifted = np.roll(before, -3, axis=axis)
        inside = (slice(0, 12), slice(None)) if axis == 0 else (slice(None), slice(0, 12))
        np.testing.assert_allclose(after[inside], shifted[inside], atol=1e-9)


def test_a_quarter_turn():
    before, after = moved(2, np.pi / 2 / RANGES[2], images="photographs")
    np.testing.assert_allclose(after, np.rot90(before, -1), atol=1e-9)


def test_size_shear_brightness_and_contrast():
    before, half = moved(3, np.log(2) / RANGES[3])
    # An image of half the size lies within the central quarter of the pixels, with zeros around it.
    assert np.abs(half[:, :2]).max() < 0.01 < 0.3 < before.max()
    before, sheared = moved(4)
    np.testing.assert_allclose(sheared[7:9, 4:12], before[7:9, 4:12], atol=0.1)
    assert np.abs(sheared - before).max() > 0.2
    before, brighter = moved(5)
    np.testing.assert_allclose(brighter - before, RANGES[5], atol=1e-9)
    before, contrast = moved(6)
    np.testing.assert_allclose(contrast - 0.5, np.exp(RANGES[6]) * (before - 0.5), atol=1e-9)


def test_tangent_directions_are_all_there(subtests):
    for images in ("photographs", "digits"):
        with subtests.test(images=images):
            dims = (1, 4, 7)
            X, manifold, _, tangents = make_transformed_images(
                3000, dims=dims, images=images, return_tangents=True, random_state=0
            )
            for i, dim in enumerate(dims):
                assert tangents[i].shape == (dim,)
                assert (np.diff(tangents[i]) <= 0).all()
                assert tangents[i][-1] >= 0.04
                # The samples of each image vary by a similar amount in as many directions.
                variances = np.linalg.eigvalsh(np.cov(X[manifold == i].T))[::-1]
                assert variances[dim - 1] > 0.5 * tangents[i][-1]
            assert 0.05 < X.std(axis=0).mean() < 0.4


def test_tangents_of_brightness_are_known():
    """Brightness changes every pixel by the same amount."""
    bright = view([5])
    expected = 16**2 * RANGES[5] ** 2 / 3
    np.testing.assert_allclose(bright.measured(np.zeros((1, 1))), [expected], rtol=1e-6)
    # Turning a black image does nothing.
    black = _View(np.zeros((20, 20)), np.array([9.5, 9.5]), 10.0, 16, np.array([2, 5]))
    assert black.measured(np.zeros((1, 2)))[-1] == 0


def test_images_that_change_too_little_are_refused(monkeypatch):
    monkeypatch.setattr(transformed_images, "LEAST_TANGENT", 10.0)
    monkeypatch.setattr(transformed_images, "N_TRIES", 3)
    with pytest.raises(ValueError, match="None of 3 images changes enough under 2 transforms"):
        make_transformed_images(10, dims=(2,), images="digits")


def test_photographs_need_pillow(monkeypatch):
    actual = builtins.__import__

    def without_pillow(name, *arguments, **options):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return actual(name, *arguments, **options)

    _sources.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match=r"install it with `pip install skvaeense\[plot\]`"):
        make_transformed_images(10)
    assert make_transformed_images(10, images="digits")[0].shape == (10, 256)
