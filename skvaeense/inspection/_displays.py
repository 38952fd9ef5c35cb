"""Displays: what they share, active dimensions, latents, and curves."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self, TypeAlias, dataclass_transform

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.utils import assert_all_finite, check_consistent_length

from skvaeense.metrics import fvu
from skvaeense.samples._rows import as_array
from skvaeense.utils import _validation
from skvaeense.utils._files import optional_import
from skvaeense.utils._typing import DoubleArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def named_estimators(estimators):
    """Return a dict of estimators by name; in a list, by class, numbered if a class is repeated."""
    given = list(estimators.values()) if isinstance(estimators, Mapping) else estimators
    if hasattr(given, "fit") or not all(hasattr(estimator, "fit") for estimator in given):
        raise TypeError(f"estimators must be a list or a dict of estimators, got {estimators!r}.")
    if not isinstance(estimators, Mapping):
        names = [type(_validation.last_step(estimator)[0]).__name__ for estimator in estimators]
        numbers = [names[: i + 1].count(name) for i, name in enumerate(names)]
        own = [f"{k} {n}" if names.count(k) > 1 else k for k, n in zip(names, numbers, strict=True)]
        estimators = dict(zip(own, estimators, strict=True))
    if not estimators:
        raise ValueError("Give at least one estimator.")
    return estimators


def active_mask(estimator, X, codes=None):
    """Return the mask of active latents: `active_dimensions`, or where `transform` is not 0.

    If `codes` are given, `transform` is not called.
    """
    if hasattr(estimator, "active_dimensions"):
        return np.asarray(estimator.active_dimensions(X))
    _validation.require(estimator, "active_dimensions", "transform")
    return as_array(estimator.transform(X) if codes is None else codes) != 0


OptionalAxes: TypeAlias = "Axes | None"
# Estimators by name, or in a list.
Estimators: TypeAlias = Mapping[str, Any] | Sequence[Any]

# The palette of Okabe and Ito, which colour-blind people can tell apart, without its yellow, which
# is too light for lines.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
GREY = "#BBBBBB"


@dataclass_transform(eq_default=False)
class Display(ABC):
    """Base class of the displays, which hold the numbers of a picture and draw it.

    To add a display, derive a class from this one; it becomes a dataclass. Its annotated fields are
    the numbers, its class method `from_estimator` computes them and calls `plot`, and `plot` starts
    with `use_axes`. To draw in another style, change the artists that a display has as attributes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the picture.

    figure_ : matplotlib.figure.Figure
        The figure that the axes belong to.

    See Also
    --------
    LatentDisplay : A display with two kinds of pictures.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense.inspection import Display
    >>> class ScreeDisplay(Display):
    ...     variance: list
    ...
    ...     @classmethod
    ...     def from_estimator(cls, estimator, *, ax=None):
    ...         return cls(estimator.explained_variance_).plot(ax)
    ...
    ...     def plot(self, ax=None):
    ...         self.use_axes(ax, (4, 3)).plot(self.variance)
    ...         return self
    >>> display = ScreeDisplay.from_estimator(PCA().fit([[0.0, 1.0], [2.0, 0.0], [4.0, 1.0]]))
    >>> display.variance.shape
    (2,)
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(repr=False, eq=False)(cls)

    @abstractmethod
    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        Display
            The display itself.
        """

    def use_axes(self, ax: OptionalAxes, figsize: tuple[float, float]) -> Any:
        """Set `ax_` and `figure_` from the given axes, or from a new figure.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Axes to draw on.

        figsize : tuple of two floats
            Width and height of a new figure in inches.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = optional_import("matplotlib.pyplot", "Plotting", "plot")
        self.ax_: Any = plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax
        self.figure_: Any = self.ax_.get_figure()
        return self.ax_

    def _add_legend(self):
        """Add a legend of the labelled lines, inside the axes if it is short, or to their right."""
        long = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
        n_entries = len(self.ax_.get_legend_handles_labels()[0])
        if n_entries:
            self.ax_.legend(**long if n_entries > 5 else {"framealpha": 0.9})


class ActiveDimensionDisplay(Display):  # numpydoc ignore=PR02
    """Draw the distribution of the dimension over the samples of each class.

    Each class has a row with a histogram and a mark at its mean. Bars show shares of the samples of
    the class, on the same scale in all rows.

    Parameters
    ----------
    dimensions : array-like of shape (n_samples,)
        Dimension of each sample.

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
        If `dimensions` is not 1-d, holds NaN or infinity, or if lengths differ.

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
        values = _validation.column_or_1d(
            self.dimensions, dtype=np.float64, input_name="dimensions"
        )
        assert_all_finite(values, input_name="dimensions")
        labels = _validation.column_or_1d([""] * len(values) if self.y is None else self.y)
        check_consistent_length(values, labels)
        self.dimensions, self.y = values, labels
        self.groups = {str(one): values[labels == one] for one in np.unique(labels)}

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
        step, X = _validation.fitted_step(estimator, X)
        if hasattr(step, "active_dimensions"):
            dimensions, quantity = active_mask(step, X).sum(axis=1), "Active latents"
        else:
            # `dimension_` is required, since classifiers and regressors have `predict` too.
            _validation.require(step, "active_dimensions", "dimension_")
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
        whole = np.rint(np.concatenate(groups))
        edges = np.arange(whole.min() - 0.5, whole.max() + 1)
        shares = [np.histogram(group, edges)[0] / len(group) for group in groups]
        floors = np.arange(len(names))[::-1]
        # The tallest bar leaves a tenth of a row.
        heights = np.array(shares) * (0.9 / np.max(shares))
        self.bars_ = [
            axes.bar(edges[:-1] + 0.5, height, 0.9, floor, color=BLUE)
            for height, floor in zip(heights, floors, strict=True)
        ]
        axes.hlines(floors, edges[0], edges[-1], color=BLACK, linewidth=0.5)
        axes.set_yticks(floors, names)
        axes.tick_params(axis="y", length=0)
        means = [group.mean() for group in groups]
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


# Maximum number of latents that are drawn if none are chosen.
MAX_LATENTS = 64


class LatentDisplay(Display):  # numpydoc ignore=PR02
    """Draw decoder columns as images, or as the rows of a heat map.

    A decoder column is the contribution of one unit of a latent to the reconstruction. Positive
    weights are red and negative weights blue, on one scale for all latents. Each column is labelled
    with the index of its latent.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        The decoder columns, one row for each latent.

    latents : array-like of int of shape (n_shown,) or None, default=None
        Latents to draw, in this order, such as ``np.argsort(-active.mean(axis=0))``, the most used
        ones first; None means the first 64.

    image_shape : tuple of two ints, or None, default=None
        Height and width of samples that are images; None draws a row for each latent instead.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    image_ : matplotlib.image.AxesImage
        The mosaic of all images, or the heat map.

    Raises
    ------
    ValueError
        If shapes do not match, or if a latent does not exist.

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
    image_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        columns = _validation.check_array(
            self.components, dtype=np.float64, input_name="components"
        )
        n_components, n_features = columns.shape
        if self.image_shape is not None and math.prod(self.image_shape) != n_features:
            raise ValueError(
                f"image_shape={self.image_shape!r} has {math.prod(self.image_shape)} pixels, but "
                f"there are {n_features} features."
            )
        latents = np.arange(n_components)[:MAX_LATENTS] if self.latents is None else self.latents
        self.components, self.latents = columns, _validation.check_latents(latents, n_components)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        latents: ArrayLike | None = None,
        ax: OptionalAxes = None,
    ) -> Self:
        """Draw the decoder columns of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `components_`, such as PCA or an autoencoder with a linear decoder. It can
            be the last step of a Pipeline.

        image_shape : tuple of two ints, or None, default=None
            Height and width of samples that are images; None draws a row for each latent instead.

        latents : array-like of int or None, default=None
            Latents to draw, in this order; None means the first 64.

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
        step, _ = _validation.fitted_step(estimator)
        step = getattr(step, "autoencoder_", step)
        if not hasattr(step, "components_"):
            raise TypeError(
                f"{type(step).__name__} has no components_: it has no decoder, or its decoder has "
                'hidden layers and therefore no columns. Fit it with network="linear".'
            )
        return cls(step.components_, latents=latents, image_shape=image_shape).plot(ax)

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
        if self.image_shape is None:
            axes = self.use_axes(ax, (6.4, 1.4 + 0.2 * len(shown)))
            picture = shown
            axes.set_yticks(range(len(shown)), captions)
            axes.set(xlabel="Feature", ylabel="Latent")
        else:
            picture = self._mosaic(ax, shown.reshape(-1, *self.image_shape), captions)
        largest = float(np.abs(shown).max()) or 1.0
        colors = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        aspect = "auto" if self.image_shape is None else "equal"
        self.image_ = self.ax_.imshow(picture, aspect=aspect, **colors)
        self.figure_.colorbar(self.image_, ax=self.ax_, shrink=0.8, label="Weight (units of X)")
        self.ax_.set_title("Decoder columns")
        return self

    def _mosaic(self, ax, images, captions):
        """Return a mosaic of images, with gaps of NaN, and draw a caption above each."""
        n_shown, height, width = images.shape
        n_columns = math.ceil(math.sqrt(n_shown))
        n_rows = math.ceil(n_shown / n_columns)
        axes = self.use_axes(ax, (max(1.2 + 0.8 * n_columns, 3.6), 0.8 + 0.9 * n_rows))
        top, side = max(1, round(0.3 * height)), max(1, round(0.12 * width))
        gaps = (0, n_rows * n_columns - n_shown), (top, 0), (0, side)
        tiles = np.pad(images, gaps, constant_values=np.nan)
        rows = tiles.reshape(n_rows, n_columns, *tiles.shape[1:]).swapaxes(1, 2)
        for i, caption in enumerate(captions):
            row, column = divmod(i, n_columns)
            x, y = column * (width + side) + 0.5 * (width - 1), row * (height + top) + top - 0.6
            axes.text(x, y, caption, fontsize=7, ha="center", va="bottom")
        axes.set_axis_off()
        return rows.reshape(n_rows * (height + top), -1)


Curve: TypeAlias = tuple[DoubleArray, DoubleArray, tuple[float, float] | None]


class LossCurveDisplay(Display):  # numpydoc ignore=PR02
    """Draw the loss and its parts over the epochs of training.

    The loss of the initialization that was kept is blue, and grey lines are those of the others.
    The parts of the loss are the error, and the cost of the code: its divergence from the prior, or
    the weighted penalty.

    Parameters
    ----------
    history : dict of array-like
        One entry for each epoch, as in the fitted attribute `history_`. Only "loss" is required;
        the other lines are drawn if their entries are there. Without "init" there is one
        initialization.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    line_ : matplotlib.lines.Line2D
        The loss of the kept model.

    part_lines_ : list of matplotlib.lines.Line2D
        The error and the cost of the code, if they are known.

    init_lines_ : list of matplotlib.lines.Line2D
        The losses of the other initializations.

    Raises
    ------
    ValueError
        If there is no "loss", or the entries differ in length.

    See Also
    --------
    ActiveDimensionDisplay : Number of active latents after training.

    Examples
    --------
    >>> from skvaeense.inspection import LossCurveDisplay
    >>> display = LossCurveDisplay({"loss": [3.0, 2.0, 1.5]}).plot()
    >>> display.ax_.get_xlabel()
    'Epoch'
    """

    history: Mapping[str, Any]

    def __post_init__(self) -> None:
        if "loss" not in self.history:
            raise ValueError(f'history has no "loss", only {sorted(self.history)}.')
        self.history = {name: np.asarray(v, dtype=float) for name, v in self.history.items()}
        shapes = {name: values.shape for name, values in self.history.items()}
        if set(shapes.values()) != {(self.history["loss"].size or 1,)}:
            raise ValueError(
                f"history must hold non-empty 1d arrays of the same length, got shapes {shapes}."
            )

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: OptionalAxes = None) -> Self:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With the fitted attribute `history_`, or with an `autoencoder_` that has it. It can be
            the last step of a Pipeline.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator keeps no history.
        """
        step, _ = _validation.fitted_step(estimator)
        step = getattr(step, "autoencoder_", step)
        _validation.require(step, "history_")
        return cls(step.history_).plot(ax)

    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        LossCurveDisplay
            The display.
        """
        loss, epoch = self.history["loss"], self.history.get("epoch")
        init = self.history.get("init", np.zeros(len(loss)))
        is_kept = init == init[-1]
        kept = {name: values[is_kept] for name, values in self.history.items()}
        axes = self.use_axes(ax, (6.4, 4.8))

        def epochs(rows: Any) -> Any:
            # Long epochs have several entries.
            return np.arange(1, rows.sum() + 1) if epoch is None else epoch[rows]

        self.init_lines_ = [
            axes.plot(epochs(init == i), loss[init == i], color=GREY, linewidth=1)[0]
            for i in np.unique(init[~is_kept])
        ]
        if self.init_lines_:
            self.init_lines_[0].set_label("loss of other inits")
        unit, parts = _parts(kept)
        self.line_, *self.part_lines_ = (
            axes.plot(epochs(is_kept), values, color=color, label=name)[0]
            for color, (name, values) in zip(PALETTE, parts.items(), strict=False)
        )
        label = "Loss" if unit is None else f"Loss ({unit})"
        axes.set(title="Training", xlabel="Epoch", ylabel=label)
        self._add_legend()
        return self


def _parts(kept):
    """Return the unit of the loss, or None, and the lines of the loss and its parts by name."""
    loss, penalty = kept["loss"], kept.get("penalty", 0) * kept.get("alpha", 0)
    if "kl" in kept:
        return "nats per sample", {
            "loss": loss,
            "error": loss - kept["kl"],
            "KL divergence": kept["kl"],
        }
    if np.ndim(penalty):
        # The rest of the loss is not exactly the error if alpha rose during the epoch.
        error = kept.get("error", loss - penalty)
        return "fraction of variance", {"loss": loss, "error": error, "weighted penalty": penalty}
    return None, {"loss": loss}


def reconstruction_sparsity_curve(estimator: Any, X: ArrayLike) -> Curve:
    """Compute the reconstruction error at several mean numbers of active latents.

    The contribution of entry j of a code is ``|e_j| ||W_j||``, with W_j the decoder column of
    latent j; it measures how far the entry moves the reconstruction. For a decoder with hidden
    layers, W_j is column j of its Jacobian at the code 0. Over all samples together, the entries
    with the largest contributions are kept, and the others are set to 0 before decoding. So the
    number of active latents adapts to the sample. An estimator with principal components (PCA,
    TruncatedSVD) keeps its first components instead, the same for all samples.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform` and `inverse_transform`. It can be the last step of a Pipeline; X
        and the error are then as that step sees them.

    X : array-like of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    n_active : ndarray of shape (n_points,)
        Mean number of active latents per sample, ascending from 0; at most 30 points, which are
        denser where few entries are kept.

    error : ndarray of shape (n_points,)
        Fraction of variance unexplained at these points.

    operating_point : tuple of two floats, or None
        Mean number of active latents, and the error if only these are kept. Latents are active by
        `active_dimensions` or, without this method, if their codes are not 0. None if all latents
        are always active, as in PCA.

    Raises
    ------
    TypeError
        If the estimator has no `transform` or no `inverse_transform`.

    ValueError
        If X is constant.

    See Also
    --------
    ReconstructionSparsityDisplay : Draw the curves of several estimators.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense.inspection import reconstruction_sparsity_curve
    >>> X = [[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> n_active, error, _ = reconstruction_sparsity_curve(PCA().fit(X), X)
    >>> n_active, error.round(3)
    (array([0., 1., 2.]), array([1. , 0.2, 0. ]))
    """
    estimator, X = _validation.fitted_step(estimator, X, needs=["transform", "inverse_transform"])
    codes = as_array(estimator.transform(X))

    def errors_of(kept: Iterable[Any]) -> DoubleArray:
        decoded = (estimator.inverse_transform(np.where(mask, codes, 0)) for mask in kept)
        return np.array([fvu(X, reconstructed) for reconstructed in decoded])

    if hasattr(estimator, "explained_variance_"):
        counts = _levels(codes.shape[1])
        errors = errors_of(np.arange(codes.shape[1]) < count for count in counts)
        return counts.astype(float), errors, None
    amounts = contributions(estimator, codes)
    counts = _levels(np.count_nonzero(amounts))
    # Ranked from the largest; ties are broken by position, so that counts are met exactly.
    ranks = rankdata(-amounts, method="ordinal", axis=None).reshape(codes.shape)
    active, own = active_mask(estimator, X, codes), None
    if not active.all():
        own = float(active.sum() / len(codes)), float(errors_of([active])[0])
    return counts / len(codes), errors_of(ranks <= count for count in counts), own


def contributions(estimator, codes):
    """Return the approximate effect of each code entry on the reconstruction, ``|e_j| ||W_j||``.

    W_j is row j of `components_`, or column j of the decoder's Jacobian at the code 0.
    """
    if hasattr(estimator, "components_"):
        return np.abs(codes) * np.linalg.norm(estimator.components_, axis=1)
    # Central differences. The step is small beside codes, and large beside float32 rounding.
    steps = 0.01 * np.eye(codes.shape[1])
    ahead, behind = (np.asarray(estimator.inverse_transform(e)) for e in (steps, -steps))
    return np.abs(codes) * np.linalg.norm(ahead - behind, axis=1) / 0.02


def _levels(n_entries):
    """Return up to 30 numbers of entries to keep, from 0 to all, denser where the curve bends."""
    return np.unique(np.round(n_entries * np.linspace(0, 1, 30) ** 2).astype(np.intp))


class ReconstructionSparsityDisplay(Display):  # numpydoc ignore=PR02
    """Draw the reconstruction error against the mean number of active latents.

    Each estimator has a curve, as `reconstruction_sparsity_curve` computes it, and a dot at its own
    choice of active latents. Lower and further left is better.

    Parameters
    ----------
    curves : dict of tuple by str
        Results of `reconstruction_sparsity_curve`, by the names of the curves.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    lines_ : list of matplotlib.lines.Line2D
        The curves.

    points_ : list of (matplotlib.lines.Line2D or None)
        The dots.

    See Also
    --------
    reconstruction_sparsity_curve : The numbers of one curve.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense.inspection import ReconstructionSparsityDisplay
    >>> X = load_iris().data
    >>> display = ReconstructionSparsityDisplay.from_estimators([PCA(2).fit(X)], X)
    >>> display.curves["PCA"][0]
    array([0., 1., 2.])
    """

    curves: Mapping[str, Curve]

    @classmethod
    def from_estimators(
        cls, estimators: Estimators, X: ArrayLike, *, ax: OptionalAxes = None
    ) -> Self:
        """Draw the curves of fitted estimators.

        Parameters
        ----------
        estimators : dict of estimators by name, or list of estimators
            Fitted, with `transform` and `inverse_transform`, such as autoencoders and PCA. In a
            list, the names are those of the classes.

        X : array-like of shape (n_samples, n_features)
            Samples; held-out samples give a fairer comparison.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.

        Raises
        ------
        ValueError
            If there is no estimator.
        """
        named = named_estimators(estimators)
        curves = {name: reconstruction_sparsity_curve(one, X) for name, one in named.items()}
        return cls(curves).plot(ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike, *, ax: OptionalAxes = None) -> Self:
        """Draw the curves of one fitted estimator and of the principal components of X.

        No other linear code of the same length has a smaller error on X than principal components.

        Parameters
        ----------
        estimator : estimator
            As for `from_estimators`.

        X : array-like of shape (n_samples, n_features)
            Samples; held-out samples give a fairer comparison.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.
        """
        step, seen = _validation.fitted_step(estimator, X, needs=["transform", "inverse_transform"])
        return cls.from_estimators([step, PCA().fit(as_array(seen))], seen, ax=ax)

    def plot(self, ax: OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.
        """
        axes = self.use_axes(ax, (6.4, 4.8))
        axes.set_yscale("log")
        self.lines_, self.points_ = [], []
        for color, (name, curve) in zip(cycle(PALETTE), self.curves.items(), strict=False):
            n_active, error, point = curve
            self.lines_ += axes.plot(n_active, error, color=color, linewidth=1.8, label=name)
            dot = {"color": color, "markersize": 9, "markeredgecolor": BLACK}
            self.points_.append(point and axes.plot(*point, "o", label="_", **dot)[0])
        # A logarithmic axis would show errors that are only rounding, in single precision too.
        errors = np.concatenate([np.asarray(error) for _, error, _ in self.curves.values()])
        least = errors[errors > np.finfo(np.float32).eps].min(initial=1.0)
        axes.set_ylim(0.5 * least, 2 * max(errors.max(), least))
        dots = " (dots: the estimators' own choice)" if any(self.points_) else ""
        axes.set(
            title=f"Error against sparsity{dots}",
            xlabel="Mean active latents per sample",
            ylabel="Fraction of variance unexplained",
        )
        axes.grid(alpha=0.3)
        self._add_legend()
        return self
