"""The reconstruction error as a function of the number of active latents."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._estimators import (
    active_mask,
    contributions,
    dense,
    fitted_step,
    location_columns,
)
from skvaeense.metrics import fvu, squared_error
from skvaeense.utils._typing import DoubleArray

Metric: TypeAlias = Literal["fvu", "squared_error"]
METRICS = {"fvu": fvu, "squared_error": squared_error}


def reconstruction_sparsity_curve(
    estimator: Any, X: ArrayLike, *, metric: Metric = "fvu", n_levels: int = 30
) -> tuple[DoubleArray, DoubleArray, tuple[float, float] | None]:
    """Compute the reconstruction error at several mean numbers of active latents.

    The contribution of entry j of a code is ``|e_j| ||W_j||``, with W_j the decoder column of
    latent j; it measures how far the entry moves the reconstruction. For a decoder with hidden
    layers, W_j is column j of its Jacobian at the code 0. Among the entries of all samples
    together, those with the largest contributions are kept, the others are set to 0, and the codes
    are decoded, so that the number of active latents adapts to the sample. An estimator with
    principal components (PCA, TruncatedSVD) keeps its first components instead, the same for all
    samples.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform` and `inverse_transform`. It may be the last step of a Pipeline; X
        and the error are then as that step sees them.

    X : array-like of shape (n_samples, n_features)
        Samples.

    metric : {"fvu", "squared_error"}, default="fvu"
        The fraction of variance unexplained, or the squared error per sample in squared units of X.

    n_levels : int, default=30
        Maximum number of points of the curve. They are denser where few entries are kept.

    Returns
    -------
    n_active : ndarray of shape (n_points,)
        Mean number of active latents per sample, ascending from 0.

    error : ndarray of shape (n_points,)
        Error at these points.

    operating_point : tuple of two floats, or None
        Mean number of active latents and error if the active latents are kept: those that
        `active_dimensions` names, or, without this method, those that are not 0. None if all
        latents are always active, as in PCA.

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
    if n_levels < 2:
        raise ValueError(f"n_levels must be at least 2, got {n_levels!r}.")
    estimator, X = fitted_step(estimator, X, needs=["transform", "inverse_transform"])
    codes = dense(estimator.transform(X))

    located = location_columns(estimator, codes.shape[1])

    def errors_of(kept: Iterable[Any]) -> DoubleArray:
        decoded = (estimator.inverse_transform(np.where(mask | located, codes, 0)) for mask in kept)
        return np.array([METRICS[metric](X, reconstructed) for reconstructed in decoded])

    if hasattr(estimator, "explained_variance_"):
        counts = _levels(codes.shape[1], n_levels)
        errors = errors_of(np.arange(codes.shape[1]) < count for count in counts)
        return counts.astype(float), errors, None
    amounts = contributions(estimator, codes) * ~located
    counts = _levels(np.count_nonzero(amounts), n_levels)
    # Ranked from the largest; ties are broken by position, so that counts are met exactly.
    ranks = np.empty(codes.size, dtype=np.intp)
    ranks[np.argsort(-amounts, axis=None, kind="stable")] = np.arange(codes.size)
    ranks = ranks.reshape(codes.shape)
    active, own = active_mask(estimator, X, codes), None
    if not active[:, ~located].all():
        own = float(active.sum() / len(codes)), float(errors_of([active])[0])
    return counts / len(codes), errors_of(ranks < count for count in counts), own


def _levels(n_entries, n_levels):
    """Return ascending numbers of entries to keep, from 0 to all, denser where the curve bends."""
    return np.unique(np.round(n_entries * np.linspace(0, 1, n_levels) ** 2).astype(np.intp))
