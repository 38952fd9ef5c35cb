"""The base class of the displays."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias, dataclass_transform

from skvaeense.utils._optional import optional_import
from skvaeense.utils._repr import ReprMixin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OptionalAxes: TypeAlias = "Axes | None"
# Keywords of a matplotlib artist.
Style: TypeAlias = dict[str, Any] | None


@dataclass_transform(eq_default=False)
class Display(ReprMixin, ABC):
    """Base class of the displays, which hold the numbers of a picture and draw it.

    To add a display, derive a class from this one; it becomes a dataclass. Its annotated fields are
    the numbers, its class method `from_estimator` computes them and calls `plot`, and `plot` starts
    with `use_axes`.

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
