"""The course of training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skvaeense.inspection._estimators import last_step, require
from skvaeense.inspection._plotting import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    require_axes,
    style,
)
from skvaeense.utils._repr import ReprMixin

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossCurveDisplay(ReprMixin):
    """Draw loss, its parts, and what weighs them, over the epochs of training.

    The upper panel has the loss: grey for the starts that were not kept, blue for the kept one. A
    vertical line marks where its last phase begins. The next panel has the two parts that add up to
    the loss: that of the error, and that of the code (divergence, or penalty times price). The last
    one has the noise variance, or the price.

    Parameters
    ----------
    history : dict of array-like
        One entry for each epoch, as in the fitted attribute `history_`. "loss" is needed; what else
        is there is drawn. Without "start" and "final" there is one start and no last phase.

    estimator_name : str or None, default=None
        For the title.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The panel of the loss.

    axes_ : list of matplotlib.axes.Axes
        All panels, from top to bottom. They share the room of the axes that were given.

    figure_ : matplotlib.figure.Figure
        The figure.

    line_ : matplotlib.lines.Line2D
        The loss of the kept model.

    start_lines_ : list of matplotlib.lines.Line2D
        The losses of the other starts.

    See Also
    --------
    ActiveDimensionDisplay : What came out of the training.

    Examples
    --------
    >>> from skvaeense.inspection import LossCurveDisplay
    >>> display = LossCurveDisplay.from_history({"loss": [3.0, 2.0, 1.5]})
    >>> display.ax_.get_xlabel()
    'Epoch'
    """

    def __init__(self, history: Mapping[str, Any], *, estimator_name: str | None = None) -> None:
        self.history = history
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: "Axes | None" = None, line_kw: dict[str, Any] | None = None
    ) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With the fitted attribute `history_`, `loss_curve_`, or `autoencoder_` that has them. It
            may be the last step of a Pipeline.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        line_kw : dict or None, default=None
            Keywords of the line of the loss.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator keeps no losses.
        """
        estimator, _ = last_step(estimator)
        check_is_fitted(estimator)
        estimator = getattr(estimator, "autoencoder_", estimator)
        require(estimator, "history_", "loss_curve_")
        history = getattr(estimator, "history_", None)
        if history is None:
            history = {"loss": estimator.loss_curve_}
        name = type(estimator).__name__
        return cls.from_history(history, estimator_name=name, ax=ax, line_kw=line_kw)

    @classmethod
    def from_history(
        cls,
        history: Mapping[str, ArrayLike],
        *,
        estimator_name: str | None = None,
        ax: "Axes | None" = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw a history.

        Parameters
        ----------
        history : dict of array-like
            One entry for each epoch, as in the fitted attribute `history_`.

        estimator_name : str or None, default=None
            For the title.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        line_kw : dict or None, default=None
            Keywords of the line of the loss.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If there is no "loss", or the entries differ in length.
        """
        if "loss" not in history:
            raise ValueError(f'history has no "loss", only {sorted(history)}.')
        arrays = {name: np.asarray(values, dtype=float) for name, values in history.items()}
        shapes = {name: values.shape for name, values in arrays.items()}
        if len(set(shapes.values())) > 1 or arrays["loss"].ndim != 1 or not arrays["loss"].size:
            raise ValueError(f"history needs arrays of one length, at least 1; got {shapes}.")
        return cls(arrays, estimator_name=estimator_name).plot(ax, line_kw=line_kw)

    def plot(self, ax: "Axes | None" = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        line_kw : dict or None, default=None
            Keywords of the line of the loss.

        Returns
        -------
        LossCurveDisplay
            The display.
        """
        panels = [draw for has, draw in self._panels() if has]
        self.ax_ = require_axes(ax, (6.4, 3.2 + 1.6 * len(panels)))
        self.figure_ = self.ax_.get_figure()
        self._draw_losses(style({"color": BLUE, "linewidth": 2}, line_kw))
        self.axes_ = [self.ax_, *_split(self.ax_, len(panels))]
        for draw, axes in zip(panels, self.axes_[1:], strict=True):
            draw(axes)
        before = self._last_phase()
        for axes in self.axes_:
            axes.tick_params(labelbottom=axes is self.axes_[-1])
            if before is not None:
                label = "last phase begins" if axes is self.ax_ else None
                axes.axvline(before + 0.5, color="black", linestyle=":", linewidth=1, label=label)
        if self.ax_.get_legend_handles_labels()[0]:
            self.ax_.legend()
        self.axes_[-1].set_xlabel("Epoch")
        title = "Training" if self.estimator_name is None else f"Training of {self.estimator_name}"
        self.ax_.set_title(title)
        return self

    # --- what the history holds ---------------------------------------------------------------

    def _runs(self):
        """Return the loss of each start, in order; the kept one is last."""
        start = self.history.get("start")
        if start is None:
            return [self.history["loss"]]
        others = [s for s in np.unique(start) if s != start[-1]]
        return [self.history["loss"][start == s] for s in [*others, start[-1]]]

    def _of_kept(self, name):
        """Return a quantity over the epochs of the kept model."""
        values, start = self.history[name], self.history.get("start")
        return values if start is None else values[start == start[-1]]

    def _code_part(self):
        """Return name and values of what the code adds to the loss, or None."""
        if "kl" in self.history:
            return "KL divergence", self._of_kept("kl")
        if {"penalty", "price"} <= set(self.history):
            return "price times penalty", self._of_kept("penalty") * self._of_kept("price")
        return None

    def _weight(self):
        """Return name and label of what weighs the parts, or None."""
        if "noise_variance" in self.history:
            return "noise_variance", "Noise variance\n(squared units of X)"
        return ("price", "Price") if np.any(self.history.get("price", 0)) else None

    def _unit(self):
        if "kl" in self.history:
            return "nats per sample"
        return "fraction of variance" if "penalty" in self.history else None

    # --- panels -------------------------------------------------------------------------------

    def _panels(self):
        return [
            (self._code_part() is not None, self._draw_parts),
            (self._weight() is not None, self._draw_weight),
        ]

    def _draw_losses(self, keywords):
        *others, kept = self._runs()
        self.start_lines_ = [
            self.ax_.plot(_epochs(loss), loss, color=GREY, linewidth=1)[0] for loss in others
        ]
        (self.line_,) = self.ax_.plot(_epochs(kept), kept, **keywords)
        unit = self._unit()
        self.ax_.set_ylabel("Loss" if unit is None else f"Loss\n({unit})")
        if others:
            self.start_lines_[0].set_label("other starts")
            self.line_.set_label("kept start")

    def _draw_parts(self, axes):
        name, code_part = self._code_part()
        error_part = self._of_kept("loss") - code_part
        axes.plot(_epochs(error_part), error_part, color=GREEN, label="error")
        axes.plot(_epochs(code_part), code_part, color=RED, label=name)
        axes.set_ylabel(f"Parts\n({self._unit()})")
        axes.legend()

    def _draw_weight(self, axes):
        name, label = self._weight()
        values = self._of_kept(name)
        axes.plot(_epochs(values), values, color=PURPLE)
        axes.set_yscale("log")
        axes.set_ylabel(label)

    def _last_phase(self):
        """Return how many epochs of the kept model came before its last phase, or None."""
        if "final" not in self.history:
            return None
        final = self._of_kept("final")
        return int((final == 0).sum()) if final.any() and not final.all() else None


def _epochs(values):
    return np.arange(1, len(values) + 1)


def _split(ax, n_panels):
    """Return so many axes under the given ones, which give up room and share their x-axis."""
    from matplotlib.gridspec import GridSpec, GridSpecFromSubplotSpec

    rows = 1 + n_panels
    heights = [3] + [2] * n_panels
    place, figure = ax.get_subplotspec(), ax.get_figure()
    if place is None:
        # Axes that were put somewhere by hand.
        (left, bottom), (right, top) = ax.get_position().get_points()
        bounds = {"left": left, "right": right, "bottom": bottom, "top": top}
        grid: Any = GridSpec(rows, 1, figure, height_ratios=heights, **bounds)
    else:
        grid = GridSpecFromSubplotSpec(rows, 1, place, height_ratios=heights)
    if n_panels:
        ax.set_subplotspec(grid[0])
    current = figure.gca()
    panels = [figure.add_subplot(grid[i], sharex=ax) for i in range(1, 1 + n_panels)]
    figure.sca(current)
    return panels
