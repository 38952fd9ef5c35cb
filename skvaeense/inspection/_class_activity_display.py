"""A picture of the classes in which latents are active."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skvaeense.inspection._base import Display, OptionalAxes, Style
from skvaeense.inspection._class_activity import class_activity
from skvaeense.inspection._groups import latents_to_show
from skvaeense.inspection._plotting import TABLE, how_many, style
from skvaeense.utils._typing import DoubleArray, IntArray

# Columns have no numbers if there are more latents than this.
MAX_NUMBERS = 40


@dataclass(repr=False, eq=False)
class ClassActivityDisplay(Display):  # numpydoc ignore=PR02
    """Draw the share of the samples of each class in which each latent is active.

    Each row is a class and each column a latent. Latents are in the order of
    `SparsityPatternDisplay`: by the class that uses them most, the most used first. The label of a
    class shows its mean number of active latents per sample, with the standard deviation over its
    samples.

    Parameters
    ----------
    share : ndarray of shape (n_classes, n_shown)
        Share of the samples of the class in which the latent is active.

    classes : ndarray of shape (n_classes,)
        The class that each row shows.

    latents : ndarray of int, shape (n_shown,)
        The latent that each column shows.

    mean_active : ndarray of shape (n_classes,)
        Mean number of active latents per sample of each class.

    std_active : ndarray of shape (n_classes,)
        Standard deviation of that number.

    n_components : int
        Number of latents, shown or not.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    image_ : matplotlib.image.AxesImage
        The picture.

    colorbar_ : matplotlib.colorbar.Colorbar
        The colour bar.

    See Also
    --------
    class_activity : The numbers, and their mutual information with the class.
    SparsityPatternDisplay : The active latents of each sample.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import ClassActivityDisplay
    >>> codes = [[0.0, 2.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]]
    >>> display = ClassActivityDisplay.from_estimator(
    ...     FunctionTransformer(), codes, ["a", "a", "b"]
    ... )
    >>> display.latents
    array([1, 0])
    >>> display.share
    array([[1., 0.],
           [0., 1.]])
    """

    share: DoubleArray
    _: KW_ONLY
    classes: Any
    latents: IntArray
    mean_active: DoubleArray
    std_active: DoubleArray
    n_components: int

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        unused: bool = False,
        ax: OptionalAxes = None,
        im_kw: Style = None,
    ) -> Self:
        """Draw the active latents of each class.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent
            is not active. It may be the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,)
            The class of each sample.

        unused : bool, default=False
            Whether to show latents that are active in no sample, on the right.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means those of a new figure.

        im_kw : dict or None, default=None
            Keywords of the image.

        Returns
        -------
        ClassActivityDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has neither of these methods.

        ValueError
            If the lengths of X and y differ, or if no latent is active anywhere and `unused` is
            False.
        """
        return cls.from_activity(class_activity(estimator, X, y), unused=unused, ax=ax, im_kw=im_kw)

    @classmethod
    def from_activity(
        cls, activity: Bunch, *, unused: bool = False, ax: OptionalAxes = None, im_kw: Style = None
    ) -> Self:
        """Draw the result of `class_activity`.

        Parameters
        ----------
        activity : Bunch
            The result of `class_activity`.

        unused : bool, default=False
            Whether to show latents that are active in no sample, on the right.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means those of a new figure.

        im_kw : dict or None, default=None
            Keywords of the image.

        Returns
        -------
        ClassActivityDisplay
            The display.

        Raises
        ------
        ValueError
            If no latent is active anywhere and `unused` is False.
        """
        latents = latents_to_show(activity.share, unused)
        display = cls(
            activity.share[:, latents],
            classes=activity.classes,
            latents=latents,
            mean_active=activity.mean_active,
            std_active=activity.std_active,
            n_components=activity.share.shape[1],
        )
        return display.plot(ax, im_kw=im_kw)

    def plot(self, ax: OptionalAxes = None, *, im_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means those of a new figure.

        im_kw : dict or None, default=None
            Keywords of the image.

        Returns
        -------
        ClassActivityDisplay
            The display.
        """
        n_classes, n_shown = self.share.shape
        axes = self.use_axes(ax, (8.0, max(2.6, 1.6 + 0.3 * n_classes)))
        self.image_ = axes.imshow(self.share, **style({"cmap": "Blues", **TABLE}, im_kw))
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=axes, label="Share of samples")
        rows = zip(self.classes, self.mean_active, self.std_active, strict=True)
        names = [f"{name} ({mean:.1f} ± {std:.1f})" for name, mean, std in rows]
        axes.set_yticks(np.arange(n_classes), names)
        numbers: Any = self.latents if n_shown <= MAX_NUMBERS else []
        rotation = 90 if n_shown > MAX_NUMBERS / 2 else 0
        axes.set_xticks(np.arange(len(numbers)), numbers, rotation=rotation)
        axes.tick_params(length=0)
        axes.set(
            title="Active latents of each class",
            xlabel=f"Latents by class and use ({how_many(n_shown, self.n_components)})",
            ylabel="Class (active latents)",
        )
        return self
