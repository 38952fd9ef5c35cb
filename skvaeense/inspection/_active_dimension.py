"""The distribution of the dimension over samples."""

from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_consistent_length

from skvaeense.inspection._display import BLUE, RED, Display, OptionalAxes, Style, draw_rows, style
from skvaeense.inspection._estimators import active_mask, fitted_step, require
from skvaeense.utils._arrays import column_or_1d
from skvaeense.utils._typing import DoubleArray

# Maximum number of bars. If there are more whole numbers, bars have equal widths instead.
MAX_BARS = 60


class ActiveDimensionDisplay(Display):  # numpydoc ignore=PR02
    """Draw the distribution of the dimension over the samples of each class.

    Each class has a row with a histogram and a mark at its mean. Bars show shares of the samples of
    the class, on the same scale in all rows.

    Parameters
    ----------
    dimensions : list of ndarray
        Dimensions of the samples of each class.

    class_names : list of str
        Names of the classes; a single empty string if there are no classes.

    quantity : str, default="Dimension"
        Name of the counted quantity, for the label of the axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    bars_ : list of matplotlib.container.BarContainer
        The histogram of each class.

    means_ : matplotlib.collections.PathCollection
        The marks at the means.

    See Also
    --------
    sparsity_pattern : Which latents are active.
    skvaeense.IntrinsicDimensionEstimator.dimension_scale : The dimension at several scales.

    Examples
    --------
    >>> from skvaeense.inspection import ActiveDimensionDisplay
    >>> display = ActiveDimensionDisplay.from_dimensions([1, 1, 2, 5], ["a", "a", "a", "b"])
    >>> [float(dimensions.mean()) for dimensions in display.dimensions]
    [1.33..., 5.0]
    """

    dimensions: list[DoubleArray]
    _: KW_ONLY
    class_names: list[str]
    quantity: str = "Dimension"

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: OptionalAxes = None,
        bar_kw: Style = None,
    ) -> Self:
        """Draw the dimensions of samples.

        Parameters
        ----------
        estimator : estimator
            An autoencoder with `active_dimensions`, whose active latents are counted, or a
            dimension estimator, whose `predict` is used. It can be the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        ActiveDimensionDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator is of neither kind.
        """
        step, X = fitted_step(estimator, X)
        if hasattr(step, "active_dimensions"):
            dimensions, quantity = active_mask(step, X).sum(axis=1), "Active latents"
        else:
            # `dimension_` is required, since classifiers and regressors have `predict` too.
            require(step, "active_dimensions", "dimension_")
            dimensions, quantity = step.predict(X), "Estimated dimension"
        return cls.from_dimensions(dimensions, y, quantity=quantity, ax=ax, bar_kw=bar_kw)

    @classmethod
    def from_dimensions(
        cls,
        dimensions: ArrayLike,
        y: ArrayLike | None = None,
        *,
        quantity: str = "Dimension",
        ax: OptionalAxes = None,
        bar_kw: Style = None,
    ) -> Self:
        """Draw known dimensions.

        Parameters
        ----------
        dimensions : array-like of shape (n_samples,)
            Dimension of each sample; samples with NaN are left out.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        quantity : str, default="Dimension"
            Name of the counted quantity, for the label of the axis.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        ActiveDimensionDisplay
            The display.

        Raises
        ------
        ValueError
            If `dimensions` is not 1-d, holds infinity or only NaN, or if lengths differ.
        """
        values = column_or_1d(dimensions, dtype=np.float64, input_name="dimensions")
        assert_all_finite(values, allow_nan=True, input_name="dimensions")
        labels = column_or_1d([""] * len(values) if y is None else y)
        check_consistent_length(values, labels)
        known = ~np.isnan(values)
        if not known.any():
            raise ValueError("dimensions are all NaN.")
        classes = np.unique(labels[known])
        parts = [values[known & (labels == one)] for one in classes]
        names = [str(one) for one in classes]
        return cls(parts, class_names=names, quantity=quantity).plot(ax, bar_kw=bar_kw)

    def plot(self, ax: OptionalAxes = None, *, bar_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        ActiveDimensionDisplay
            The display.
        """
        from matplotlib.ticker import MaxNLocator

        n_classes = len(self.dimensions)
        axes = self.use_axes(ax, (6.4, 1.8 + 0.45 * n_classes))
        edges = _edges(np.concatenate(self.dimensions))
        shares = np.array([np.histogram(d, edges)[0] / len(d) for d in self.dimensions])
        keywords = style({"color": BLUE, "width": 0.9 * np.diff(edges)}, bar_kw)
        middles = (edges[:-1] + edges[1:]) / 2
        self.bars_ = draw_rows(axes, middles, shares, self.class_names, [keywords] * n_classes)
        floors = axes.get_yticks()
        means = np.array([d.mean() for d in self.dimensions])
        self.means_ = axes.scatter(
            means, floors, marker="^", s=45, color=RED, clip_on=False, zorder=3, label="mean"
        )
        for floor, mean in zip(floors, means, strict=True):
            label, beside = f"mean {mean:.1f}", axes.get_yaxis_transform()
            axes.text(1.01, floor + 0.25, label, transform=beside, color=RED, va="center")
        is_named = any(self.class_names)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.set(
            title="Samples by dimension" + (", as shares of each class" if is_named else ""),
            xlabel=f"{self.quantity} per sample",
            ylabel="Class" if is_named else "Share of samples",
            ylim=(-0.15, n_classes + 0.05),
        )
        return self


def _edges(dimensions):
    """Return the edges of the bars: one bar for each whole number, or bars of equal width."""
    low, high = dimensions.min(), dimensions.max()
    is_whole = (dimensions == np.round(dimensions)).all()
    if low == high or (is_whole and high - low <= MAX_BARS):
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, MAX_BARS + 1)
