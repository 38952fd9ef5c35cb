"""The reconstruction error as a function of the number of active latents, and its picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from skvaeense.inspection._display import BLACK, PALETTE, Display, OptionalAxes, Style
from skvaeense.inspection._estimators import (
    active_mask,
    contributions,
    fitted_step,
    last_step,
)
from skvaeense.metrics import fvu, squared_error
from skvaeense.samples._rows import as_array
from skvaeense.utils._typing import DoubleArray
from skvaeense.utils._validation import check_integer

Metric: TypeAlias = Literal["fvu", "squared_error"]
# Functions, and their labels in a picture.
METRICS = {
    "fvu": (fvu, "Fraction of variance unexplained"),
    "squared_error": (squared_error, "Squared error per sample (squared units of X)"),
}


def reconstruction_sparsity_curve(
    estimator: Any, X: ArrayLike, *, metric: Metric = "fvu", n_levels: int = 30
) -> tuple[DoubleArray, DoubleArray, tuple[float, float] | None]:
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

    metric : {"fvu", "squared_error"}, default="fvu"
        The fraction of variance unexplained, or the squared error per sample in squared units of X.

    n_levels : int, default=30
        Maximum number of points of the curve, which are denser where few entries are kept.

    Returns
    -------
    n_active : ndarray of shape (n_points,)
        Mean number of active latents per sample, ascending from 0.

    error : ndarray of shape (n_points,)
        Error at these points.

    operating_point : tuple of two floats, or None
        Mean number of active latents, and the error if only these are kept. Latents are active by
        `active_dimensions` or, without this method, if their codes are not 0. None if all latents
        are always active, as in PCA.

    Raises
    ------
    TypeError
        If the estimator has no `transform` or no `inverse_transform`.

    ValueError
        If `metric` or `n_levels` is invalid, or if X is constant and `metric` is "fvu".

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
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {sorted(METRICS)}, got {metric!r}.")
    check_integer(n_levels, "n_levels", minimum=2)
    estimator, X = fitted_step(estimator, X, needs=["transform", "inverse_transform"])
    codes = as_array(estimator.transform(X))

    def errors_of(kept: Iterable[Any]) -> DoubleArray:
        decoded = (estimator.inverse_transform(np.where(mask, codes, 0)) for mask in kept)
        return np.array([METRICS[metric][0](X, reconstructed) for reconstructed in decoded])

    if hasattr(estimator, "explained_variance_"):
        counts = _levels(codes.shape[1], n_levels)
        errors = errors_of(np.arange(codes.shape[1]) < count for count in counts)
        return counts.astype(float), errors, None
    amounts = contributions(estimator, codes)
    counts = _levels(np.count_nonzero(amounts), n_levels)
    # Ranked from the largest; ties are broken by position, so that counts are met exactly.
    ranks = rankdata(-amounts, method="ordinal", axis=None).reshape(codes.shape)
    active, own = active_mask(estimator, X, codes), None
    if not active.all():
        own = float(active.sum() / len(codes)), float(errors_of([active])[0])
    return counts / len(codes), errors_of(ranks <= count for count in counts), own


def _levels(n_entries, n_levels):
    """Return ascending numbers of entries to keep, from 0 to all, denser where the curve bends."""
    return np.unique(np.round(n_entries * np.linspace(0, 1, n_levels) ** 2).astype(np.intp))


class ReconstructionSparsityDisplay(Display):  # numpydoc ignore=PR02
    """Draw the reconstruction error against the mean number of active latents.

    Each estimator has a curve, as `reconstruction_sparsity_curve` computes it, and a dot at its own
    choice of active latents. Lower and further left is better.

    Parameters
    ----------
    n_active : list of ndarray
        Mean number of active latents per sample, one array for each curve.

    error : list of ndarray
        Errors at these points.

    operating_points : list of (tuple of two floats, or None)
        Mean number of active latents and error at each estimator's own choice.

    names : list of str
        Names of the curves.

    metric : {"fvu", "squared_error"}, default="fvu"
        Measure of the error.

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
    >>> display.names, display.n_active[0]
    (['PCA'], array([0., 1., 2.]))
    """

    _: KW_ONLY
    n_active: list[DoubleArray]
    error: list[DoubleArray]
    operating_points: list[tuple[float, float] | None]
    names: list[str]
    metric: Metric = "fvu"

    @classmethod
    def from_estimators(
        cls,
        estimators: Sequence[Any] | Mapping[str, Any],
        X: ArrayLike,
        *,
        names: Sequence[str] | None = None,
        metric: Metric = "fvu",
        n_levels: int = 30,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw the curves of fitted estimators.

        Parameters
        ----------
        estimators : list of estimators, or dict of them by name
            Fitted, with `transform` and `inverse_transform`, such as autoencoders and PCA.

        X : array-like of shape (n_samples, n_features)
            Samples; held-out samples give a fairer comparison.

        names : list of str or None, default=None
            Names of the curves; None means the keys of a dict, or the names of the classes.

        metric : {"fvu", "squared_error"}, default="fvu"
            The fraction of variance unexplained, or the squared error per sample.

        n_levels : int, default=30
            Maximum number of points of a curve.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of all lines.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.

        Raises
        ------
        ValueError
            If there is no estimator, or if the numbers of names and estimators differ.
        """
        if isinstance(estimators, Mapping):
            names = list(estimators) if names is None else names
            estimators = list(estimators.values())
        if names is None:
            names = [type(last_step(estimator)[0]).__name__ for estimator in estimators]
        if not estimators or len(names) != len(estimators):
            raise ValueError(
                f"Give at least one estimator and one name for each; got {len(estimators)} "
                f"estimators and {len(names)} names."
            )
        curves = [
            reconstruction_sparsity_curve(estimator, X, metric=metric, n_levels=n_levels)
            for estimator in estimators
        ]
        n_active, error, own = map(list, zip(*curves, strict=True))
        numbers = {"n_active": n_active, "error": error, "operating_points": own}
        return cls(**numbers, names=list(names), metric=metric).plot(ax, line_kw=line_kw)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        name: str | None = None,
        metric: Metric = "fvu",
        n_levels: int = 30,
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw the curves of one fitted estimator and of the principal components of X.

        No other linear code of the same length has a smaller error on X than principal components.

        Parameters
        ----------
        estimator : estimator
            As for `from_estimators`.

        X : array-like of shape (n_samples, n_features)
            Samples; held-out samples give a fairer comparison.

        name : str or None, default=None
            Name of the curve; None means the name of the class.

        metric : {"fvu", "squared_error"}, default="fvu"
            The fraction of variance unexplained, or the squared error per sample.

        n_levels : int, default=30
            Maximum number of points of a curve.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the lines.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.
        """
        step, seen = fitted_step(estimator, X, needs=["transform", "inverse_transform"])
        curves = {name or type(step).__name__: step}
        if not hasattr(step, "explained_variance_"):
            curves["PCA"] = PCA().fit(as_array(seen))
        return cls.from_estimators(
            curves, seen, metric=metric, n_levels=n_levels, ax=ax, line_kw=line_kw
        )

    @classmethod
    def from_curve(
        cls,
        n_active: ArrayLike,
        error: ArrayLike,
        *,
        operating_point: tuple[float, float] | None = None,
        name: str = "",
        metric: Metric = "fvu",
        ax: OptionalAxes = None,
        line_kw: Style = None,
    ) -> Self:
        """Draw one known curve.

        Parameters
        ----------
        n_active : array-like of shape (n_points,)
            Mean number of active latents per sample.

        error : array-like of shape (n_points,)
            Error at these points.

        operating_point : tuple of two floats, or None, default=None
            Mean number of active latents and error at the estimator's own choice.

        name : str, default=""
            Name of the curve.

        metric : {"fvu", "squared_error"}, default="fvu"
            Measure of the error.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of the line.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays are not 1-d and of equal length, or if `metric` is invalid.
        """
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {sorted(METRICS)}, got {metric!r}.")
        n_active, error = np.asarray(n_active, dtype=float), np.asarray(error, dtype=float)
        if n_active.ndim != 1 or n_active.shape != error.shape:
            raise ValueError(
                "n_active and error must be 1d arrays of the same length, got shapes "
                f"{n_active.shape} and {error.shape}."
            )
        numbers: dict[str, Any] = {"n_active": [n_active], "error": [error], "names": [name]}
        display = cls(**numbers, operating_points=[operating_point], metric=metric)
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: OptionalAxes = None, *, line_kw: Style = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        line_kw : dict or None, default=None
            Keywords of all lines.

        Returns
        -------
        ReconstructionSparsityDisplay
            The display.
        """
        axes = self.use_axes(ax, (6.4, 4.8))
        self.lines_, self.points_ = [], []
        # A further picture on the same axes continues the colours.
        n_before = len(axes.get_legend_handles_labels()[0])
        curves = zip(self.n_active, self.error, self.operating_points, self.names, strict=True)
        for i, (n_active, error, point, name) in enumerate(curves, n_before):
            # Lines beyond one round of the palette differ by their dashes.
            turn, place = divmod(i, len(PALETTE))
            dashes = ("-", "--", ":", "-.")[turn % 4]
            look = {"color": PALETTE[place], "linestyle": dashes, "linewidth": 1.8, "label": name}
            (line,) = axes.plot(n_active, error, **look | (line_kw or {}))
            dot = {"color": line.get_color(), "markersize": 9, "markeredgecolor": BLACK}
            self.lines_.append(line)
            self.points_.append(point and axes.plot(*point, "o", label="_", **dot)[0])
        # A logarithmic axis would show errors that are only rounding, in single precision too.
        positive = np.concatenate([error[error > 0] for error in self.error])
        kept = positive[positive > np.finfo(np.float32).eps * positive.max(initial=0)]
        if len(kept) < len(positive):
            axes.set_ylim(0.5 * kept.min(), 2 * kept.max())
        dots = " (dots: the estimators' own choice)" if any(self.operating_points) else ""
        axes.set(
            title=f"Error against sparsity{dots}",
            xlabel="Mean active latents per sample",
            ylabel=METRICS[self.metric][1],
            yscale="log",
        )
        axes.grid(alpha=0.3)
        self._add_legend()
        return self
