import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.inspection import ActiveDimensionDisplay


def test_whole_numbers_have_a_bar_each():
    display = ActiveDimensionDisplay.from_dimensions([1, 1, 1, 4, 2], ["a", "a", "a", "a", "b"])
    first, second = display.bars_
    heights = np.array([bar.get_height() for bar in first])
    assert_allclose(heights / heights.sum(), [0.75, 0, 0, 0.25])
    assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in first], [1, 2, 3, 4])
    # All rows have one scale, and the second class lies entirely in one bar.
    assert second[1].get_height() == pytest.approx(heights.sum())
    assert max(bar.get_height() for bar in second) < 1
    assert [bar.get_y() for bar in (first[0], second[0])] == [1, 0]


def test_means_are_marked_and_written():
    display = ActiveDimensionDisplay.from_dimensions([1.0, 2.5, 7.0], ["a", "a", "b"])
    assert_array_equal(display.means_.get_offsets(), [[1.75, 1], [7, 0]])
    assert [text.get_text() for text in display.ax_.texts] == ["mean 1.8", "mean 7.0"]


def test_every_sample_is_in_a_bar(subtests):
    for dimensions in ([0.5, 1.25, 3.0], [0, 500], [2.5, 2.5], [3]):
        with subtests.test(dimensions=dimensions):
            (bars,) = ActiveDimensionDisplay.from_dimensions(dimensions).bars_
            heights = np.array([bar.get_height() for bar in bars])
            assert len(bars) <= 60
            values, counts = np.unique(dimensions, return_counts=True)
            filled = heights > 0
            assert_allclose(heights[filled] / heights.sum(), counts / len(dimensions))
            middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in bars])
            # A bar is slightly narrower than its interval.
            assert (np.abs(middles[filled] - values) <= 0.56 * bars[0].get_width()).all()


def test_classes_have_a_row_each(subtests):
    for n_classes in (2, 10):
        with subtests.test(n_classes=n_classes):
            y = np.arange(100) % n_classes
            display = ActiveDimensionDisplay.from_dimensions(y + 1.0, y)
            assert [d.mean() for d in display.dimensions] == list(range(1, n_classes + 1))
            labels = [label.get_text() for label in display.ax_.get_yticklabels()]
            assert labels == [str(i) for i in range(n_classes)]


def test_nan_is_left_out():
    display = ActiveDimensionDisplay.from_dimensions([1.0, np.nan, np.nan], ["a", "a", "b"])
    assert display.class_names == ["a"]
    assert_array_equal(display.dimensions[0], [1.0])


def test_autoencoders_count_active_latents(subspaces, vaeense):
    X, y = subspaces
    display = ActiveDimensionDisplay.from_estimator(vaeense, X, y)
    count = vaeense.active_dimensions(X).sum(axis=1)
    assert_array_equal(display.dimensions[0], count[y == "line"])
    assert_array_equal(display.dimensions[1], count[y == "plane"])
    assert display.ax_.get_xlabel() == "Active latents per sample"


def test_dimension_estimators_predict(subspaces, dimension_estimator):
    X, _ = subspaces
    display = ActiveDimensionDisplay.from_estimator(dimension_estimator, X)
    assert_array_equal(display.dimensions[0], dimension_estimator.predict(X))
    assert display.ax_.get_xlabel() == "Estimated dimension per sample"


def test_bad_input(subtests):
    for dimensions, y, message in (
        ([np.nan, np.nan], None, "all NaN"),
        ([1.0, np.inf], None, "dimensions contains infinity"),
        ([[1.0, 2.0]], None, "should be a 1d array"),
        ([1.0, 2.0], ["a"], "inconsistent numbers"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            ActiveDimensionDisplay.from_dimensions(dimensions, y)
