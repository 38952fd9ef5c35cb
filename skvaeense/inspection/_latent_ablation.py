"""The effect of single latents on the reconstruction, or on a model that reads it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import Bunch

from skvaeense.inspection._estimators import active_mask, check_latents, fitted_step
from skvaeense.inspection._reconstruction_sparsity import METRICS, Metric
from skvaeense.metrics import fvu, squared_error
from skvaeense.samples._rows import as_array
from skvaeense.utils._validation import check_array


def latent_ablation(
    estimator: Any,
    X: ArrayLike,
    metric: Metric | Callable[[Any], Any] = "squared_error",
    *,
    latents: ArrayLike | None = None,
) -> Bunch:
    """Measure the effect of leaving out one latent at a time.

    Samples are encoded once. Each latent in turn is set to 0 in all samples, the rest of the code
    is decoded, and the metric of this reconstruction is compared with the metric of the whole
    code. Samples in which the latent is 0 anyway are not decoded again.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform` and `inverse_transform`. It can be the last step of a Pipeline; X
        and its reconstructions are then as that step sees them.

    X : array-like of shape (n_samples, n_features)
        Samples.

    metric : {"squared_error", "fvu"} or callable, default="squared_error"
        The squared error per sample in squared units of X, the fraction of variance unexplained, or
        a function of reconstructions alone. The function takes an ndarray of shape (n_samples,
        n_features), in the order of X, and returns a float, or an ndarray of shape (n_samples,)
        with a value for each sample, which is averaged. For example, it can return the loss of a
        classifier that predicts from the reconstructions.

    latents : array-like of int of shape (n_latents,) or None, default=None
        Latents to leave out, one at a time; None means all of them.

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
            active in no sample, or if the metric has no values for single samples.
        use : ndarray of shape (n_latents,)
            Share of the samples in which the latent is active: by `active_dimensions`, or where
            `transform` is not 0.

    Raises
    ------
    TypeError
        If the estimator has no `transform` or no `inverse_transform`.

    ValueError
        If `metric` or `latents` is invalid, if X is constant and `metric` is "fvu", or if a
        function returns neither a float nor a value for each sample.

    See Also
    --------
    reconstruction_sparsity_curve : The error if only the largest entries are kept.
    class_activity : How often latents are active in each class.

    Notes
    -----
    With the code z_n of sample n, the decoder f and the metric m_n of a sample,
    ``change[j] = mean_n m_n(f(z_n with z_nj = 0)) - mean_n m_n(f(z_n))``.
    For "fvu", the value of a sample is ``||x_n - f(z_n)||^2 / mean_i ||x_i - mean(X)||^2``.
    Changes do not add up: if two latents can replace each other, leaving out either changes little.
    Unless `hard` is set, inactive latents of :class:`~skvaeense.VAEenseTransformer` have codes that
    are small but not 0, so these samples contribute to `change` too.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093: on the
    sparsity of the effects of ablating latents.

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

    The metric can also be the log loss of a classifier, in nats for each sample:

    >>> classifier = LogisticRegression(max_iter=500).fit(X, y)
    >>> def log_loss(X_reconstructed):
    ...     return -classifier.predict_log_proba(X_reconstructed)[np.arange(len(y)), y]
    >>> result = latent_ablation(pca, X, log_loss)
    >>> result.baseline, result.change.round(2)
    (0.12..., array([2.33, 0.03, 0.03]))
    """
    if not callable(metric) and metric not in sorted(METRICS):
        raise ValueError(f"metric must be one of {sorted(METRICS)} or a callable, got {metric!r}.")
    step, X = fitted_step(estimator, X, needs=["transform", "inverse_transform"])
    codes = step.transform(X)
    codes = codes.tocsr() if hasattr(codes, "tocsr") else np.asarray(codes)
    left_out = check_latents(latents, codes.shape[1])
    whole = np.asarray(step.inverse_transform(codes))
    measure = _measure(metric, X, whole)
    values = measure(slice(0), whole[:0])
    baseline = float(values.mean())
    active = active_mask(step, X, codes)[:, left_out]
    ablated = np.full(len(left_out), baseline)
    change_where_active = np.full(len(left_out), np.nan)
    columns = sparse.csc_array(codes)
    is_linear = _decodes_by_components(step, codes, whole)
    for i, latent in enumerate(left_out):
        rows = columns[:, [latent]].nonzero()[0]
        without = values
        if len(rows):
            some = as_array(codes[rows])
            if is_linear:
                decoded = whole[rows] - some[:, [latent]] * step.components_[latent]
            else:
                some[:, latent] = 0
                decoded = np.asarray(step.inverse_transform(some))
            without = measure(rows, decoded)
            ablated[i] = without.mean()
        if values.ndim and active[:, i].any():
            change_where_active[i] = (without - values)[active[:, i]].mean()
    change = {"change": ablated - baseline, "change_where_active": change_where_active}
    use = active.mean(axis=0)
    return Bunch(latents=left_out, baseline=baseline, ablated=ablated, **change, use=use)


def _measure(metric, X, whole):
    """Return a function that takes rows and their new reconstructions, and returns the metric.

    The other rows keep their reconstructions in `whole`. The metric has a value for each sample,
    unless it is a user's function that returns one number.
    """
    if not callable(metric):
        X = check_array(X, dtype=np.float64, input_name="X")
        mean = np.broadcast_to(X.mean(axis=0), X.shape)
        # The fvu of the mean is 1, but it raises an error if X is constant.
        unit = squared_error(X, mean) / fvu(X, mean) if metric == "fvu" else 1.0

    def of_rows(rows, reconstructions):
        if callable(metric):
            return reconstructions
        return np.square(X[rows] - reconstructions).sum(axis=1) / unit

    base = of_rows(slice(None), whole)

    def measure(rows, reconstructions):
        changed = base.copy()
        changed[rows] = of_rows(rows, reconstructions)
        values = np.asarray(metric(changed) if callable(metric) else changed, dtype=np.float64)
        if values.shape not in {(), (len(whole),)}:
            raise ValueError(
                f"metric must return a float or an array of shape ({len(whole)},), got shape "
                f"{values.shape}."
            )
        return values

    return measure


def _decodes_by_components(step, codes, whole):
    """Return whether reconstructions are ``codes @ components_`` plus a constant.

    If so, the part of a latent can be subtracted, which saves a matrix product for each latent.
    """
    if not hasattr(step, "components_"):
        return False
    offset = np.asarray(step.inverse_transform(np.zeros((1, codes.shape[1]))))
    tolerance = 1e-5 * np.abs(whole).max()
    return np.allclose(codes @ step.components_ + offset, whole, rtol=0, atol=tolerance)
