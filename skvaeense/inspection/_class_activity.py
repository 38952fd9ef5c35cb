"""Differences between classes in their active latents."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr
from sklearn.utils import Bunch
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skvaeense.inspection._estimators import active_mask, fitted_step


def class_activity(estimator: Any, X: ArrayLike, y: ArrayLike) -> Bunch:
    """Measure how often each latent is active in each class.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent is
        not active. It may be the last step of a Pipeline.

    X : array-like of shape (n_samples, n_features)
        Samples.

    y : array-like of shape (n_samples,)
        The class of each sample.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        classes : ndarray of shape (n_classes,)
            The classes, in order.
        n_samples : ndarray of int, shape (n_classes,)
            Number of samples of each class.
        share : ndarray of shape (n_classes, n_components)
            Share of the samples of the class in which the latent is active.
        mean_active : ndarray of shape (n_classes,)
            Mean number of active latents per sample of the class.
        std_active : ndarray of shape (n_classes,)
            Standard deviation of that number over the samples of the class.
        mutual_information : ndarray of shape (n_components,)
            Mutual information of the class and whether the latent is active, in nats.

    Raises
    ------
    TypeError
        If the estimator has neither of these methods.

    ValueError
        If `y` has another length than X, or more than one column.

    See Also
    --------
    ClassActivityDisplay : Draw the shares.
    SparsityPatternDisplay : The active latents of each sample.
    sklearn.metrics.mutual_info_score : Mutual information of two labelings.

    Notes
    -----
    With the share p(c) of class c among the samples, the share q_cj of its samples in which latent
    j is active, and the share q_j of all samples in which it is, the mutual information is::

        I_j = sum_c p(c) (q_cj log(q_cj / q_j) + (1 - q_cj) log((1 - q_cj) / (1 - q_j)))

    It is 0 if the latent is active equally often in all classes. It is at most log 2, for a latent
    that is active in all samples of some classes, in none of the others, and in half of all
    samples. Its estimate from n samples is biased upwards, by about ``(n_classes - 1) / (2 n)``
    nats for a latent that is independent of the class.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import class_activity
    >>> codes = [[0.0, 2.0, 1.0], [0.0, 1.0, 0.0], [3.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    >>> activity = class_activity(FunctionTransformer(), codes, ["a", "a", "b", "b"])
    >>> activity.share
    array([[0. , 1. , 0.5],
           [1. , 0. , 0.5]])
    >>> activity.mean_active
    array([1.5, 1.5])
    >>> activity.mutual_information
    array([0.693, 0.693, 0.   ])
    """
    step, X = fitted_step(estimator, X)
    active = active_mask(step, X)
    labels = column_or_1d(y)
    check_consistent_length(active, labels)
    classes, class_of, n_samples = np.unique(labels, return_inverse=True, return_counts=True)
    counts = active.sum(axis=1)
    groups = [class_of == i for i in range(len(classes))]
    share = np.array([active[group].mean(axis=0) for group in groups])
    use = active.mean(axis=0)
    information = rel_entr(share, use) + rel_entr(1 - share, 1 - use)
    return Bunch(
        classes=classes,
        n_samples=n_samples,
        share=share,
        mean_active=np.array([counts[group].mean() for group in groups]),
        std_active=np.array([counts[group].std() for group in groups]),
        # Rounding may leave it below 0.
        mutual_information=(n_samples / len(labels) @ information).clip(min=0),
    )
