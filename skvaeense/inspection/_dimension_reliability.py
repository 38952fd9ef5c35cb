"""Share of wrong dimensions among the most reliable samples, by reason."""

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length

from skvaeense.inspection._display import (
    BLACK,
    PALETTE,
    Display,
    OptionalAxes,
    Style,
    add_legend,
    style,
)
from skvaeense.inspection._estimators import fitted_step
from skvaeense.utils._arrays import column_or_1d
from skvaeense.utils._typing import DoubleArray

# Maximum number of points of a curve.
N_SHARES = 200


class DimensionReliabilityDisplay(Display):  # numpydoc ignore=PR02
    """Draw the share of wrong dimensions among the most reliable samples, by reason.

    Samples are sorted, the most reliable first. Over each share of the samples, the total height of
    the areas is the expected share of wrong dimensions among them, 1 minus their mean reliability.
    Each area is the part that is due to one reason. If true dimensions are known, a line shows the
    observed share of wrong dimensions. Reliabilities are right if the line is close to the upper
    edge of the areas, and sort samples well if the line rises from near 0.

    Parameters
    ----------
    shares : ndarray of shape (n_shares,)
        Shares of the samples, ascending to 1.

    expected : dict of str to ndarray of shape (n_shares,)
        Expected share of wrong dimensions among these samples, by reason.

    observed : ndarray of shape (n_shares,) or None, default=None
        Observed share of wrong dimensions among these samples, if known.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    areas_ : list of matplotlib.collections.PolyCollection
        The areas, the largest reason first; reasons without a share have no area.

    line_ : matplotlib.lines.Line2D or None
        The observed share; None if it is not known.

    See Also
    --------
    skvaeense.IntrinsicDimensionEstimator.reliability : The probability that a dimension is right.

    Examples
    --------
    >>> from skvaeense.inspection import DimensionReliabilityDisplay
    >>> display = DimensionReliabilityDisplay.from_reliability(
    ...     [1.0, 0.5], {"noise": [0.0, 1.0]}, wrong=[False, True]
    ... )
    >>> display.expected["noise"], display.observed
    (array([0.  , 0.25]), array([0. , 0.5]))
    """

    shares: DoubleArray
    expected: dict[str, DoubleArray]
    _: KW_ONLY
    observed: DoubleArray | None = None

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

        line_kw : dict or None, default=None
            Keywords of the line.

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
        return cls.from_reliability(reliability, reasons, wrong, ax=ax, line_kw=line_kw)

    @classmethod
    def from_reliability(
        cls,
        reliability: ArrayLike,
        reasons: Mapping[str, ArrayLike],
        wrong: ArrayLike | None = None,
        *,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw known reliabilities.

        Parameters
        ----------
        reliability : array-like of shape (n_samples,)
            Probability that each dimension is right; samples with NaN are left out.

        reasons : mapping of str to array-like of shape (n_samples,)
            Standard errors by reason. Samples without any error count for the first reason.

        wrong : array-like of bool of shape (n_samples,) or None, default=None
            Whether each dimension is wrong, if known.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the line.

        Returns
        -------
        DimensionReliabilityDisplay
            The display.

        Raises
        ------
        ValueError
            If lengths differ, there is no reason, or every reliability is NaN.
        """
        right = column_or_1d(reliability, dtype=np.float64, input_name="reliability")
        errors = {k: column_or_1d(v, dtype=np.float64) for k, v in reasons.items()}
        check_consistent_length(right, *errors.values(), wrong)
        order = np.argsort(-right, kind="stable")[: np.count_nonzero(~np.isnan(right))]
        if len(order) == 0 or not errors:
            raise ValueError(
                "There is nothing to plot: every reliability is NaN, or no reasons are given."
            )
        squares = np.square(np.array([errors[k][order] for k in errors]))
        total = squares.sum(axis=0)
        parts = np.where(total > 0, squares / np.where(total > 0, total, 1.0), 0.0)
        parts[0, total == 0] = 1.0
        n = np.arange(1, len(order) + 1)
        kept = np.unique(np.linspace(0, len(order) - 1, N_SHARES).round().astype(int))
        means = (np.cumsum(parts * (1 - right[order]), axis=1) / n)[:, kept]
        observed = None
        if wrong is not None:
            observed = (np.cumsum(np.asarray(wrong, dtype=bool)[order]) / n)[kept]
        expected = dict(zip(errors, means, strict=True))
        display = cls(n[kept] / len(n), expected, observed=observed)
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: OptionalAxes = None, *, line_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the line.

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
        labels = [name.replace("_", " ") for name in names]
        self.areas_ = axes.stackplot(
            self.shares, heights, labels=labels, colors=PALETTE, alpha=0.6, linewidth=0
        )
        self.line_ = None
        if self.observed is not None:
            keywords = style({"color": BLACK, "label": "wrong"}, line_kw)
            (self.line_,) = axes.plot(self.shares, self.observed, **keywords)
        axes.set(
            title="Wrong dimensions by reliability",
            xlabel="Share of the samples, the most reliable first",
            ylabel="Share with a wrong dimension",
            xlim=(0, 1),
        )
        axes.set_ylim(bottom=0)
        add_legend(axes)
        return self
