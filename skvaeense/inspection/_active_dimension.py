"""How the dimension of samples is distributed."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skvaeense.inspection._estimators import active_mask, last_step, require
from skvaeense.inspection._groups import group_by_label
from skvaeense.inspection._plotting import BLUE, RED, require_axes, style
from skvaeense.utils._repr import ReprMixin
from skvaeense.utils._typing import DoubleArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Whole numbers have a bar each up to this range; else there are so many bars.
MAX_BARS = 60
N_BARS = 40
# Height of the tallest bar, where rows are 1 apart.
HEIGHT = 0.85


class ActiveDimensionDisplay(ReprMixin):
    """Draw how the dimension of samples is distributed in each class.

    Each class has a row with a histogram, and a mark at its mean. The bars of a row are shares of
    its samples, and all rows have the same scale.

    Parameters
    ----------
    dimensions : list of ndarray
        Dimensions of the samples of each class.

    class_names : list of str
        Their names; one empty string where there are no classes.

    quantity : str, default="Dimension"
        What is counted, for the axis.

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
    SparsityPatternDisplay : Which latents are active.
    DimensionScaleDisplay : How the dimension depends on the scale.

    Examples
    --------
    >>> from skvaeense.inspection import ActiveDimensionDisplay
    >>> display = ActiveDimensionDisplay.from_dimensions([1, 1, 2, 5], ["a", "a", "a", "b"])
    >>> [float(dimensions.mean()) for dimensions in display.dimensions]
    [1.33..., 5.0]
    """

    def __init__(
        self, dimensions: list[DoubleArray], *, class_names: list[str], quantity: str = "Dimension"
    ) -> None:
        self.dimensions = dimensions
        self.class_names = class_names
        self.quantity = quantity

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: "Axes | None" = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the dimensions of samples.

        Parameters
        ----------
        estimator : estimator
            With `active_dimensions`, whose number is drawn, or a dimension estimator, whose
            `predict` is. It may be the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        ActiveDimensionDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has neither.
        """
        step, X = last_step(estimator, X)
        check_is_fitted(step)
        if hasattr(step, "active_dimensions"):
            dimensions, quantity = active_mask(step, X).sum(axis=1), "Active latents"
        else:
            # Classifiers and regressors have predict too.
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
        ax: "Axes | None" = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw dimensions.

        Parameters
        ----------
        dimensions : array-like of shape (n_samples,)
            Dimension of each sample; samples with NaN are left out.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        quantity : str, default="Dimension"
            What is counted, for the axis.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        ActiveDimensionDisplay
            The display.

        Raises
        ------
        ValueError
            If no dimension is a number, or lengths differ.
        """
        values = check_array(
            dimensions,
            dtype=np.float64,
            ensure_2d=False,
            ensure_all_finite="allow-nan",
            input_name="dimensions",
        )
        if values.ndim != 1:
            raise ValueError(f"dimensions must be 1-d, got shape {values.shape}.")
        groups = [(group.name, values[group.rows]) for group in group_by_label(y, len(values))]
        known = [(name, part[~np.isnan(part)]) for name, part in groups]
        known = [(name, part) for name, part in known if len(part)]
        if not known:
            raise ValueError("dimensions holds nothing but NaN, so there is nothing to draw.")
        names, parts = zip(*known, strict=True)
        display = cls(list(parts), class_names=list(names), quantity=quantity)
        return display.plot(ax, bar_kw=bar_kw)

    def plot(self, ax: "Axes | None" = None, *, bar_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        ActiveDimensionDisplay
            The display.
        """
        n_classes = len(self.dimensions)
        self.ax_ = require_axes(ax, (6.4, 1.8 + 0.45 * n_classes))
        self.figure_ = self.ax_.get_figure()
        edges = _edges(np.concatenate(self.dimensions))
        shares = [np.histogram(d, edges)[0] / len(d) for d in self.dimensions]
        factor = HEIGHT / max(share.max() for share in shares)
        # The first class is on top.
        floors = np.arange(n_classes)[::-1]
        keywords = style({"color": BLUE, "width": 0.9 * np.diff(edges)}, bar_kw)
        middles = (edges[:-1] + edges[1:]) / 2
        self.bars_ = [
            self.ax_.bar(middles, factor * share, bottom=floor, **keywords)
            for share, floor in zip(shares, floors, strict=True)
        ]
        for floor in floors:
            self.ax_.axhline(floor, color="black", linewidth=0.5)
        means = np.array([d.mean() for d in self.dimensions])
        self.means_ = self.ax_.scatter(
            means, floors, marker="^", s=45, color=RED, clip_on=False, zorder=3, label="mean"
        )
        self._label(floors, means)
        return self

    def _label(self, floors, means):
        from matplotlib.ticker import MaxNLocator

        named = any(self.class_names)
        self.ax_.set_yticks(floors, self.class_names)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.set_ylim(-0.15, len(floors) + 0.05)
        self.ax_.set_ylabel("Class" if named else "Share of samples")
        self.ax_.set_xlabel(f"{self.quantity} per sample")
        self.ax_.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        self.ax_.set_title("Samples by dimension" + (", as shares of each class" if named else ""))
        for side in ("left", "right", "top"):
            self.ax_.spines[side].set_visible(False)
        # Means stand in a column beside the rows.
        for floor, mean in zip(floors, means, strict=True):
            self.ax_.annotate(
                f"mean {mean:.1f}",
                (1.01, floor + 0.25),
                xycoords=("axes fraction", "data"),
                color=RED,
                va="center",
            )


def _edges(dimensions):
    """Return the edges of bars: one bar for each whole number, or else bars of one width."""
    low, high = dimensions.min(), dimensions.max()
    if low == high:
        return np.array([low - 0.5, low + 0.5])
    if (dimensions == np.round(dimensions)).all() and high - low <= MAX_BARS:
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, N_BARS + 1)
