"""The dimension as a function of the scale at which it is measured."""

from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skvaeense.inspection._base import Display, OptionalAxes, Style
from skvaeense.inspection._estimators import fitted_step
from skvaeense.inspection._groups import known_by_label
from skvaeense.inspection._plotting import add_legend, series_style, style
from skvaeense.utils._typing import DoubleArray

# Bands of more classes would hide each other.
MAX_BANDS = 4


class DimensionScaleDisplay(Display):  # numpydoc ignore=PR02
    """Draw the dimension of samples against the scale at which it is measured.

    The scale is the number of nearest neighbours whose distances are compared. Each class has a
    line at its median and, if there are at most four classes, a band from the lower to the upper
    quartile. On a manifold without noise the line is level. Noise adds dimensions at small scales,
    so the line falls. Curvature and other manifolds nearby add dimensions at large scales, so the
    line rises.

    Parameters
    ----------
    scales : ndarray of shape (n_scales,)
        Number of neighbours of each scale, ascending.

    quartiles : list of ndarray of shape (3, n_scales)
        Lower quartile, median and upper quartile of the dimensions of each class.

    class_names : list of str
        Names of the classes; a single empty string if there are no classes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    lines_ : list of matplotlib.lines.Line2D
        The medians.

    bands_ : list of matplotlib.collections.PolyCollection
        The bands; empty if there are more than four classes.

    See Also
    --------
    ActiveDimensionDisplay : Distribution of the dimension at one scale.

    Examples
    --------
    >>> from skvaeense.inspection import DimensionScaleDisplay
    >>> display = DimensionScaleDisplay.from_scales([4, 16], [[2.5, 2.0], [2.3, 2.0]])
    >>> display.quartiles[0][1]
    array([2.4, 2. ])
    """

    scales: DoubleArray
    quartiles: list[DoubleArray]
    _: KW_ONLY
    class_names: list[str]

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw the dimensions of samples at each scale.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `dimension_scale`, such as IntrinsicDimensionEstimator. It can be the last
            step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the lines.

        Returns
        -------
        DimensionScaleDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `dimension_scale`.
        """
        step, X = fitted_step(estimator, X, needs=["dimension_scale"])
        scales, dimensions = step.dimension_scale(X)
        return cls.from_scales(scales, dimensions, y, ax=ax, line_kw=line_kw)

    @classmethod
    def from_scales(
        cls,
        scales: ArrayLike,
        dimensions: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw known dimensions.

        Parameters
        ----------
        scales : array-like of shape (n_scales,)
            Number of neighbours of each scale, ascending.

        dimensions : array-like of shape (n_samples, n_scales)
            Dimension of each sample at each scale; NaN is ignored.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the lines.

        Returns
        -------
        DimensionScaleDisplay
            The display.

        Raises
        ------
        ValueError
            If shapes do not match, or if every class has only NaN at some scale.
        """
        values = check_array(
            dimensions, dtype=np.float64, ensure_all_finite="allow-nan", input_name="dimensions"
        )
        at = np.asarray(scales, dtype=float)
        if at.shape != values.shape[1:]:
            raise ValueError(
                f"dimensions has {values.shape[1]} columns, but scales has shape "
                f"{at.shape}; they must match."
            )
        known = known_by_label(values, y)
        quartiles = [np.nanquantile(part, (0.25, 0.5, 0.75), axis=0) for part in known.values()]
        return cls(at, quartiles, class_names=list(known)).plot(ax, line_kw=line_kw)

    def plot(self, ax: OptionalAxes = None, *, line_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the lines.

        Returns
        -------
        DimensionScaleDisplay
            The display.
        """
        axes = self.use_axes(ax, (6.4, 4.8))
        self.lines_, self.bands_ = [], []
        has_bands = len(self.quartiles) <= MAX_BANDS
        for i, (low, middle, high) in enumerate(self.quartiles):
            keywords = {**series_style(i), "marker": "o", "label": self.class_names[i] or None}
            self.lines_ += axes.plot(self.scales, middle, **style(keywords, line_kw))
            if has_bands:
                band = {"color": self.lines_[i].get_color(), "alpha": 0.15, "linewidth": 0}
                self.bands_.append(axes.fill_between(self.scales, low, high, **band))
        axes.set(
            title="Dimension over scale",
            xlabel="Scale (number of neighbours)",
            ylabel="Dimension (median, middle half)" if has_bands else "Dimension (median)",
            xscale="log",
        )
        axes.set_ylim(bottom=0)
        axes.set_xticks(self.scales, [f"{scale:g}" for scale in self.scales])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        add_legend(axes)
        return self
