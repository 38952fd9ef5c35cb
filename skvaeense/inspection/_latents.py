"""What each latent draws."""

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skvaeense.inspection._estimators import active_mask, last_step
from skvaeense.inspection._latent_order import check_latents
from skvaeense.inspection._plotting import BLUE, RED, require_axes, style
from skvaeense.utils._repr import ReprMixin
from skvaeense.utils._typing import DoubleArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.image import AxesImage

# Features beyond which bars have no names.
MAX_NAMES = 30
# Height of the tallest bar, where rows are 1 apart.
HEIGHT = 0.45


class LatentDisplay(ReprMixin):
    """Draw decoder columns, as images or as bars.

    A decoder column is what one unit of a latent adds to the reconstruction. Positive weights are
    red and negative ones blue, on one scale for all latents. The number of the latent stands at
    each.

    Parameters
    ----------
    components : ndarray of shape (n_shown, n_features)
        The columns, one row each.

    latents : ndarray of int, shape (n_shown,)
        Number of the latent of each.

    use : ndarray of shape (n_shown,) or None, default=None
        Share of the samples in which each is active; None: not known.

    image_shape : tuple of two ints, or None, default=None
        Height and width of the images that samples are; None: bars.

    feature_names : array-like of str of shape (n_features,) or None, default=None
        Names of the features, for bars.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    image_ : matplotlib.image.AxesImage or None
        All images in one, with gaps between them.

    bars_ : list of matplotlib.container.BarContainer, or None
        The bars of each latent.

    See Also
    --------
    SparsityPatternDisplay : In which samples latents are active.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense.inspection import LatentDisplay
    >>> pca = PCA(16).fit(load_digits().data)
    >>> display = LatentDisplay.from_estimator(pca, image_shape=(8, 8))
    >>> display.components.shape
    (16, 64)
    """

    def __init__(
        self,
        components: DoubleArray,
        *,
        latents: IntArray,
        use: DoubleArray | None = None,
        image_shape: tuple[int, int] | None = None,
        feature_names: ArrayLike | None = None,
    ) -> None:
        self.components = components
        self.latents = latents
        self.use = use
        self.image_shape = image_shape
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        latents: ArrayLike | None = None,
        X: ArrayLike | None = None,
        max_latents: int = 64,
        ax: "Axes | None" = None,
        im_kw: dict[str, Any] | None = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the decoder columns of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With `components_`, as autoencoders with a linear decoder and PCA have. It may be the
            last step of a Pipeline.

        image_shape : tuple of two ints, or None, default=None
            Height and width of the images that samples are; None: bars.

        latents : array-like of int or None, default=None
            Which latents, in this order; None: all, as far as `max_latents` goes.

        X : array-like of shape (n_samples, n_features) or None, default=None
            Samples. With them, latents stand in the order of how many samples they are active in,
            and each has that share beside its number; unused ones are left out unless asked for.

        max_latents : int, default=64
            Number of latents that are shown at most, if `latents` is None.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        im_kw : dict or None, default=None
            Keywords of the picture of the images.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        LatentDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `components_`.
        """
        step, X = last_step(estimator, X)
        check_is_fitted(step)
        step = getattr(step, "autoencoder_", step)
        if not hasattr(step, "components_"):
            raise TypeError(
                f"{type(step).__name__} has no components_: its decoder has hidden layers, and so "
                'no columns, or it has none. Fit it with network="linear".'
            )
        use = None if X is None else active_mask(step, X).mean(axis=0)
        return cls.from_components(
            step.components_,
            image_shape=image_shape,
            latents=latents,
            use=use,
            max_latents=max_latents,
            feature_names=getattr(step, "feature_names_in_", None),
            ax=ax,
            im_kw=im_kw,
            bar_kw=bar_kw,
        )

    @classmethod
    def from_components(
        cls,
        components: ArrayLike,
        *,
        image_shape: tuple[int, int] | None = None,
        latents: ArrayLike | None = None,
        use: ArrayLike | None = None,
        max_latents: int = 64,
        feature_names: ArrayLike | None = None,
        ax: "Axes | None" = None,
        im_kw: dict[str, Any] | None = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw decoder columns.

        Parameters
        ----------
        components : array-like of shape (n_components, n_features)
            The columns, one row for each latent.

        image_shape : tuple of two ints, or None, default=None
            Height and width of the images that samples are; None: bars.

        latents : array-like of int or None, default=None
            Which latents, in this order; None: all, as far as `max_latents` goes.

        use : array-like of shape (n_components,) or None, default=None
            Share of the samples in which each latent is active: the order of the latents.

        max_latents : int, default=64
            Number of latents that are shown at most, if `latents` is None.

        feature_names : array-like of str of shape (n_features,) or None, default=None
            Names of the features, for bars.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        im_kw : dict or None, default=None
            Keywords of the picture of the images.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        LatentDisplay
            The display.

        Raises
        ------
        ValueError
            If shapes do not fit, no latent is used, or there is no latent of a given number.
        """
        columns = check_array(components, dtype=np.float64, input_name="components")
        n_components, n_features = columns.shape
        if image_shape is not None and math.prod(image_shape) != n_features:
            raise ValueError(
                f"image_shape={image_shape!r} has {math.prod(image_shape)} pixels, but there are "
                f"{n_features} features."
            )
        shares = None if use is None else np.asarray(use, dtype=float)
        if shares is not None and shares.shape != (n_components,):
            raise ValueError(f"use must have shape ({n_components},), got {shares.shape}.")
        shown = _choose(latents, shares, n_components, max_latents)
        display = cls(
            columns[shown],
            latents=shown,
            use=None if shares is None else shares[shown],
            image_shape=image_shape,
            feature_names=feature_names,
        )
        return display.plot(ax, im_kw=im_kw, bar_kw=bar_kw)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        im_kw: dict[str, Any] | None = None,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None: those of a new figure.

        im_kw : dict or None, default=None
            Keywords of the picture of the images.

        bar_kw : dict or None, default=None
            Keywords of the bars.

        Returns
        -------
        LatentDisplay
            The display.
        """
        n_shown, images = len(self.latents), self.image_shape is not None
        n_columns = math.ceil(math.sqrt(n_shown))
        n_rows = math.ceil(n_shown / n_columns)
        if images:
            size = max(1.2 + 0.8 * n_columns, 3.6), 0.8 + 0.9 * n_rows
        else:
            size = 6.4, 1.4 + 0.4 * n_shown
        self.ax_ = require_axes(ax, size)
        self.figure_ = self.ax_.get_figure()
        self.image_: AxesImage | None = None
        self.bars_: list[BarContainer] | None = None
        if images:
            self._draw_images(self.image_shape, n_rows, n_columns, im_kw)
        else:
            self._draw_bars(bar_kw)
        self.ax_.set_title("Decoder columns" + ("" if self.use is None else " by use"))
        return self

    def _largest(self):
        return float(np.abs(self.components).max()) or 1.0

    def _draw_images(self, image_shape, n_rows, n_columns, im_kw):
        height, width = image_shape
        # Room between the images, and for the number above each.
        top, side = max(1, round(0.3 * height)), max(1, round(0.12 * width))
        mosaic = np.full((n_rows * (height + top), n_columns * (width + side)), np.nan)
        for i, component in enumerate(self.components):
            row, column = divmod(i, n_columns)
            y, x = row * (height + top) + top, column * (width + side)
            mosaic[y : y + height, x : x + width] = component.reshape(height, width)
            self.ax_.text(
                x + 0.5 * width - 0.5,
                y - 0.6,
                self._caption(i),
                fontsize=7,
                ha="center",
                va="bottom",
            )
        largest = self._largest()
        keywords = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        self.image_ = self.ax_.imshow(mosaic, **style(keywords, im_kw))
        self.ax_.set_axis_off()
        self.figure_.colorbar(self.image_, ax=self.ax_, shrink=0.8, label="Weight (units of X)")

    def _draw_bars(self, bar_kw):
        n_shown, n_features = self.components.shape
        floors, factor = np.arange(n_shown)[::-1], HEIGHT / self._largest()
        bars = []
        for component, floor in zip(self.components, floors, strict=True):
            colors = np.where(component > 0, RED, BLUE)
            keywords = style({"color": colors, "width": 0.8}, bar_kw)
            positions = np.arange(n_features)
            bars.append(self.ax_.bar(positions, factor * component, bottom=floor, **keywords))
            self.ax_.axhline(floor, color="black", linewidth=0.5)
        self.bars_ = bars
        self.ax_.set_yticks(floors, [self._caption(i) for i in range(n_shown)])
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.set_ylim(-0.6, n_shown - 0.4)
        self.ax_.set_ylabel("Latent" if self.use is None else "Latent (share of samples)")
        if self.feature_names is not None and n_features <= MAX_NAMES:
            self.ax_.set_xticks(np.arange(n_features), self.feature_names, rotation=90)
        self.ax_.set_xlabel(f"Feature (largest bar: {self._largest():.3g} units of X)")

    def _caption(self, i):
        number = str(self.latents[i])
        return number if self.use is None else f"{number} ({self.use[i]:.0%})"


def _choose(latents, use, n_components, max_latents):
    """Return the latents to show, in order."""
    if latents is not None:
        return check_latents(latents, n_components)
    if max_latents < 1:
        raise ValueError(f"max_latents must be at least 1, got {max_latents!r}.")
    if use is None:
        return np.arange(n_components)[:max_latents]
    order = np.argsort(-use, kind="stable")
    order = order[use[order] > 0]
    if not len(order):
        raise ValueError("No latent is active in any sample; name the ones to see in latents.")
    return order[:max_latents]
