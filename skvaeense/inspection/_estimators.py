"""What the displays ask estimators, which may be the last step of a pipeline."""

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline


def last_step(estimator, X=None):
    """Return the estimator itself, or the last step of a pipeline with what that step sees of X.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator or Pipeline.

    X : array-like of shape (n_samples, n_features) or None, default=None
        Samples, if there are any.

    Returns
    -------
    estimator : estimator
        What does the work.

    X : array-like or None
        Samples for it.
    """
    if not isinstance(estimator, Pipeline):
        return estimator, X
    if X is not None and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator[-1], X)


def active_mask(estimator, X, codes=None):
    """Return which latents are active: by `active_dimensions`, or where `transform` is not 0.

    Codes that are known are not computed again.
    """
    estimator, X = last_step(estimator, X)
    if hasattr(estimator, "active_dimensions"):
        return np.asarray(estimator.active_dimensions(X))
    require(estimator, "active_dimensions", "transform")
    return dense(estimator.transform(X) if codes is None else codes) != 0


def require(estimator, *names):
    """Raise TypeError unless the estimator has one of these methods or fitted attributes."""
    if not any(hasattr(estimator, name) for name in names):
        raise TypeError(
            f"{type(estimator).__name__} has no {' or '.join(names)}, which is needed here; give a "
            "fitted estimator that has."
        )


def transformed(estimator, X):
    """Return codes of which rows can be taken: an ndarray, or sparse codes as CSR."""
    codes = estimator.transform(X)
    return codes.tocsr() if hasattr(codes, "tocsr") else np.asarray(codes)


def contributions(estimator, codes):
    """Return how far each entry of the codes moves the reconstruction, about: ``|e_j| ||W_j||``."""
    require(estimator, "components_", "module_")
    if hasattr(estimator, "components_"):
        norms = np.linalg.norm(estimator.components_, axis=1)
    else:
        norms = estimator.module_.code_scale().cpu().double().numpy() * estimator.scale_
    return np.abs(codes) * norms


def dense(codes: Any) -> Any:
    """Return codes as an ndarray."""
    return codes.toarray() if hasattr(codes, "toarray") else np.asarray(codes)


def name_of(estimator):
    """Return the name of the class that does the work."""
    return type(last_step(estimator)[0]).__name__
