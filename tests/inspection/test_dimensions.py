import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.inspection import ActiveDimensionDisplay


def test_whole_numbers_have_a_bar_each():
    display = ActiveDimensionDisplay([1, 1, 1, 4, 2], ["a", "a", "a", "a", "b"]).plot()
    first, second = display.bars_
    heights = np.array([bar.get_height() for bar in first])
    assert_allclose(heights / heights.sum(), [0.75, 0, 0, 0.25])
    assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in first], [1, 2, 3, 4])
    # All rows have one scale, and the second class lies entirely in one bar.
    assert second[1].get_height() == pytest.approx(heights.sum())
    assert max(bar.get_height() for bar in second) < 1
    assert [bar.get_y() for bar in (first[0], second[0])] == [1, 0]


def test_means_are_marked_and_written():
    display = ActiveDimensionDisplay([1.0, 2.5, 7.0], ["a", "a", "b"]).plot()
    assert_array_equal(display.means_.get_offsets(), [[1.75, 1], [7, 0]])
    assert [text.get_text() for text in display.ax_.texts] == ["mean 1.8", "mean 7.0"]


def test_every_sample_is_in_the_bar_of_its_whole_number(subtests):
    for dimensions in ([0.5, 1.25, 3.0], [0, 500], [2.5, 2.5], [3], [3.5, 4.5]):
        with subtests.test(dimensions=dimensions):
            (bars,) = ActiveDimensionDisplay(dimensions).plot().bars_
            heights = np.array([bar.get_height() for bar in bars])
            filled = heights > 0
            assert heights.max() == pytest.approx(0.9)
            middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in bars])
            assert (np.abs(middles[filled][:, None] - dimensions) <= 0.5).any(axis=0).all()


def test_autoencoders_count_active_latents(subspaces, vaeense):
    X, y = subspaces
    display = ActiveDimensionDisplay.from_estimator(vaeense, X, y)
    count = vaeense.active_dimensions(X).sum(axis=1)
    assert_array_equal(display.groups["line"], count[y == "line"])
    assert_array_equal(display.groups["plane"], count[y == "plane"])
    assert display.ax_.get_xlabel() == "Active latents per sample"


def test_dimension_estimators_predict(subspaces, dimension_estimator):
    X, _ = subspaces
    display = ActiveDimensionDisplay.from_estimator(dimension_estimator, X)
    assert_array_equal(display.dimensions, dimension_estimator.predict(X))
    assert display.ax_.get_xlabel() == "Estimated dimension per sample"


def test_bad_dimensions(subtests):
    for dimensions, y, message in (
        ([np.nan, 1.0], None, "dimensions contains NaN"),
        ([1.0, np.inf], None, "dimensions contains infinity"),
        ([[1.0, 2.0]], None, "should be a 1d array"),
        ([1.0, 2.0], ["a"], "inconsistent numbers"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            ActiveDimensionDisplay(dimensions, y)
