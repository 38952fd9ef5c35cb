"""How the error falls as more entries of the codes are kept."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._estimators import active_mask, contributions, dense, fitted_step
from skvaeense.metrics import fvu, squared_error
from skvaeense.utils._typing import DoubleArray

Metric: TypeAlias = Literal["fvu", "squared_error"]
METRICS = {"fvu": fvu, "squared_error": squared_error}


def reconstruction_sparsity_curve(
    estimator: Any, X: ArrayLike, *, metric: Metric = "fvu", n_levels: int = 30
) -> tuple[DoubleArray, DoubleArray, tuple[float, float] | None]:
    """Compute the reconstruction error for several mean numbers of active latents.

    What entry j of a code adds to the reconstruction is about its contribution ``|e_j| ||W_j||``,
    with W_j the decoder column of latent j. Of all entries of all samples together, those of
    largest contribution are kept, the others set to 0, and the code is decoded. So each sample
    gets as many active latents as it deserves. An estimator with principal components (PCA,
    TruncatedSVD) keeps its first ones, the same for all samples: that is its order.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform` and `inverse_transform`, and with `components_` or `module_`. It
        may be the last step of a Pipeline: then X and the error are as that step sees them.

    X : array-like of shape (n_samples, n_features)
        Samples.

    metric : {"fvu", "squared_error"}, default="fvu"
        The fraction of variance unexplained, or the squared error per sample in squared units of X.

    n_levels : int, default=30
        Number of points of the curve at most. They are denser where few entries are kept.

    Returns
    -------
    n_active : ndarray of shape (n_points,)
        Mean number of active latents per sample, ascending from 0.

    error : ndarray of shape (n_points,)
        The error there.

    operating_point : tuple of two floats, or None
        Mean number of active latents and error by the estimator's own account: with the latents
        that `active_dimensions` names, or for codes with exact zeros with those that are not 0.
        None where all latents are always active, as in PCA.

    Raises
    ------
    TypeError
        If the estimator has not what is needed.

    ValueError
        If `metric` or `n_levels` is not valid, or X is constant and `metric` is "fvu".

    See Also
    --------
    ReconstructionSparsityDisplay : The curves of several estimators in one picture.

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

    def errors_of(kept: Iterable[Any]) -> DoubleArray:
        decoded = (estimator.inverse_transform(np.where(mask, codes, 0)) for mask in kept)
        return np.array([METRICS[metric](X, reconstructed) for reconstructed in decoded])

    if hasattr(estimator, "explained_variance_"):
        counts = _levels(codes.shape[1], n_levels)
        errors = errors_of(np.arange(codes.shape[1]) < count for count in counts)
        return counts.astype(float), errors, None
    amounts = contributions(estimator, codes)
    counts = _levels(np.count_nonzero(amounts), n_levels)
    # Ranked from the largest; ties are broken by position, so that counts are met exactly.
    ranks = np.empty(codes.size, dtype=np.intp)
    ranks[np.argsort(-amounts, axis=None, kind="stable")] = np.arange(codes.size)
    ranks = ranks.reshape(codes.shape)
    active, own = active_mask(estimator, X, codes), None
    if not active.all():
        own = float(active.sum() / len(codes)), float(errors_of([active])[0])
    return counts / len(codes), errors_of(ranks < count for count in counts), own


def _levels(n_entries, n_levels):
    """Return ascending numbers of entries to keep, from 0 to all, denser where the curve bends."""
    return np.unique(np.round(n_entries * np.linspace(0, 1, n_levels) ** 2).astype(np.intp))
