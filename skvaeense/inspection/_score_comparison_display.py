"""A picture of cross-validated scores and of their paired differences."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._base import Display, OptionalAxes, Style
from skvaeense.inspection._plotting import BLACK, BLUE, GREY, style
from skvaeense.inspection._score_comparison import (
    Dequantize,
    Estimators,
    ScoreComparison,
    compare_scores,
)
from skvaeense.utils._typing import RandomState


@dataclass(repr=False, eq=False)
class ScoreComparisonDisplay(Display):  # numpydoc ignore=PR02
    """Draw cross-validated log-densities and their differences from a reference.

    Each estimator has a row, the highest mean on top. The dot is its mean, and the broad bar is two
    standard errors of its paired difference from the reference to either side: estimators whose bar
    does not reach the vertical line differ from the reference. The thin line is two standard errors
    of the mean itself. It is wide because samples differ from each other, which all estimators have
    in common. Small dots are the differences in each fold. The upper axis and the numbers at the
    right have the difference and its standard error.

    Parameters
    ----------
    comparison : ScoreComparison
        What `compare_scores` returns.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    points_ : matplotlib.container.ErrorbarContainer
        Means, and the bars of the paired differences.

    intervals_ : matplotlib.container.ErrorbarContainer
        Thin lines of the means.

    folds_ : matplotlib.collections.PathCollection
        Dots of the folds.

    See Also
    --------
    compare_scores : The numbers.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.decomposition import PCA, FactorAnalysis
    >>> from skvaeense.inspection import ScoreComparisonDisplay
    >>> display = ScoreComparisonDisplay.from_estimators(
    ...     [PCA(3), FactorAnalysis(3)], load_wine().data, random_state=0
    ... )
    >>> display.comparison.mean.round(1)
    array([-26.9, -20.1])
    """

    comparison: ScoreComparison

    @classmethod
    def from_estimators(
        cls,
        estimators: Estimators,
        X: ArrayLike,
        *,
        cv: Any = 5,
        reference: str | None = None,
        dequantize: Dequantize = "auto",
        noise_floor: float = 1e-3,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Compare estimators by cross-validation, and draw the comparison.

        Parameters
        ----------
        estimators : dict of estimators by name, list of (name, estimator), or list of estimators
            As for `compare_scores`.

        X : array-like of shape (n_samples, n_features)
            Samples.

        cv : int, cross-validation generator or iterable, default=5
            A number of shuffled folds, a splitter, or pairs of training and held-out rows.

        reference : str or None, default=None
            Name of the estimator that the others are compared with; None means that of the highest
            mean.

        dequantize : "auto", None, float or array-like of shape (n_features,), default="auto"
            Width of the uniform noise that is added to each column, as for `compare_scores`.

        noise_floor : float, default=1e-3
            Standard deviation of the Gaussian noise that is added to each column, as a fraction of
            that of the column.

        n_jobs : int or None, default=None
            Number of fits at a time; None means 1, and -1 all processors.

        random_state : int, RandomState instance or None, default=None
            Seed of the noise and of the shuffled folds.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means those of a new figure.

        line_kw : dict or None, default=None
            Keywords of the dots of the means and of their broad bars.

        Returns
        -------
        ScoreComparisonDisplay
            The display.
        """
        comparison = compare_scores(
            estimators,
            X,
            cv=cv,
            reference=reference,
            dequantize=dequantize,
            noise_floor=noise_floor,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        return cls.from_comparison(comparison, ax=ax, line_kw=line_kw)

    @classmethod
    def from_comparison(
        cls, comparison: ScoreComparison, *, ax: OptionalAxes = None, line_kw: Style = None
    ) -> Self:
        """Draw a known comparison.

        Parameters
        ----------
        comparison : ScoreComparison
            What `compare_scores` returns.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means those of a new figure.

        line_kw : dict or None, default=None
            Keywords of the dots of the means and of their broad bars.

        Returns
        -------
        ScoreComparisonDisplay
            The display.
        """
        return cls(comparison).plot(ax, line_kw=line_kw)

    def plot(self, ax: OptionalAxes = None, *, line_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means those of a new figure.

        line_kw : dict or None, default=None
            Keywords of the dots of the means and of their broad bars.

        Returns
        -------
        ScoreComparisonDisplay
            The display.

        Raises
        ------
        ValueError
            If the mean of the reference is not finite.
        """
        numbers = self.comparison
        order = np.argsort(-numbers.mean, kind="stable")
        places = np.arange(len(order))
        mean, base = numbers.mean[order], numbers.mean[numbers.names.index(numbers.reference)]
        difference, error = numbers.difference[order], numbers.difference_std_error[order]
        by_fold = numbers.fold_differences[order]
        if not np.isfinite(base):
            raise ValueError(
                f"The reference, {numbers.reference!r}, has the mean score {base}, from which no "
                "differences can be drawn; name another reference."
            )
        axes = self.use_axes(ax, (7.2, 1.6 + 0.45 * len(order)))
        axes.axvline(base, color=BLACK, linewidth=0.8, zorder=0)
        thin = {"fmt": "none", "ecolor": GREY, "elinewidth": 1.5, "capsize": 3}
        self.intervals_ = axes.errorbar(mean, places, xerr=2 * numbers.std_error[order], **thin)
        # Beside the bars, so that both can be seen.
        self.folds_ = axes.scatter(
            base + by_fold, np.repeat(places + 0.25, by_fold.shape[1]), s=8, color=GREY
        )
        broad = {"fmt": "o", "color": BLUE, "elinewidth": 5, "markeredgecolor": BLACK}
        self.points_ = axes.errorbar(mean, places, xerr=2 * error, **style(broad, line_kw))
        labels = [
            "reference" if numbers.names[i] == numbers.reference else f"{d:+.2f} ± {e:.2f}"
            for i, d, e in zip(order, difference, error, strict=True)
        ]
        for place, label in zip(places, labels, strict=True):
            axes.annotate(
                label.replace("-", "\N{MINUS SIGN}"),
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=9,
            )
        axes.set_yticks(places, [numbers.names[i] for i in order])
        axes.set(
            title="Cross-validated log-density",
            xlabel="Nats per held-out sample (higher is better)",
            ylim=(len(order) - 0.5, -0.5),
        )
        shift = (lambda x: x - base, lambda x: x + base)
        axes.secondary_xaxis("top", functions=shift).set_xlabel(
            f"Difference from {numbers.reference} (bars: ± 2 standard errors)"
        )
        axes.grid(axis="x", alpha=0.3)
        return self
