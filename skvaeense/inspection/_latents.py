"""A picture of the decoder columns of latents."""

import math
from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._display import BLUE, RED, Display, OptionalAxes
from skvaeense.inspection._estimators import active_mask, feature_names, fitted_step
from skvaeense.utils._validation import check_array, check_integer


class LatentDisplay(Display):  # numpydoc ignore=PR02
    """Draw decoder columns as images or as bars.

    A decoder column is the contribution of one unit of a latent to the reconstruction. Positive
    weights are red and negative weights blue, on one scale for all latents. Each column is labelled
    with the index of its latent.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        The decoder columns, one row for each latent.

    latents : array-like of int of shape (n_shown,) or None, default=None
        Latents to draw, in this order; None means up to `max_latents` of them.

    use : array-like of shape (n_components,) or None, default=None
        Share of the samples in which each latent is active, by which the latents are ordered.

    image_shape : tuple of two ints, or None, default=None
        Height and width of samples that are images; None draws bars instead.

    max_latents : int, default=64
        Maximum number of latents to draw if `latents` is None.

    feature_names : array-like of str of shape (n_features,) or None, default=None
        Names of the features, for bars.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    image_ : matplotlib.image.AxesImage or None
        The mosaic of all images; None if bars are drawn.

    bars_ : list of matplotlib.container.BarContainer, or None
        The bars of each latent; None if images are drawn.

    Raises
    ------
    ValueError
        If shapes do not match, if no latent is used, or if a latent does not exist.

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

    components: ArrayLike
    _: KW_ONLY
    latents: ArrayLike | None = None
    use: ArrayLike | None = None
    image_shape: tuple[int, int] | None = None
    max_latents: int = 64
    feature_names: ArrayLike | None = None

    def __post_init__(self) -> None:
        columns = check_array(self.components, dtype=np.float64, input_name="components")
        n_components, n_features = columns.shape
        if self.image_shape is not None and math.prod(self.image_shape) != n_features:
            raise ValueError(
                f"image_shape={self.image_shape!r} has {math.prod(self.image_shape)} pixels, but "
                f"there are {n_features} features."
            )
        check_integer(self.max_latents, "max_latents", minimum=1)
        order = np.arange(n_components)
        if self.use is not None:
            self.use = np.asarray(self.use, dtype=float)
            if self.use.shape != (n_components,):
                raise ValueError(f"use must have shape ({n_components},), got {self.use.shape}.")
            order = np.argsort(-self.use, kind="stable")[: np.count_nonzero(self.use > 0)]
        if self.latents is None and not len(order):
            raise ValueError("No latent is active in any sample; set latents to those to show.")
        chosen = order[: self.max_latents] if self.latents is None else np.asarray(self.latents)
        exists = np.isin(chosen, range(n_components))
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not exists.all() or not len(chosen):
            raise ValueError(
                f"latents must be a non-empty list of integers from 0 to {n_components - 1}, got "
                f"{chosen!r}."
            )
        self.components, self.latents = columns, chosen

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        latents: ArrayLike | None = None,
        X: ArrayLike | None = None,
        max_latents: int = 64,
        ax: OptionalAxes = None,
    ) -> Self:
        """Draw the decoder columns of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `components_`, such as PCA or an autoencoder with a linear decoder. It can
            be the last step of a Pipeline.

        image_shape : tuple of two ints, or None, default=None
            Height and width of samples that are images; None draws bars instead.

        latents : array-like of int or None, default=None
            Latents to draw, in this order; None means up to `max_latents` of them.

        X : array-like of shape (n_samples, n_features) or None, default=None
            Samples. If given, latents are ordered and labelled by the share of the samples in which
            they are active, and unused ones are left out unless `latents` names them.

        max_latents : int, default=64
            Maximum number of latents to draw if `latents` is None.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        LatentDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has no `components_`.
        """
        names = feature_names(estimator)
        step, X = fitted_step(estimator, X)
        step = getattr(step, "autoencoder_", step)
        if not hasattr(step, "components_"):
            raise TypeError(
                f"{type(step).__name__} has no components_: it has no decoder, or its decoder has "
                'hidden layers and therefore no columns. Fit it with network="linear".'
            )
        display = cls(
            step.components_,
            latents=latents,
            use=None if X is None else active_mask(step, X).mean(axis=0),
            image_shape=image_shape,
            max_latents=max_latents,
            feature_names=names,
        )
        return display.plot(ax)

    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        LatentDisplay
            The display.
        """
        latents: Any = self.latents
        shown, captions = np.asarray(self.components)[latents], [str(latent) for latent in latents]
        if self.use is not None:
            use = np.asarray(self.use)[latents]
            captions = [f"{c} ({u:.0%})" for c, u in zip(captions, use, strict=True)]
        self.image_ = self.bars_ = None
        largest = float(np.abs(shown).max()) or 1.0
        if self.image_shape is None:
            self._draw_bars(ax, shown, captions, largest)
        else:
            self._draw_images(ax, shown.reshape(-1, *self.image_shape), captions, largest)
        self.ax_.set_title("Decoder columns" + ("" if self.use is None else " by use"))
        return self

    def _draw_bars(self, ax, shown, captions, largest):
        n_shown, n_features = shown.shape
        axes, places = self.use_axes(ax, (6.4, 1.4 + 0.4 * n_shown)), np.arange(n_features)
        self.bars_ = self._draw_rows(places, shown, captions, np.where(shown > 0, RED, BLUE))
        # More names than these would overlap.
        if self.feature_names is not None and n_features <= 40:
            axes.set_xticks(places, self.feature_names, rotation=90)
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(
            xlabel=f"Feature (largest bar: {largest:.3g} units of X)",
            ylabel="Latent" if self.use is None else "Latent (share of samples)",
            ylim=(-0.6, n_shown - 0.4),
        )

    def _draw_images(self, ax, images, captions, largest):
        """Draw a mosaic of the images, with gaps of NaN, and a caption above each."""
        n_shown, height, width = images.shape
        n_columns = math.ceil(math.sqrt(n_shown))
        n_rows = math.ceil(n_shown / n_columns)
        axes = self.use_axes(ax, (max(1.2 + 0.8 * n_columns, 3.6), 0.8 + 0.9 * n_rows))
        top, side = max(1, round(0.3 * height)), max(1, round(0.12 * width))
        gaps = (0, n_rows * n_columns - n_shown), (top, 0), (0, side)
        tiles = np.pad(images, gaps, constant_values=np.nan)
        rows = tiles.reshape(n_rows, n_columns, *tiles.shape[1:]).swapaxes(1, 2)
        colors = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        self.image_ = axes.imshow(rows.reshape(n_rows * (height + top), -1), **colors)
        for i, caption in enumerate(captions):
            row, column = divmod(i, n_columns)
            x, y = column * (width + side) + 0.5 * (width - 1), row * (height + top) + top - 0.6
            axes.text(x, y, caption, fontsize=7, ha="center", va="bottom")
        axes.set_axis_off()
        self.figure_.colorbar(self.image_, ax=axes, shrink=0.8, label="Weight (units of X)")
