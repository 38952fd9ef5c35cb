import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvaeense.inspection import DimensionReliabilityDisplay

# The third reliability is unknown.
RELIABILITY = [0.5, 1.0, np.nan, 0.8]
REASONS = {"noise": [1.0, 0.0, 1.0, 0.0], "far": [1.0, 0.0, 1.0, 2.0]}


def test_curves_are_means_over_the_most_reliable():
    wrong = [True, False, True, False]
    display = DimensionReliabilityDisplay.from_reliability(RELIABILITY, REASONS, wrong)
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
    display = DimensionReliabilityDisplay.from_reliability(RELIABILITY, REASONS)
    assert display.observed is None
    assert display.line_ is None
    assert len(display.areas_) == 2


def test_many_samples_are_drawn_at_few_shares():
    reliability = np.random.default_rng(0).random(5000)
    display = DimensionReliabilityDisplay.from_reliability(reliability, {"noise": np.ones(5000)})
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


def test_bad_input(subtests):
    for reliability, reasons, wrong, message in (
        ([0.5], {}, None, "nothing to plot"),
        ([np.nan], {"noise": [1.0]}, None, "nothing to plot"),
        ([0.5, 0.6], {"noise": [1.0]}, None, "inconsistent numbers of samples"),
        ([0.5], {"noise": [1.0]}, [True, False], "inconsistent numbers of samples"),
        ([[0.5, 0.6]], {"noise": [1.0]}, None, "1d array"),
    ):
        with subtests.test(wrong=wrong), pytest.raises(ValueError, match=message):
            DimensionReliabilityDisplay.from_reliability(reliability, reasons, wrong)
