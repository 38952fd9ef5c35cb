"""What leaving out one latent at a time does to the reconstruction, or to a model that reads it."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import Bunch, check_array
from sklearn.utils.validation import check_is_fitted

from skvaeense.inspection._estimators import (
    active_mask,
    dense,
    last_step,
    require,
    transformed,
)
from skvaeense.inspection._latent_order import check_latents
from skvaeense.metrics import fvu, squared_error

METRICS = ("fvu", "squared_error")


def latent_ablation(
    estimator: Any,
    X: ArrayLike,
    metric: Literal["squared_error", "fvu"] | Callable[[Any], Any] = "squared_error",
    *,
    latents: ArrayLike | None = None,
) -> Bunch:
    """Measure what leaving out one latent at a time does.

    Samples are coded once. For each latent in turn its code is set to 0 in all samples, the rest
    of the code is decoded, and the metric of this reconstruction is compared with that of the
    whole code. A latent that is 0 in all samples changes nothing, and is not decoded.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform` and `inverse_transform`. It may be the last step of a Pipeline:
        then X and its reconstructions are as that step sees them.

    X : array-like of shape (n_samples, n_features)
        Samples.

    metric : {"squared_error", "fvu"} or callable, default="squared_error"
        The squared error per sample in squared units of X, the fraction of variance unexplained,
        or a function of reconstructions alone. The function takes an ndarray of shape (n_samples,
        n_features), samples in the order of X, and returns a float or an ndarray of shape
        (n_samples,) with a value for each sample, of which the mean is taken. It may ask a model
        that reads the reconstructions, and compare its answers with targets that it knows.

    latents : array-like of int of shape (n_latents,) or None, default=None
        The latents to leave out, one at a time; None: each of them.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        latents : ndarray of int, shape (n_latents,)
            The latents.
        baseline : float
            Metric of the whole code.
        ablated : ndarray of shape (n_latents,)
            Metric without each latent.
        change : ndarray of shape (n_latents,)
            ``ablated - baseline``: positive for an error that grows without the latent.
        change_where_active : ndarray of shape (n_latents,)
            Mean change over the samples in which the latent is active. NaN for a latent that is
            active in none, and for a metric without values of samples.
        use : ndarray of shape (n_latents,)
            Share of the samples in which the latent is active: by `active_dimensions`, or where
            `transform` is not 0.

    Raises
    ------
    TypeError
        If the estimator cannot code or decode.

    ValueError
        If `metric` or `latents` is not valid, X is constant and `metric` is "fvu", or a function
        returns neither a float nor a value for each sample.

    See Also
    --------
    reconstruction_sparsity_curve : The error with the largest entries of codes alone.
    class_activity : In which classes latents are active.

    Notes
    -----
    With the code z_n of sample n, the decoder f and the metric m_n of a sample,
    ``change[j] = mean_n m_n(f(z_n with z_nj = 0)) - mean_n m_n(f(z_n))``.
    The values of samples for "fvu" are ``||x_n - f(z_n)||^2 / mean_i ||x_i - mean(X)||^2``.
    Changes do not add up: two latents that stand in for each other both change little.
    Codes of :class:`~skvaeense.VAEenseTransformer` are small but not 0 in latents that are not
    active, unless `hard` is set, so such samples are part of `change` too.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093: on the
    sparsity of the effects of ablating a latent.

    Examples
    --------
    Each principal component explains its share of the variance:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skvaeense.inspection import latent_ablation
    >>> X, y = load_iris(return_X_y=True)
    >>> pca = PCA(3).fit(X)
    >>> latent_ablation(pca, X, "fvu").change.round(3)
    array([0.925, 0.053, 0.017])

    Which of them does a classifier need? The metric is its log loss in nats, for each sample:

    >>> classifier = LogisticRegression(max_iter=500).fit(X, y)
    >>> def log_loss(X_reconstructed):
    ...     return -classifier.predict_log_proba(X_reconstructed)[np.arange(len(y)), y]
    >>> result = latent_ablation(pca, X, log_loss)
    >>> result.baseline, result.change.round(2)
    (0.12..., array([2.33, 0.03, 0.03]))
    """
    if metric not in METRICS and not callable(metric):
        raise ValueError(f"metric must be one of {list(METRICS)} or a callable, got {metric!r}.")
    step, X = last_step(estimator, X)
    check_is_fitted(step)
    for name in ("transform", "inverse_transform"):
        require(step, name)
    codes = transformed(step, X)
    left_out = check_latents(latents, codes.shape[1])
    whole = np.asarray(step.inverse_transform(codes))
    measure = _outcome(metric, whole) if callable(metric) else _error(metric, X, whole)
    values = measure(slice(0), whole[:0])
    baseline = float(values.mean())
    active = active_mask(step, X, codes)[:, left_out]
    ablated = np.full(len(left_out), baseline)
    change_where_active = np.full(len(left_out), np.nan)
    columns = _nonzero_columns(codes)
    for i, latent in enumerate(left_out):
        rows = columns.indices[columns.indptr[latent] : columns.indptr[latent + 1]]
        without = values
        if len(rows):
            without = measure(rows, _decode_without(latent, step, codes[rows], whole[rows]))
            ablated[i] = without.mean()
        if values.ndim and active[:, i].any():
            change_where_active[i] = (without - values)[active[:, i]].mean()
    return Bunch(
        latents=left_out,
        baseline=baseline,
        ablated=ablated,
        change=ablated - baseline,
        change_where_active=change_where_active,
        use=active.mean(axis=0),
    )


def _error(metric, X, whole):
    """Return a function that takes rows and their reconstructions, and gives all samples' errors.

    The reconstructions of the other rows are whole.
    """
    X = check_array(X, dtype=np.float64, input_name="X")
    unit = 1.0
    if metric == "fvu":
        mean = np.broadcast_to(X.mean(axis=0), X.shape)
        unit = squared_error(X, mean)
        # It names an X without variance.
        fvu(X, mean)
    errors = np.square(X - whole).sum(axis=1) / unit

    def measure(rows, reconstructions):
        changed = errors.copy()
        changed[rows] = np.square(X[rows] - reconstructions).sum(axis=1) / unit
        return changed

    return measure


def _outcome(function, whole):
    """Return a function that takes rows and their reconstructions, and calls the user's function.

    The reconstructions of the other rows are whole.
    """

    def measure(rows, reconstructions):
        changed = whole.copy()
        changed[rows] = reconstructions
        values = np.asarray(function(changed), dtype=np.float64)
        if values.shape not in {(), (len(whole),)}:
            raise ValueError(
                f"metric must return a float or an array of shape ({len(whole)},), got shape "
                f"{values.shape}."
            )
        return values

    return measure


def _nonzero_columns(codes):
    """Return codes by column, without stored zeros."""
    columns = sparse.csc_array(codes, copy=True)
    columns.eliminate_zeros()
    return columns


def _decode_without(latent, step, codes, whole):
    """Return the reconstructions of codes in which a latent is left out.

    With a linear decoder of our own its part is subtracted, which spares a matrix product.
    """
    codes = dense(codes)
    if hasattr(step, "module_") and hasattr(step, "components_"):
        return whole - codes[:, [latent]] * step.components_[latent]
    codes[:, latent] = 0
    return np.asarray(step.inverse_transform(codes))
