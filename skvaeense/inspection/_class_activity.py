"""Differences between classes in their active latents, and a picture of them."""

from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr
from sklearn.utils import Bunch
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skvaeense.inspection._base import Display, OptionalAxes, Style
from skvaeense.inspection._estimators import active_mask, fitted_step
from skvaeense.inspection._groups import latents_to_show
from skvaeense.inspection._plotting import MAX_NAMES, TABLE, how_many, style
from skvaeense.utils._typing import DoubleArray, IntArray


def class_activity(estimator: Any, X: ArrayLike, y: ArrayLike) -> Bunch:
    """Measure how often each latent is active in each class.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent is
        not active. It can be the last step of a Pipeline.

    X : array-like of shape (n_samples, n_features)
        Samples.

    y : array-like of shape (n_samples,)
        The class of each sample.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        classes : ndarray of shape (n_classes,)
            The classes, in order.
        n_samples : ndarray of int, shape (n_classes,)
            Number of samples of each class.
        share : ndarray of shape (n_classes, n_components)
            Share of the samples of the class in which the latent is active.
        mean_active : ndarray of shape (n_classes,)
            Mean number of active latents per sample of the class.
        std_active : ndarray of shape (n_classes,)
            Standard deviation of this number over the samples of the class.
        mutual_information : ndarray of shape (n_components,)
            Mutual information of the class and whether the latent is active, in nats.

    Raises
    ------
    TypeError
        If the estimator has neither `active_dimensions` nor `transform`.

    ValueError
        If the lengths of X and `y` differ, or if `y` has more than one column.

    See Also
    --------
    ClassActivityDisplay : Draw the shares.
    SparsityPatternDisplay : The active latents of each sample.
    sklearn.metrics.mutual_info_score : Mutual information of two labelings.

    Notes
    -----
    With the share p(c) of class c among the samples, and the shares q_cj of the samples of class c
    and q_j of all samples in which latent j is active, the mutual information is::

        I_j = sum_c p(c) (q_cj log(q_cj / q_j) + (1 - q_cj) log((1 - q_cj) / (1 - q_j)))

    It is 0 if the latent is active equally often in all classes. It is at most log 2, for a latent
    that is active in all samples of some classes, in none of the others, and in half of all
    samples. Its estimate from n samples is biased upwards, by about ``(n_classes - 1) / (2 n)``
    nats for a latent that is independent of the class.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import class_activity
    >>> codes = [[0.0, 2.0, 1.0], [0.0, 1.0, 0.0], [3.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    >>> activity = class_activity(FunctionTransformer(), codes, ["a", "a", "b", "b"])
    >>> activity.share
    array([[0. , 1. , 0.5],
           [1. , 0. , 0.5]])
    >>> activity.mean_active
    array([1.5, 1.5])
    >>> activity.mutual_information
    array([0.693, 0.693, 0.   ])
    """
    active = active_mask(*fitted_step(estimator, X))
    labels = column_or_1d(y)
    check_consistent_length(active, labels)
    classes, class_of, n_samples = np.unique(labels, return_inverse=True, return_counts=True)
    counts = active.sum(axis=1)
    groups = [class_of == i for i in range(len(classes))]
    share = np.array([active[group].mean(axis=0) for group in groups])
    use = active.mean(axis=0)
    information = rel_entr(share, use) + rel_entr(1 - share, 1 - use)
    return Bunch(
        classes=classes,
        n_samples=n_samples,
        share=share,
        mean_active=np.array([counts[group].mean() for group in groups]),
        std_active=np.array([counts[group].std() for group in groups]),
        # Rounding can make a value negative.
        mutual_information=(n_samples / len(labels) @ information).clip(min=0),
    )


class ClassActivityDisplay(Display):  # numpydoc ignore=PR02
    """Draw the share of the samples of each class in which each latent is active.

    Each row is a class and each column a latent. Latents are ordered by the class that uses them
    most, the most used first, as in `SparsityPatternDisplay`. The label of a class shows its mean
    number of active latents per sample, with the standard deviation over its samples.

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
        Standard deviation of this number over the samples of each class.

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
    class_activity : Compute the shares, and the mutual information of latents and classes.
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
            is not active. It can be the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,)
            The class of each sample.

        unused : bool, default=False
            Whether to show latents that are active in no sample, on the right.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        im_kw : dict or None, default=None
            Keywords of the image.

        Returns
        -------
        ClassActivityDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has neither `active_dimensions` nor `transform`.

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
            Axes to draw on; None means a new figure.

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
            Axes to draw on; None means a new figure.

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
        numbers: Any = self.latents if n_shown <= MAX_NAMES else []
        rotation = 90 if n_shown > MAX_NAMES / 2 else 0
        axes.set_xticks(np.arange(len(numbers)), numbers, rotation=rotation)
        axes.tick_params(length=0)
        axes.set(
            title="Active latents of each class",
            xlabel=f"Latents by class and use ({how_many(n_shown, self.n_components)})",
            ylabel="Class (active latents)",
        )
        return self
