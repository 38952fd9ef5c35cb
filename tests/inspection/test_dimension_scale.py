import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.inspection import DimensionScaleDisplay

DIMENSIONS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan], [9.0, 8.0]])


def test_lines_are_medians_and_bands_quartiles():
    display = DimensionScaleDisplay.from_scales([4, 16], DIMENSIONS, ["a", "a", "a", "b"])
    assert_array_equal(display.lines_[0].get_xdata(), [4, 16])
    assert_array_equal(display.lines_[0].get_ydata(), [3.0, 3.0])
    assert_array_equal(display.lines_[1].get_ydata(), [9.0, 8.0])
    assert_allclose(display.quartiles[0], [[2.0, 2.5], [3.0, 3.0], [4.0, 3.5]])
    box = display.bands_[0].get_paths()[0].get_extents()
    assert (box.ymin, box.ymax) == (2.0, 4.0)
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["a", "b"]
    assert display.ax_.get_xscale() == "log"


def test_many_classes_have_no_bands():
    y = np.arange(20) % 10
    display = DimensionScaleDisplay.from_scales([4, 16], np.ones((20, 2)), y)
    assert len(display.lines_) == 10
    assert display.bands_ == []
    styles = {(line.get_color(), line.get_linestyle()) for line in display.lines_}
    assert len(styles) == 10


def test_estimator_gives_the_numbers(subspaces, dimension_estimator):
    X, y = subspaces
    display = DimensionScaleDisplay.from_estimator(dimension_estimator, X, y)
    scales, dimensions = dimension_estimator.dimension_scale(X)
    assert_array_equal(display.scales, scales)
    assert_allclose(display.quartiles[0][1], np.nanmedian(dimensions[y == "line"], axis=0))


def test_bad_input(subtests):
    for scales, dimensions, message in (
        ([4], DIMENSIONS, "2 columns"),
        ([4, 16], np.full((2, 2), np.nan), "all NaN"),
        ([4, 16], [1.0, 2.0], "Expected 2D array"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            DimensionScaleDisplay.from_scales(scales, dimensions)
