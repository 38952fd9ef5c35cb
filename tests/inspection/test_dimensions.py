import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvaeense.inspection import ActiveDimensionDisplay, DimensionReliabilityDisplay

# The third reliability is unknown.
RELIABILITY = [0.5, 1.0, np.nan, 0.8]
REASONS = {"noise": [1.0, 0.0, 1.0, 0.0], "far": [1.0, 0.0, 1.0, 2.0]}


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


def test_every_sample_is_in_a_bar(subtests):
    for dimensions in ([0.5, 1.25, 3.0], [0, 500], [2.5, 2.5], [3]):
        with subtests.test(dimensions=dimensions):
            (bars,) = ActiveDimensionDisplay(dimensions).plot().bars_
            heights = np.array([bar.get_height() for bar in bars])
            assert len(bars) <= 60
            values, counts = np.unique(dimensions, return_counts=True)
            filled = heights > 0
            assert_allclose(heights[filled] / heights.sum(), counts / len(dimensions))
            middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in bars])
            # A bar is slightly narrower than its interval.
            assert (np.abs(middles[filled] - values) <= 0.56 * bars[0].get_width()).all()


def test_nan_is_left_out():
    display = ActiveDimensionDisplay([1.0, np.nan, np.nan], ["a", "a", "b"])
    assert list(display.groups) == ["a"]
    assert_array_equal(display.groups["a"], [1.0])


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
        ([np.nan, np.nan], None, "all NaN"),
        ([1.0, np.inf], None, "dimensions contains infinity"),
        ([[1.0, 2.0]], None, "should be a 1d array"),
        ([1.0, 2.0], ["a"], "inconsistent numbers"),
    ):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            ActiveDimensionDisplay(dimensions, y)


def test_curves_are_means_over_the_most_reliable():
    wrong = [True, False, True, False]
    display = DimensionReliabilityDisplay(RELIABILITY, REASONS, wrong).plot()
    assert_allclose(display.shares, [1 / 3, 2 / 3, 1])
    # Half of the doubt about the first sample is noise. The doubt about the last sample is not
    # noise.
    assert_allclose(display.expected["noise"], [0, 0, 0.25 / 3])
    assert_allclose(display.expected["far"], [0, 0.2 / 2, (0.2 + 0.25) / 3])
    assert_allclose(display.observed, [0, 0, 1 / 3])
    assert_allclose(display.line_.get_ydata(), display.observed)
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["far", "noise", "wrong"]


def test_without_true_dimensions_there_is_no_line():
    display = DimensionReliabilityDisplay(RELIABILITY, REASONS).plot()
    assert display.observed is None
    assert display.line_ is None
    assert len(display.areas_) == 2


def test_many_samples_are_drawn_at_few_shares():
    reliability = np.random.default_rng(0).random(5000)
    display = DimensionReliabilityDisplay(reliability, {"noise": np.ones(5000)})
    assert len(display.shares) == 200
    assert display.shares[-1] == 1
    assert display.expected["noise"][-1] == pytest.approx(1 - reliability.mean())


def test_estimator_gives_the_numbers(subspaces, dimension_estimator):
    X, label = subspaces
    truth = np.where(label == "line", 1, 2)
    display = DimensionReliabilityDisplay.from_estimator(dimension_estimator, X, truth)
    wrong = np.rint(dimension_estimator.predict(X)) != truth
    assert display.observed[-1] == pytest.approx(wrong.mean())
    assert sum(display.expected.values())[-1] == pytest.approx(
        1 - dimension_estimator.reliability(X).mean()
    )


def test_bad_reliability(subtests):
    for reliability, reasons, wrong, message in (
        ([0.5], {}, None, "nothing to plot"),
        ([np.nan], {"noise": [1.0]}, None, "nothing to plot"),
        ([0.5, 0.6], {"noise": [1.0]}, None, "inconsistent numbers of samples"),
        ([0.5], {"noise": [1.0]}, [True, False], "inconsistent numbers of samples"),
        ([[0.5, 0.6]], {"noise": [1.0]}, None, "1d array"),
    ):
        with subtests.test(wrong=wrong), pytest.raises(ValueError, match=message):
            DimensionReliabilityDisplay(reliability, reasons, wrong)
