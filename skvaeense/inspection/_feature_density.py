"""A picture of how often latents are active."""

from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._base import Display, OptionalAxes, Style
from skvaeense.inspection._estimators import active_mask, fitted_step
from skvaeense.inspection._plotting import BLUE, RED, style
from skvaeense.metrics import feature_density
from skvaeense.utils._typing import DoubleArray


class FeatureDensityDisplay(Display):  # numpydoc ignore=PR02
    """Draw a histogram of how often latents are active, on a logarithmic axis.

    Latents that are active in most samples represent what samples have in common. Latents that are
    active in hardly any sample, or in none, are of no use. A separate peak on the left is often a
    sign of a learning rate or a penalty that is too large.

    Parameters
    ----------
    density : ndarray of shape (n_components,)
        Share of the samples in which each latent is active.

    n_samples : int
        Number of samples.

    threshold : float, default=0.1
        Share above which a latent counts as dense.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    bars_ : matplotlib.container.BarContainer
        The bars.

    line_ : matplotlib.lines.Line2D
        The line at the threshold.

    See Also
    --------
    skvaeense.metrics.feature_density : Compute the shares.
    skvaeense.metrics.dense_fraction : The share of latents beyond the threshold.
    skvaeense.metrics.dead_fraction : The share of latents that are never active.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import FeatureDensityDisplay
    >>> codes = [[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.0]]
    >>> display = FeatureDensityDisplay.from_estimator(FunctionTransformer(), codes)
    >>> display.density
    array([0.25, 1.  , 0.  ])
    """

    density: DoubleArray
    _: KW_ONLY
    n_samples: int
    threshold: float = 0.1

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        threshold: float = 0.1,
        bins: int = 30,
        ax: OptionalAxes = None,
        bar_kw: Style = None,
    ) -> Self:
        """Draw how often the latents of an estimator are active.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent
            is not active. It can be the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        threshold : float, default=0.1
            Share above which a latent counts as dense.

        bins : int, default=30
            Number of bars.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        FeatureDensityDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has neither `active_dimensions` nor `transform`.
        """
        mask = active_mask(*fitted_step(estimator, X))
        return cls.from_codes(mask, threshold=threshold, bins=bins, ax=ax, bar_kw=bar_kw)

    @classmethod
    def from_codes(
        cls,
        codes: ArrayLike,
        *,
        threshold: float = 0.1,
        bins: int = 30,
        ax: OptionalAxes = None,
        bar_kw: Style = None,
    ) -> Self:
        """Draw how often latents are active in codes.

        Parameters
        ----------
        codes : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, or a mask of active latents.

        threshold : float, default=0.1
            Share above which a latent counts as dense.

        bins : int, default=30
            Number of bars.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        FeatureDensityDisplay
            The display.
        """
        n_samples = np.shape(codes)[0]
        display = cls(feature_density(codes), n_samples=n_samples, threshold=threshold)
        return display.plot(ax, bins=bins, bar_kw=bar_kw)

    def plot(self, ax: OptionalAxes = None, *, bins: int = 30, bar_kw: Style = None) -> Self:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        bins : int, default=30
            Number of bars.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        FeatureDensityDisplay
            The display itself.
        """
        axes = self.use_axes(ax, (6, 3.5))
        # From less than one sample to all of them.
        edges = np.logspace(np.log10(0.5 / self.n_samples), 0, bins + 1)
        used = self.density[self.density > 0]
        counts, _ = np.histogram(used, edges)
        keywords = style({"color": BLUE, "align": "edge", "edgecolor": "white"}, bar_kw)
        self.bars_ = axes.bar(edges[:-1], counts, np.diff(edges), **keywords)
        n_dead = len(self.density) - len(used)
        n_dense = int((self.density > self.threshold).sum())
        (self.line_,) = axes.plot(
            [self.threshold] * 2, [0, max(counts.max(), 1)], color=RED, linestyle="--"
        )
        axes.set_xscale("log")
        axes.set_xlabel("share of the samples in which a latent is active")
        axes.set_ylabel("latents")
        axes.set_title(f"{len(self.density)} latents: {n_dead} dead, {n_dense} dense")
        return self
