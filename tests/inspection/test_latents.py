import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skvaeense.inspection import LatentDisplay

COMPONENTS = np.arange(-12.0, 12.0).reshape(4, 6)


def test_images_stand_side_by_side():
    display = LatentDisplay(COMPONENTS, image_shape=(2, 3)).plot()
    mosaic = display.image_.get_array().filled(np.nan)
    # Each image has one row of gap above it, and one column of gap at its right.
    for i, (top, left) in enumerate([(1, 0), (1, 4), (4, 0), (4, 4)]):
        assert_array_equal(mosaic[top : top + 2, left : left + 3], COMPONENTS[i].reshape(2, 3))
    assert np.isfinite(mosaic).sum() == COMPONENTS.size
    assert display.image_.get_clim() == (-12.0, 12.0)
    assert [text.get_text() for text in display.ax_.texts] == ["0", "1", "2", "3"]


def test_rows_of_a_heat_map_are_latents():
    display = LatentDisplay([[2.0, -1.0], [0.5, 0.0]]).plot()
    assert_array_equal(display.image_.get_array(), [[2.0, -1.0], [0.5, 0.0]])
    assert display.image_.get_clim() == (-2.0, 2.0)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["0", "1"]


def test_latents_are_chosen():
    display = LatentDisplay(COMPONENTS, latents=[3, 1]).plot()
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["3", "1"]
    assert_array_equal(display.image_.get_array(), COMPONENTS[[3, 1]])
    # By default there are 64, and columns of zeros can be drawn.
    display = LatentDisplay(np.eye(100, 64), image_shape=(8, 8)).plot()
    assert len(display.latents) == len(display.ax_.texts) == 64
    assert LatentDisplay(np.zeros((1, 2))).plot().image_.get_clim() == (-1.0, 1.0)


def test_columns_of_an_estimator(vaeense):
    display = LatentDisplay.from_estimator(vaeense)
    assert_array_equal(display.latents, np.arange(vaeense.n_components_))
    assert_array_equal(display.components, vaeense.components_)


def test_hidden_layers_have_no_columns(nonlinear):
    with pytest.raises(TypeError, match="decoder has hidden layers"):
        LatentDisplay.from_estimator(nonlinear)


def test_bad_input(subtests):
    for params, message in (
        ({"image_shape": (2, 2)}, "4 pixels, but there are 6 features"),
        ({"latents": [4]}, "from 0 to 3"),
        ({"latents": [-1]}, "from 0 to 3"),
        ({"latents": []}, "non-empty"),
        ({"latents": [0.5]}, "integers"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            LatentDisplay(COMPONENTS, **params)
