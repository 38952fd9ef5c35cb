"""Log-densities in the units of X, through the scalers of pipelines, and noise for densities."""

import copy
import warnings
from functools import singledispatch
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import get_tags

from skvaeense._sparse_autoencoder import SparseAutoencoder


def check_density(name, estimator):
    """Raise an error, before anything is fitted, unless `log_density` can score the estimator."""
    steps, density = _open(estimator)
    for step_name, step in steps:
        if _log_det.dispatch(type(step)) is _log_det.dispatch(object):
            known = ", ".join(sorted(kind.__name__ for kind in {*_log_det.registry} - {object}))
            raise TypeError(
                f"The step {step_name!r} of {name} is {step!r}, whose log-determinant is not "
                "known, so scores after this step are not in units of X. Steps before a density "
                f"must be instances of {known}."
            )
    if not (hasattr(density, "score_samples") or hasattr(density, "score")):
        raise TypeError(f"{name} has neither score_samples nor score; give a density.")
    kind = get_tags(density).estimator_type
    if isinstance(density, SparseAutoencoder) or kind not in (None, "density_estimator"):
        raise TypeError(
            f"The scores of {name} are not log-densities, because {type(density).__name__} has no "
            "density. Give a density estimator such as PCA, GaussianMixture or VAEenseTransformer."
        )


def log_density(estimator, X):
    """Return the log-density of each sample in nats, in the units of X.

    After a step ``u = t(x)`` of a pipeline, it is ``log p(u) + log |det dt/dx|``.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator that has passed `check_density`.

    X : ndarray of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    ndarray of shape (n_samples,)
        The log-densities.
    """
    steps, density = _open(estimator)
    log_det = np.zeros(len(X))
    for _, step in steps:
        log_det += _log_det(step, X)
        X = step.transform(X)
    if hasattr(density, "score_samples"):
        return log_det + density.score_samples(X)
    # `score` is a mean in some estimators and a sum in others. For one row they are equal.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only one sample available")
        return log_det + [density.score(X[i : i + 1]) for i in range(len(X))]


def name_of(estimator):
    """Return the class name of the density, inside pipelines and searches."""
    return type(_open(estimator)[1]).__name__


def _open(estimator):
    """Return the named steps before the density, and the density, of searches and pipelines."""
    if hasattr(estimator, "refit") and hasattr(estimator, "estimator"):  # a search
        if not estimator.refit:
            raise ValueError(f"{type(estimator).__name__} must have refit=True to be compared.")
        return _open(getattr(estimator, "best_estimator_", estimator.estimator))
    if not isinstance(estimator, Pipeline):
        return [], estimator
    steps = []
    for name, step in estimator.steps:
        if step is not None and not isinstance(step, str):
            inner, last = _open(step)
            steps += [*inner, (name, last)]
    return steps[:-1], steps[-1][1]


@singledispatch
def _log_det(step: Any, X: Any) -> Any:
    """Return log |det dt/dx| of a fitted step, as one number or as one for each sample."""
    raise NotImplementedError


@_log_det.register
def _(step: MaxAbsScaler | MinMaxScaler | RobustScaler | StandardScaler, X: Any) -> Any:
    if getattr(step, "clip", False):
        raise ValueError(
            f"{step!r} maps different samples to the same values, so there is no density. Set "
            "clip=False."
        )
    if step.scale_ is None:
        return 0.0
    # Only MinMaxScaler multiplies by its scale; the others divide.
    return (1 if isinstance(step, MinMaxScaler) else -1) * np.log(step.scale_).sum()


@_log_det.register
def _(step: PCA, X: Any) -> Any:
    if step.n_components_ < step.n_features_in_:
        raise ValueError(
            f"{step!r} keeps {step.n_components_} of {step.n_features_in_} dimensions, so scores "
            "after it are not log-densities of X. Keep all dimensions, or use PCA itself as the "
            "density."
        )
    return -0.5 * np.log(step.explained_variance_).sum() if step.whiten else 0.0


@_log_det.register
def _(step: PowerTransformer, X: Any) -> Any:
    X = np.asarray(X)
    if step.method == "yeo-johnson":
        slopes = np.sign(X) * (step.lambdas_ - 1) * np.log1p(np.abs(X))
    else:
        slopes = (step.lambdas_ - 1) * np.log(X)
    # The transformed values are standardised, with a scale that is not public.
    points = np.outer([1.0, 2.0], np.ones(X.shape[1]))
    raw = copy.copy(step).set_params(standardize=False).transform(points)
    scale = np.ptp(raw, axis=0) / np.ptp(np.asarray(step.transform(points)), axis=0)
    return slopes.sum(axis=1) - np.log(scale).sum()


def find_widths(X, dequantize):
    """Return the width of the uniform noise of each column, in units of X; 0 means none."""
    if isinstance(dequantize, str):
        if dequantize != "auto":
            raise ValueError(
                f"dequantize must be 'auto', None, a float or an array, got {dequantize!r}."
            )
        return (X == np.round(X)).all(axis=0).astype(float)
    widths = np.asarray(0.0 if dequantize is None else dequantize, dtype=float)
    if widths.shape not in {(), X.shape[1:]} or not (np.isfinite(widths) & (widths >= 0)).all():
        raise ValueError(
            f"dequantize must be one non-negative width, or one for each of the {X.shape[1]} "
            f"features; got {dequantize!r}."
        )
    return np.broadcast_to(widths, X.shape[1:])


def smooth(X, widths, noise_floor, rng):
    """Return X with uniform and Gaussian noise, and the standard deviations of the Gaussian noise.

    These deviations are `noise_floor` times the standard deviation of the column, or `noise_floor`
    itself for a constant column.
    """
    X = X + widths * rng.random(X.shape)
    spread = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), 1.0)
    noise_std = noise_floor * spread
    return X + noise_std * rng.standard_normal(X.shape), noise_std
