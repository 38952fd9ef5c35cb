"""How displays use estimators, which can be the last step of a pipeline.

The displays use only public methods and fitted attributes, so any estimator that has these works.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skvaeense.samples._rows import as_array


def last_step(estimator, X=None):
    """Return the estimator in a search or at the end of a pipeline, with X as that step sees it.

    Parameters
    ----------
    estimator : estimator
        An estimator, Pipeline, or search such as GridSearchCV.

    X : array-like of shape (n_samples, n_features) or None, default=None
        Samples, if there are any.

    Returns
    -------
    estimator : estimator
        The estimator that does the work.

    X : array-like or None
        The samples that this estimator sees.
    """
    if hasattr(estimator, "refit") and hasattr(estimator, "estimator"):  # a search
        return last_step(getattr(estimator, "best_estimator_", estimator.estimator), X)
    if not isinstance(estimator, Pipeline):
        return estimator, X
    if X is not None and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator[-1], X)


def named_estimators(estimators):
    """Return a dict of estimators by name; in a list, by class, numbered if a class is repeated."""
    given = list(estimators.values()) if isinstance(estimators, Mapping) else estimators
    if hasattr(given, "fit") or not all(hasattr(estimator, "fit") for estimator in given):
        raise TypeError(f"estimators must be a list or a dict of estimators, got {estimators!r}.")
    if not isinstance(estimators, Mapping):
        names = [type(last_step(estimator)[0]).__name__ for estimator in estimators]
        numbers = [names[: i + 1].count(name) for i, name in enumerate(names)]
        own = [f"{k} {n}" if names.count(k) > 1 else k for k, n in zip(names, numbers, strict=True)]
        estimators = dict(zip(own, estimators, strict=True))
    if not estimators:
        raise ValueError("Give at least one estimator.")
    return estimators


def feature_names(estimator):
    """Return the names of the features that the `last_step` sees, or None if they have none."""
    if not isinstance(estimator, Pipeline) or len(estimator) == 1:
        return getattr(last_step(estimator)[0], "feature_names_in_", None)
    with suppress(AttributeError):  # A step that cannot name its columns.
        if hasattr(estimator, "feature_names_in_"):
            return estimator[:-1].get_feature_names_out()
    return None


def fitted_step(estimator, X=None, *, needs=()):
    """Return the `last_step` and its samples.

    Raise an error if it is not fitted, or lacks a method or attribute in `needs`.
    """
    step, X = last_step(estimator, X)
    check_is_fitted(step)
    for name in needs:
        require(step, name)
    if "inverse_transform" in needs and hasattr(step, "target_mean_"):
        raise ValueError(
            f"This {type(step).__name__} decodes codes to a target, which cannot be compared with "
            "samples. Use score to compare predictions with the target."
        )
    return step, X


def require(estimator, *names):
    """Raise TypeError unless the estimator has one of these methods or fitted attributes."""
    if not any(hasattr(estimator, name) for name in names):
        raise TypeError(
            f"{type(estimator).__name__} has no {' or '.join(names)}. Give a fitted estimator with "
            f"{' or '.join(names)}."
        )


def active_mask(estimator, X, codes=None):
    """Return the mask of active latents: `active_dimensions`, or where `transform` is not 0.

    If `codes` are given, `transform` is not called.
    """
    if hasattr(estimator, "active_dimensions"):
        return np.asarray(estimator.active_dimensions(X))
    require(estimator, "active_dimensions", "transform")
    return as_array(estimator.transform(X) if codes is None else codes) != 0
