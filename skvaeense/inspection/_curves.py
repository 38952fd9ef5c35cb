"""Curves: the loss during training, and the error against the number of active latents."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from skvaeense.inspection._display import BLACK, GREY, PALETTE, Display, Estimators, OptionalAxes
from skvaeense.inspection._estimators import active_mask, fitted_step, named_estimators, require
from skvaeense.metrics import fvu
from skvaeense.samples._rows import as_array
from skvaeense.utils._typing import DoubleArray

Curve: TypeAlias = tuple[DoubleArray, DoubleArray, tuple[float, float] | None]
# What weighs the parts of a loss, and its label.
WEIGHTS = {
    "noise_variance": "Noise variance in squared units of X",
    "alpha": "Coefficient of the penalty",
}


class LossCurveDisplay(Display):  # numpydoc ignore=PR02
    """Draw the loss, its parts and their relative weight over the epochs of training.

    The loss of the initialization that was kept is blue, and grey lines are those of the others.
    The parts of the loss are the error, and the cost of the code: its divergence from the prior, or
    the weighted penalty. A dotted line, with an axis at the right, shows the noise variance, or the
    coefficient of the penalty.

    Parameters
    ----------
    history : dict of array-like
        One entry for each epoch, as in the fitted attribute `history_`. Only "loss" is required;
        the other lines are drawn if their entries are there. Without "init" there is one
        initialization.

    estimator_name : str or None, default=None
        Name of the estimator, for the title.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    right_ax_ : matplotlib.axes.Axes or None
        The axes of the dotted line, if there is one.

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
    _: KW_ONLY
    estimator_name: str | None = None

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
            With the fitted attribute `history_` or `loss_curve_`, or with an `autoencoder_` that
            has one of them. It can be the last step of a Pipeline.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

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
        return cls(history, estimator_name=type(step).__name__).plot(ax)

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
        self._draw_right(epochs(is_kept), kept)
        name = "" if self.estimator_name is None else f" of {self.estimator_name}"
        label = "Loss" if unit is None else f"Loss ({unit})"
        axes.set(title=f"Training{name}", xlabel="Epoch", ylabel=label)
        self._add_legend()
        return self

    def _draw_right(self, epochs, kept):
        """Draw what weighs the parts of the loss, on an axis at the right and a logarithmic scale.

        A coefficient that is always 0 is not drawn.
        """
        self.right_ax_ = None
        for name, label in WEIGHTS.items():
            if np.any(kept.get(name, 0)):
                current = self.figure_.gca()
                self.right_ax_ = self.ax_.twinx()
                self.figure_.sca(current)
                self.right_ax_.plot(epochs, kept[name], color=PALETTE[-2], linestyle=":")
                self.right_ax_.set(yscale="log", ylabel=f"{label} (dotted)")


def _parts(kept):
    """Return the unit of the loss, or None, and the lines of the loss and its parts by name."""
    loss = kept["loss"]
    if "kl" in kept:
        parts = {"error": loss - kept["kl"], "KL divergence": kept["kl"]}
        return "nats per sample", {"loss": loss} | parts
    if "penalty" in kept and "alpha" in kept:
        code = kept["penalty"] * kept["alpha"]
        # The rest of the loss is not exactly the error if alpha rose during the epoch.
        parts = {"error": kept.get("error", loss - code), "weighted penalty": code}
        return "fraction of variance", {"loss": loss} | parts
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
    estimator, X = fitted_step(estimator, X, needs=["transform", "inverse_transform"])
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
        step, seen = fitted_step(estimator, X, needs=["transform", "inverse_transform"])
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
        self.lines_, self.points_ = [], []
        # A further picture on the same axes continues the colours.
        n_before = len(axes.get_legend_handles_labels()[0])
        for i, (name, (n_active, error, point)) in enumerate(self.curves.items(), n_before):
            color = PALETTE[i % len(PALETTE)]
            self.lines_ += axes.plot(n_active, error, color=color, linewidth=1.8, label=name)
            dot = {"color": color, "markersize": 9, "markeredgecolor": BLACK}
            self.points_.append(point and axes.plot(*point, "o", label="_", **dot)[0])
        # A logarithmic axis would show errors that are only rounding, in single precision too.
        errors = np.concatenate([np.asarray(error) for _, error, _ in self.curves.values()])
        positive = errors[errors > 0]
        kept = positive[positive > np.finfo(np.float32).eps * positive.max(initial=0)]
        if len(kept) < len(positive):
            axes.set_ylim(0.5 * kept.min(), 2 * kept.max())
        dots = " (dots: the estimators' own choice)" if any(self.points_) else ""
        axes.set(
            title=f"Error against sparsity{dots}",
            xlabel="Mean active latents per sample",
            ylabel="Fraction of variance unexplained",
            yscale="log",
        )
        axes.grid(alpha=0.3)
        self._add_legend()
        return self
