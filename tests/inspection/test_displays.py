"""Behaviour that all displays share."""

import inspect
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA

from skvaeense.inspection import (
    ActiveDimensionDisplay,
    Display,
    LatentDisplay,
    LossCurveDisplay,
    ReconstructionSparsityDisplay,
    ScoreComparisonDisplay,
    compare_scores,
)

HISTORY = {
    "loss": [3.0, 2.0, 4.0, 1.0, 0.5],
    "kl": [1.0, 1.0, 2.0, 0.5, 0.2],
    "noise_variance": [1.0, 0.5, 1.0, 0.4, 0.1],
    "init": [0, 0, 1, 1, 1],
}


class NormDisplay(Display):
    """Draw the norms of decoder columns, like a display of a user.

    Parameters
    ----------
    norms : ndarray of shape (n_components,)
        The norms.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        The norms as a line.
    """

    norms: np.ndarray

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        return cls(np.linalg.norm(estimator.components_, axis=1)).plot(ax)

    def plot(self, ax=None):
        axes = self.use_axes(ax, (4, 3))
        (self.line_,) = axes.plot(self.norms)
        axes.set_title("Norms")
        return self


Y = ["a", "a", "b"]
COMPARISON = compare_scores([PCA(1), PCA(2)], np.random.default_rng(0).standard_normal((20, 3)))
DISPLAYS = {
    "loss": LossCurveDisplay(HISTORY),
    "dimension": ActiveDimensionDisplay([1.0, 2.0, 4.0], Y),
    "curve": ReconstructionSparsityDisplay({"mine": ([0, 1], [1.0, 0.1], (0.5, 0.6))}),
    "images": LatentDisplay(np.eye(6), image_shape=(2, 3)),
    "rows": LatentDisplay(np.eye(6)),
    "scores": ScoreComparisonDisplay(COMPARISON),
    "own": NormDisplay(np.ones(3)),
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_given_axes_are_used_and_pyplot_stays_as_it_was(name):
    figure, (left, right) = plt.subplots(1, 2)
    current = plt.subplots()[1]
    figure.sca(left)
    n_figures = len(plt.get_fignums())
    display = DISPLAYS[name].plot(right)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert plt.gca() is current
    assert figure.gca() is left
    assert not left.has_data()
    assert len(plt.get_fignums()) == n_figures


def test_axes_without_a_grid_are_used():
    for name, display in DISPLAYS.items():
        ax = plt.figure().add_axes([0.2, 0.2, 0.6, 0.6])
        assert display.plot(ax).ax_ is ax, name
        display.figure_.canvas.draw()


@pytest.mark.parametrize("name", DISPLAYS)
def test_labels_are_inside_a_new_figure_and_plot_draws_another(name):
    display = DISPLAYS[name].plot()
    assert display.figure_.number in plt.get_fignums()
    assert display.ax_ in display.figure_.axes
    assert display.ax_.get_title()
    display.figure_.canvas.draw()
    box = display.figure_.get_tightbbox()
    width, height = display.figure_.get_size_inches()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02
    first = display.ax_
    assert display.plot() is display
    assert display.ax_ is not first


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for display in DISPLAYS.values():
        with pytest.raises(ImportError, match=r"skvaeense\[plot\]"):
            display.plot()


def test_documented_parameters_are_those_of_the_constructor():
    for display in Display.__subclasses__():
        doc = inspect.getdoc(display)
        section = doc.split("Parameters\n----------\n")[1].split("\n\nAttri")[0]
        documented = re.findall(r"^(\w+) : ", section, re.MULTILINE)
        assert documented == list(inspect.signature(display).parameters)


def test_a_display_of_a_user_reads_an_estimator():
    assert_allclose(NormDisplay.from_estimator(PCA(2).fit(np.eye(3))).line_.get_ydata(), 1)


def test_a_display_must_draw():
    class Silent(Display):
        """A display without a picture."""

    with pytest.raises(TypeError, match="plot"):
        Silent()
