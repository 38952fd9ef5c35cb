"""The base class of the displays, and the colours that they share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias, dataclass_transform

import numpy as np

from skvaeense.utils._files import optional_import
from skvaeense.utils._validation import ReprMixin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OptionalAxes: TypeAlias = "Axes | None"
# Estimators by name, or in a list.
Estimators: TypeAlias = Mapping[str, Any] | Sequence[Any]

# The palette of Okabe and Ito, which colour-blind people can tell apart, without its yellow, which
# is too light for lines.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
GREY = "#BBBBBB"


@dataclass_transform(eq_default=False)
class Display(ReprMixin, ABC):
    """Base class of the displays, which hold the numbers of a picture and draw it.

    To add a display, derive a class from this one; it becomes a dataclass. Its annotated fields are
    the numbers, its class method `from_estimator` computes them and calls `plot`, and `plot` starts
    with `use_axes`. To draw in another style, change the artists that a display has as attributes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the picture.

    figure_ : matplotlib.figure.Figure
        The figure that the axes belong to.

    See Also
    --------
    LatentDisplay : A display with two kinds of pictures.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense.inspection import Display
    >>> class ScreeDisplay(Display):
    ...     variance: list
    ...
    ...     @classmethod
    ...     def from_estimator(cls, estimator, *, ax=None):
    ...         return cls(estimator.explained_variance_).plot(ax)
    ...
    ...     def plot(self, ax=None):
    ...         self.use_axes(ax, (4, 3)).plot(self.variance)
    ...         return self
    >>> ScreeDisplay.from_estimator(PCA().fit([[0.0, 1.0], [2.0, 0.0], [4.0, 1.0]]))
    ScreeDisplay(variance=<array of shape (2,)>)
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(repr=False, eq=False)(cls)

    @abstractmethod
    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        Display
            The display itself.
        """

    def use_axes(self, ax: OptionalAxes, figsize: tuple[float, float]) -> Any:
        """Set `ax_` and `figure_` from the given axes, or from a new figure.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Axes to draw on.

        figsize : tuple of two floats
            Width and height of a new figure in inches.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = optional_import("matplotlib.pyplot", "Plotting", "plot")
        self.ax_: Any = plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax
        self.figure_: Any = self.ax_.get_figure()
        return self.ax_

    def _add_legend(self):
        """Add a legend of the labelled lines, inside the axes if it is short, or to their right."""
        long = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
        n_entries = len(self.ax_.get_legend_handles_labels()[0])
        if n_entries:
            self.ax_.legend(**long if n_entries > 5 else {"framealpha": 0.9})

    def _draw_rows(self, places, sizes, names, colors, width=0.8):
        """Draw a named row of bars for each row of `sizes`, 1 apart, and return them.

        The first row is on top; `colors` has a color for each bar.
        """
        # The tallest bars leave a tenth of a row.
        room = 0.45 if (sizes < 0).any() else 0.9
        heights = sizes * (room / (np.abs(sizes).max() or 1.0))
        floors = np.arange(len(heights))[::-1]
        self.ax_.set_yticks(floors, names)
        self.ax_.tick_params(axis="y", length=0)
        for floor in floors:
            self.ax_.axhline(floor, color=BLACK, linewidth=0.5)
        rows = zip(heights, floors, colors, strict=True)
        return [self.ax_.bar(places, h, width, floor, color=c) for h, floor, c in rows]
