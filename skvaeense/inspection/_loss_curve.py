"""A picture of the loss during training."""

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._display import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    Display,
    OptionalAxes,
    Style,
)
from skvaeense.inspection._estimators import fitted_step, require


class LossCurveDisplay(Display):  # numpydoc ignore=PR02
    """Draw the loss, its parts and their relative weight over the epochs of training.

    The upper panel shows the loss: grey for the initializations that were dropped, blue for the one
    that was kept. The next panel shows the two parts of the loss: the error, and the cost of the
    code (its divergence from the prior, or the weighted penalty). The last panel shows the noise
    variance, or the coefficient of the penalty.

    Parameters
    ----------
    history : dict of ndarray
        One entry for each epoch, as in the fitted attribute `history_`. Only "loss" is required;
        the other panels are drawn if their entries are there. Without "init" there is one
        initialization.

    estimator_name : str or None, default=None
        Name of the estimator, for the title.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The panel of the loss.

    axes_ : list of matplotlib.axes.Axes
        All panels, from top to bottom. They share the space of the given axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    line_ : matplotlib.lines.Line2D
        The loss of the kept model.

    init_lines_ : list of matplotlib.lines.Line2D
        The losses of the other initializations.

    See Also
    --------
    ActiveDimensionDisplay : Number of active latents after training.

    Examples
    --------
    >>> from skvaeense.inspection import LossCurveDisplay
    >>> display = LossCurveDisplay.from_history({"loss": [3.0, 2.0, 1.5]})
    >>> display.ax_.get_xlabel()
    'Epoch'
    """

    history: Mapping[str, Any]
    _: KW_ONLY
    estimator_name: str | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: OptionalAxes = None, line_kw: Style = None
    ) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With the fitted attribute `history_` or `loss_curve_`, or with an `autoencoder_` that
            has one of them. It can be the last step of a Pipeline.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

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
        step, _ = fitted_step(estimator)
        step = getattr(step, "autoencoder_", step)
        require(step, "history_", "loss_curve_")
        history = step.history_ if hasattr(step, "history_") else {"loss": step.loss_curve_}
        return cls.from_history(history, estimator_name=type(step).__name__, ax=ax, line_kw=line_kw)

    @classmethod
    def from_history(
        cls,
        history: Mapping[str, ArrayLike],
        *,
        estimator_name: str | None = None,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw a history.

        Parameters
        ----------
        history : dict of array-like
            One entry for each epoch, as in the fitted attribute `history_`.

        estimator_name : str or None, default=None
            Name of the estimator, for the title.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

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
            raise ValueError(
                f"history must hold non-empty 1d arrays of the same length, got shapes {shapes}."
            )
        return cls(arrays, estimator_name=estimator_name).plot(ax, line_kw=line_kw)

    def plot(self, ax: OptionalAxes = None, *, line_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the line of the loss.

        Returns
        -------
        LossCurveDisplay
            The display.
        """
        loss = self.history["loss"]
        init = self.history.get("init", np.zeros(len(loss)))
        is_kept = init == init[-1]
        kept = {name: values[is_kept] for name, values in self.history.items()}
        unit, panels = _panels(kept)
        top = self.use_axes(ax, (6.4, 3.2 + 1.6 * len(panels)))
        epoch = self.history.get("epoch")  # Long epochs have several entries.

        def draw(axes, rows, values, keywords):
            x = np.arange(1, len(values) + 1) if epoch is None else epoch[rows]
            return axes.plot(x, values, **keywords)[0]

        others = [init == i for i in np.unique(init[~is_kept])]
        thin, bold = {"color": GREY, "linewidth": 1}, {"color": BLUE, "linewidth": 2}
        self.init_lines_ = [draw(top, rows, loss[rows], thin) for rows in others]
        self.line_ = draw(top, is_kept, kept["loss"], bold | (line_kw or {}))
        if others:
            self.init_lines_[0].set_label("other inits")
            self.line_.set_label("kept init")
        self.axes_ = [top, *_split(top, len(panels))]
        for axes, (label, scale, lines) in zip(self.axes_[1:], panels, strict=True):
            for color, name, values in lines:
                draw(axes, is_kept, values, {"color": color, "label": name})
            axes.set(ylabel=label, yscale=scale)
        for axes in self.axes_:
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
            axes.tick_params(labelbottom=axes is self.axes_[-1])
        self.axes_[-1].set_xlabel("Epoch")
        name = "" if self.estimator_name is None else f" of {self.estimator_name}"
        top.set(title=f"Training{name}", ylabel="Loss" if unit is None else f"Loss\n({unit})")
        return self


def _panels(kept):
    """Return the unit of the loss, and the label, scale and lines of each further panel.

    A line is a tuple of its color, its name, which may be empty, and its values.
    """
    unit, panels = None, []
    loss, alpha = kept["loss"], kept.get("alpha")
    if "kl" in kept:
        unit = "nats per sample"
        lines = [(GREEN, "error", loss - kept["kl"]), (RED, "KL divergence", kept["kl"])]
        panels = [(f"Parts\n({unit})", "linear", lines)]
    elif "penalty" in kept:
        unit = "fraction of variance"
        if alpha is not None:
            code = kept["penalty"] * alpha
            # The rest of the loss is not exactly the error if alpha rose during the epoch.
            error = kept.get("error", loss - code)
            lines = [(GREEN, "error", error), (RED, "weighted penalty", code)]
            panels = [(f"Parts\n({unit})", "linear", lines)]
    for name, label in (
        ("noise_variance", "Noise variance\n(squared units of X)"),
        ("alpha", "Coefficient\nof the penalty"),
    ):
        if np.any(kept.get(name, 0)):
            panels.append((label, "log", [(PURPLE, "", kept[name])]))
    return unit, panels


def _split(ax, n_panels):
    """Return new axes below the given axes, within their space and with the same x-axis."""
    place, figure = ax.get_subplotspec(), ax.get_figure()
    if place is None:
        # These axes were placed by hand.
        left, bottom, right, top = ax.get_position().extents
        place = figure.add_gridspec(left=left, bottom=bottom, right=right, top=top)[0]
    grid = place.subgridspec(1 + n_panels, 1, height_ratios=[3] + [2] * n_panels)
    ax.set_subplotspec(grid[0])
    current = figure.gca()
    panels = [figure.add_subplot(grid[i], sharex=ax) for i in range(1, 1 + n_panels)]
    figure.sca(current)
    return panels
