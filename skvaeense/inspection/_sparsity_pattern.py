"""A picture of the active latents of samples."""

from dataclasses import KW_ONLY
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_array

from skvaeense.inspection._base import Display, OptionalAxes, Style
from skvaeense.inspection._estimators import active_mask, fitted_step
from skvaeense.inspection._groups import group_by_label, latents_to_show, thin
from skvaeense.inspection._plotting import BLUE, PALE_BLUE, RED, TABLE, how_many, style
from skvaeense.training._sources import as_array
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray, SparseArray
from skvaeense.utils._validation import check_integer


class SparsityPatternDisplay(Display):  # numpydoc ignore=PR02
    """Draw the active latents of each sample, and the size of their codes.

    Each row is a sample and each column a latent. An entry is white if the latent is not active,
    and darker the larger the code is relative to the largest code of the latent. Samples are
    grouped by label. Latents are ordered by the group that uses them most, the most used first, so
    that the latents of a single group form blocks on the diagonal, and latents that all groups
    share form vertical bars.

    Parameters
    ----------
    pattern : ndarray of bool, shape (n_rows, n_columns)
        True where the latent of the column is active in the sample of the row.

    rows : ndarray of int, shape (n_rows,)
        The sample that each row shows.

    latents : ndarray of int, shape (n_columns,)
        The latent that each column shows.

    group_sizes : list of int
        Number of rows of each group, from the top.

    group_names : list of str
        Labels of the groups; empty strings if there are none.

    n_samples : int
        Number of samples, shown or not.

    n_components : int
        Number of latents, shown or not.

    sizes : ndarray of shape (n_rows, n_columns) or None, default=None
        Absolute codes, divided by the latent's largest; None draws all active latents alike.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    image_ : matplotlib.image.AxesImage
        The picture.

    boundaries_ : list of matplotlib.lines.Line2D
        The lines between groups.

    See Also
    --------
    ActiveDimensionDisplay : Draw the number of active latents.

    Examples
    --------
    >>> from skvaeense.inspection import SparsityPatternDisplay
    >>> codes = [[0.0, 2.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]]
    >>> display = SparsityPatternDisplay.from_codes(codes, ["a", "a", "b"])
    >>> display.latents, display.group_names
    (array([1, 0]), ['a', 'b'])
    """

    pattern: BoolArray
    _: KW_ONLY
    rows: IntArray
    latents: IntArray
    group_sizes: list[int]
    group_names: list[str]
    n_samples: int
    n_components: int
    sizes: DoubleArray | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        max_samples: int = 400,
        unused: bool = False,
        ax: OptionalAxes = None,
        im_kw: Style = None,
    ) -> Self:
        """Draw the active latents of samples.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent
            is not active. It can be the last step of a Pipeline.

        X : array-like of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        max_samples : int, default=400
            Maximum number of rows. If there are more samples, all groups are thinned out alike.

        unused : bool, default=False
            Whether to show latents that are active in no sample, on the right.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        im_kw : dict or None, default=None
            Keywords of the image.

        Returns
        -------
        SparsityPatternDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator has neither `active_dimensions` nor `transform`.
        """
        step, seen = fitted_step(estimator, X)
        codes = active_mask(step, seen)
        if hasattr(step, "transform") and not hasattr(step, "dimension_pw_"):
            codes = codes * as_array(step.transform(seen))
        return cls.from_codes(codes, y, max_samples=max_samples, unused=unused, ax=ax, im_kw=im_kw)

    @classmethod
    def from_codes(
        cls,
        codes: ArrayLike | SparseArray,
        y: ArrayLike | None = None,
        *,
        max_samples: int = 400,
        unused: bool = False,
        ax: OptionalAxes = None,
        im_kw: Style = None,
    ) -> Self:
        """Draw the non-zero entries of codes.

        Parameters
        ----------
        codes : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, or a boolean mask. Entries that are not exactly 0 are active. The active entries
            of a mask are drawn alike.

        y : array-like of shape (n_samples,) or None, default=None
            Labels.

        max_samples : int, default=400
            Maximum number of rows. If there are more samples, all groups are thinned out alike.

        unused : bool, default=False
            Whether to show latents that are active in no sample, on the right.

        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        im_kw : dict or None, default=None
            Keywords of the image.

        Returns
        -------
        SparsityPatternDisplay
            The display.

        Raises
        ------
        ValueError
            If no latent is active anywhere and `unused` is False, or if `max_samples` is not
            positive.
        """
        check_integer(max_samples, "max_samples", minimum=1)
        values = abs(sparse.csr_array(check_array(codes, accept_sparse="csr", dtype=None)))
        active = values.astype(bool)
        n_samples, n_components = values.shape
        groups = group_by_label(y, n_samples)
        use = np.vstack([active[members].mean(axis=0) for members in groups.values()])
        latents = latents_to_show(use, unused)
        orders = []
        for members in groups.values():
            shown = thin(members, max(1, max_samples * len(members) // n_samples))
            orders.append(shown[np.lexsort(~active[shown].toarray()[:, latents].T[::-1])])
        rows = np.concatenate(orders)
        largest = values.max(axis=0).toarray().ravel()[latents]
        sizes = values[rows].toarray()[:, latents] / np.where(largest > 0, largest, 1)
        display = cls(
            active[rows].toarray()[:, latents],
            rows=rows,
            latents=latents,
            group_sizes=[*map(len, orders)],
            group_names=list(groups),
            n_samples=n_samples,
            n_components=n_components,
            sizes=sizes,
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
        SparsityPatternDisplay
            The display.
        """
        from matplotlib.colors import LinearSegmentedColormap

        axes = self.use_axes(ax, (6.4, 5.6))
        colors = LinearSegmentedColormap.from_list("sizes", [PALE_BLUE, BLUE])
        sizes = self.pattern if self.sizes is None else self.sizes
        # Latents that are not active stay white.
        shown = np.ma.masked_where(~self.pattern, sizes.astype(float))
        self.image_ = axes.imshow(shown, **style({"cmap": colors, **TABLE}, im_kw))
        ends = np.cumsum(self.group_sizes)
        self.boundaries_ = [axes.axhline(end - 0.5, color=RED, linewidth=1) for end in ends[:-1]]
        is_named = any(self.group_names)
        middles = ends - np.array(self.group_sizes) / 2 - 0.5
        axes.set_yticks(middles if is_named else [], self.group_names if is_named else [])
        axes.tick_params(axis="y", length=0)
        samples = "Samples by label" if is_named else "Samples"
        latents = "Latents by group and use" if len(self.group_sizes) > 1 else "Latents by use"
        axes.set(
            title="Active latents",
            xlabel=f"{latents} ({how_many(len(self.latents), self.n_components)})",
            ylabel=f"{samples} ({how_many(len(self.rows), self.n_samples)})",
        )
        return self
