import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

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


def test_bars_are_red_above_and_blue_below():
    display = LatentDisplay([[2.0, -1.0]], feature_names=["height", "width"]).plot()
    up, down = display.bars_[0]
    assert up.get_height() == pytest.approx(-2 * down.get_height())
    (red, _, blue, _), (red_below, _, blue_below, _) = up.get_facecolor(), down.get_facecolor()
    assert red > 2 * blue
    assert blue_below > 2 * red_below
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["height", "width"]
    assert "2 units of X" in display.ax_.get_xlabel()
    assert display.image_ is None


def test_bars_have_the_names_of_a_data_frame(subtests):
    for steps in ((), (StandardScaler(),)):
        with subtests.test(steps=steps):
            X = pd.DataFrame(
                np.random.default_rng(0).random((9, 3)), columns=["height", "width", "age"]
            )
            display = LatentDisplay.from_estimator(make_pipeline(*steps, PCA(2)).fit(X))
            assert [t.get_text() for t in display.ax_.get_xticklabels()] == [
                "height",
                "width",
                "age",
            ]
            display = LatentDisplay.from_estimator(make_pipeline(*steps, PCA(2)).fit(X.to_numpy()))
            assert (display.ax_.get_xticks() % 1 == 0).all()


def test_latents_are_ordered_by_use():
    display = LatentDisplay(COMPONENTS, use=[0.1, 0.0, 0.9, 0.1]).plot()
    assert_array_equal(display.latents, [2, 0, 3])
    heights = [[bar.get_height() for bar in bars] for bars in display.bars_]
    assert_allclose(heights, COMPONENTS[[2, 0, 3]] * (0.45 / 12))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["2 (90%)", "0 (10%)", "3 (10%)"]
    display = LatentDisplay(COMPONENTS, latents=[3, 1], use=[0.1, 0.0, 0.9, 0.1]).plot()
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["3 (10%)", "1 (0%)"]
    # By default there are 64, and columns of zeros can be drawn.
    display = LatentDisplay(np.eye(100, 64), image_shape=(8, 8)).plot()
    assert len(display.latents) == len(display.ax_.texts) == 64
    assert LatentDisplay(np.zeros((1, 2))).plot().bars_[0][0].get_height() == 0


def test_estimator_with_samples(subspaces, vaeense):
    X, _ = subspaces
    display = LatentDisplay.from_estimator(vaeense, X=X)
    use = vaeense.active_dimensions(X).mean(axis=0)
    assert_allclose(display.use[display.latents], np.sort(use[use > 0])[::-1])
    assert_array_equal(display.components, vaeense.components_)
    display = LatentDisplay.from_estimator(vaeense, max_latents=2)
    assert_array_equal(display.latents, [0, 1])
    assert display.use is None


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
        ({"use": [1.0]}, "use must have shape"),
        ({"use": np.zeros(4)}, "No latent is active"),
        ({"max_latents": 0}, "max_latents must be at least 1"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            LatentDisplay(COMPONENTS, **params)
