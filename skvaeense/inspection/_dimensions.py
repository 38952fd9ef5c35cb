"""Pictures of dimensions: their distribution over samples, and their reliability."""

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, check_consistent_length

from skvaeense.inspection._display import BLACK, BLUE, PALETTE, RED, Display, OptionalAxes
from skvaeense.inspection._estimators import active_mask, fitted_step, require
from skvaeense.utils._validation import column_or_1d


class ActiveDimensionDisplay(Display):  # numpydoc ignore=PR02
    """Draw the distribution of the dimension over the samples of each class.

    Each class has a row with a histogram and a mark at its mean. Bars show shares of the samples of
    the class, on the same scale in all rows.

    Parameters
    ----------
    dimensions : array-like of shape (n_samples,)
        Dimension of each sample; samples with NaN are left out.

    y : array-like of shape (n_samples,) or None, default=None
        Labels; None means that there is one class.

    quantity : str, default="Dimension"
        Name of the counted quantity, for the label of the axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    groups : dict of ndarray by str
        Dimensions of the samples of each class.

    bars_ : list of matplotlib.container.BarContainer
        The histogram of each class.

    means_ : matplotlib.collections.PathCollection
        The marks at the means.

    Raises
    ------
    ValueError
        If `dimensions` is not 1-d, holds infinity or only NaN, or if lengths differ.

    See Also
    --------
    skvaeense.IntrinsicDimensionEstimator.dimension_scale : The dimension at several scales.

    Examples
    --------
    >>> from skvaeense.inspection import ActiveDimensionDisplay
    >>> display = ActiveDimensionDisplay([1, 1, 2, 5], ["a", "a", "a", "b"]).plot()
    >>> {name: float(dimensions.mean()) for name, dimensions in display.groups.items()}
    {'a': 1.33..., 'b': 5.0}
    """

    dimensions: ArrayLike
    y: ArrayLike | None = None
    _: KW_ONLY
    quantity: str = "Dimension"

    def __post_init__(self) -> None:
        values = column_or_1d(self.dimensions, dtype=np.float64, input_name="dimensions")
        assert_all_finite(values, allow_nan=True, input_name="dimensions")
        labels = column_or_1d([""] * len(values) if self.y is None else self.y)
        check_consistent_length(values, labels)
        known = ~np.isnan(values)
        if not known.any():
            raise ValueError("dimensions are all NaN.")
        self.dimensions, self.y = values, labels
        classes = np.unique(labels[known])
        self.groups = {str(one): values[known & (labels == one)] for one in classes}

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, y: ArrayLike | None = None, *, ax: OptionalAxes = None
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
        return cls(dimensions, y, quantity=quantity).plot(ax)

    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        ActiveDimensionDisplay
            The display.
        """
        names, groups = list(self.groups), list(self.groups.values())
        axes = self.use_axes(ax, (6.4, 1.8 + 0.45 * len(names)))
        edges = _edges(np.concatenate(groups))
        shares = np.array([np.histogram(group, edges)[0] / len(group) for group in groups])
        colors = np.full(shares.shape, BLUE)
        self.bars_ = self._draw_rows(
            (edges[:-1] + edges[1:]) / 2, shares, names, colors, 0.9 * np.diff(edges)
        )
        floors, means = axes.get_yticks(), [group.mean() for group in groups]
        mark = {"marker": "^", "s": 45, "color": RED, "clip_on": False, "zorder": 3}
        self.means_ = axes.scatter(means, floors, label="mean", **mark)
        beside = {"transform": axes.get_yaxis_transform(), "color": RED, "va": "center"}
        for floor, mean in zip(floors, means, strict=True):
            axes.text(1.01, floor + 0.25, f"mean {mean:.1f}", **beside)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.set(
            title="Samples by dimension" + (", as shares of each class" if any(names) else ""),
            xlabel=f"{self.quantity} per sample",
            ylabel="Class" if any(names) else "Share of samples",
            ylim=(-0.15, len(names) + 0.05),
        )
        return self


class DimensionReliabilityDisplay(Display):  # numpydoc ignore=PR02
    """Draw the share of wrong dimensions among the most reliable samples, by reason.

    Samples are sorted, the most reliable first. Over each share of the samples, the total height of
    the areas is the expected share of wrong dimensions among them, 1 minus their mean reliability.
    Each area is the part that is due to one reason. If true dimensions are known, a line shows the
    observed share of wrong dimensions. Reliabilities are right if the line is close to the upper
    edge of the areas, and sort samples well if the line rises from near 0.

    Parameters
    ----------
    reliability : array-like of shape (n_samples,)
        Probability that each dimension is right; samples with NaN are left out.

    reasons : mapping of str to array-like of shape (n_samples,)
        Standard errors by reason. Samples without any error count for the first reason.

    wrong : array-like of bool of shape (n_samples,) or None, default=None
        Whether each dimension is wrong, if known.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    shares : ndarray of shape (n_shares,)
        Shares of the samples, ascending to 1.

    expected : dict of str to ndarray of shape (n_shares,)
        Expected share of wrong dimensions among these samples, by reason.

    observed : ndarray of shape (n_shares,) or None
        Observed share of wrong dimensions among these samples, if known.

    areas_ : list of matplotlib.collections.PolyCollection
        The areas, the largest reason first; reasons without a share have no area.

    line_ : matplotlib.lines.Line2D or None
        The observed share; None if it is not known.

    Raises
    ------
    ValueError
        If lengths differ, there is no reason, or every reliability is NaN.

    See Also
    --------
    skvaeense.IntrinsicDimensionEstimator.reliability : The probability that a dimension is right.

    Examples
    --------
    >>> from skvaeense.inspection import DimensionReliabilityDisplay
    >>> display = DimensionReliabilityDisplay(
    ...     [1.0, 0.5], {"noise": [0.0, 1.0]}, wrong=[False, True]
    ... ).plot()
    >>> display.expected["noise"], display.observed
    (array([0.  , 0.25]), array([0. , 0.5]))
    """

    reliability: ArrayLike
    reasons: Mapping[str, ArrayLike]
    wrong: ArrayLike | None = None

    def __post_init__(self) -> None:
        right = column_or_1d(self.reliability, dtype=np.float64, input_name="reliability")
        errors = {k: column_or_1d(v, dtype=np.float64) for k, v in self.reasons.items()}
        check_consistent_length(right, *errors.values(), self.wrong)
        order = np.argsort(-right, kind="stable")[: np.count_nonzero(~np.isnan(right))]
        if len(order) == 0 or not errors:
            raise ValueError(
                "There is nothing to plot: every reliability is NaN, or no reasons are given."
            )
        squares = np.square(np.array([error[order] for error in errors.values()]))
        squares[0, squares.sum(axis=0) == 0] = 1.0
        parts = squares / squares.sum(axis=0)
        n = np.arange(1, len(order) + 1)
        # A curve of 200 points looks smooth.
        kept = np.unique(np.linspace(0, len(order) - 1, 200).round().astype(int))
        means = (np.cumsum(parts * (1 - right[order]), axis=1) / n)[:, kept]
        self.shares, self.expected = n[kept] / len(n), dict(zip(errors, means, strict=True))
        self.observed = None
        if self.wrong is not None:
            self.observed = (np.cumsum(np.asarray(self.wrong, dtype=bool)[order]) / n)[kept]

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, y: ArrayLike | None = None, *, ax: OptionalAxes = None
    ) -> Self:
        """Draw the reliability of the dimensions of samples.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `predict` and `reliability`, such as IntrinsicDimensionEstimator. It can be
            the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            True dimensions, if known. A dimension is wrong if it does not round to the true one.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        DimensionReliabilityDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `reliability`.
        """
        step, X = fitted_step(estimator, X, needs=["reliability"])
        reliability, reasons = step.reliability(X, return_reasons=True)
        wrong = None
        if y is not None:
            truth = column_or_1d(y, dtype=np.float64, input_name="y")
            check_consistent_length(truth, reliability)
            wrong = np.rint(step.predict(X)) != truth
        return cls(reliability, reasons, wrong).plot(ax)

    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        DimensionReliabilityDisplay
            The display.
        """
        axes = self.use_axes(ax, (6.4, 4.8))
        names = sorted(self.expected, key=lambda name: -self.expected[name][-1])
        # Reasons without a share need no entry in the legend.
        names = [name for name in names if self.expected[name].any()] or names[:1]
        heights = [self.expected[name] for name in names]
        areas = {"labels": [name.replace("_", " ") for name in names], "colors": PALETTE}
        self.areas_ = axes.stackplot(self.shares, heights, alpha=0.6, linewidth=0, **areas)
        self.line_ = None
        if self.observed is not None:
            (self.line_,) = axes.plot(self.shares, self.observed, color=BLACK, label="wrong")
        axes.set(
            title="Wrong dimensions by reliability",
            xlabel="Share of the samples, the most reliable first",
            ylabel="Share with a wrong dimension",
            xlim=(0, 1),
            ylim=(0, None),
        )
        self._add_legend()
        return self


def _edges(dimensions, most=60):
    """Return the edges of bars: one for each whole number, or `most` bars of equal width."""
    low, high = dimensions.min(), dimensions.max()
    is_whole = (dimensions == np.round(dimensions)).all()
    if low == high or (is_whole and high - low <= most):
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, most + 1)
