"""The active latents of each class, and its dimension at several scales."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr
from sklearn.utils import Bunch
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skvaeense.inspection._estimators import active_mask, fitted_step
from skvaeense.inspection._groups import group_by_label, known_by_label, thin
from skvaeense.samples._sources import as_array
from skvaeense.utils._typing import DoubleArray, IntArray
from skvaeense.utils._validation import check_integer


def class_activity(estimator: Any, X: ArrayLike, y: ArrayLike) -> Bunch:
    """Measure how often each latent is active in each class.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent is
        not active. It can be the last step of a Pipeline.

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
            Standard deviation of this number over the samples of the class.
        mutual_information : ndarray of shape (n_components,)
            Mutual information of the class and whether the latent is active, in nats.
        latents : ndarray of int, shape (n_used,)
            The latents that are active in some sample, ordered by the class that uses them most,
            the most used first. In ``share[:, latents]``, the latents of a single class form blocks
            on the diagonal.

    Raises
    ------
    TypeError
        If the estimator has neither `active_dimensions` nor `transform`.

    ValueError
        If the lengths of X and `y` differ, or if `y` has more than one column.

    See Also
    --------
    sparsity_pattern : The active latents of each sample.
    skvaeense.metrics.feature_density : How often each latent is active in all samples.
    sklearn.metrics.mutual_info_score : Mutual information of two labelings.

    Notes
    -----
    With the share p(c) of class c among the samples, and the shares q_cj of the samples of class c
    and q_j of all samples in which latent j is active, the mutual information is::

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
    >>> activity.latents
    array([1, 2, 0])
    """
    active = active_mask(*fitted_step(estimator, X))
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
        # Rounding can make a value negative.
        mutual_information=(n_samples / len(labels) @ information).clip(min=0),
        latents=_used_latents(share),
    )


def sparsity_pattern(
    estimator: Any, X: ArrayLike, y: ArrayLike | None = None, *, max_samples: int = 400
) -> Bunch:
    """Find which latents are active in which samples, in an order that shows blocks.

    Rows of the pattern are samples, grouped by class. Within a class, samples with the same active
    latents are neighbours. Columns are latents in the order of `class_activity`: latents of a
    single class form blocks on the diagonal, and latents of all classes form vertical bars.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `active_dimensions`, or with a `transform` whose codes are 0 where a latent is
        not active. It can be the last step of a Pipeline.

    X : array-like of shape (n_samples, n_features)
        Samples.

    y : array-like of shape (n_samples,) or None, default=None
        The class of each sample; None means that there is one class.

    max_samples : int, default=400
        Maximum number of rows, if it is at least the number of classes. If there are more samples,
        all classes are thinned out alike, and each keeps at least one sample.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        sizes : ndarray of shape (n_rows, n_used)
            Absolute codes, divided by the largest of the latent in X; 0 where the latent is not
            active. Without `transform`, 1 where the latent is active.
        rows : ndarray of int, shape (n_rows,)
            The sample in each row.
        latents : ndarray of int, shape (n_used,)
            The latent in each column. Latents that are active in no sample are left out.
        class_names : list of str
            The classes, in the order of the rows; a single empty string without `y`.
        n_rows : ndarray of int, shape (n_classes,)
            Number of rows of each class.

    Raises
    ------
    TypeError
        If the estimator has neither `active_dimensions` nor `transform`.

    ValueError
        If the lengths of X and `y` differ, if `y` has more than one column, or if `max_samples` is
        not positive.

    See Also
    --------
    class_activity : How often latents are active in each class.
    ActiveDimensionDisplay : Draw the number of active latents.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import sparsity_pattern
    >>> codes = [[0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    >>> pattern = sparsity_pattern(FunctionTransformer(), codes, ["a", "b", "a"])
    >>> pattern.sizes
    array([[1. , 0. ],
           [0.5, 0. ],
           [0. , 1. ]])
    >>> pattern.rows, pattern.latents
    (array([0, 2, 1]), array([1, 0]))
    """
    check_integer(max_samples, "max_samples", minimum=1)
    step, seen = fitted_step(estimator, X)
    codes = as_array(step.transform(seen)) if hasattr(step, "transform") else None
    active = active_mask(step, seen, codes)
    sizes = np.abs(np.where(active, 1.0 if codes is None else codes, 0.0))
    groups = group_by_label(y, len(active))
    latents = _used_latents(np.array([active[rows].mean(axis=0) for rows in groups.values()]))
    shown = []
    for rows in groups.values():
        kept = thin(rows, max(1, max_samples * len(rows) // len(active)))
        # The first latent counts most. The rows themselves are a key if no latent is active.
        keys = [kept, *~active[np.ix_(kept, latents[::-1])].T]
        shown.append(kept[np.lexsort(keys)])
    order = np.concatenate(shown)
    largest = sizes.max(axis=0)[latents]
    return Bunch(
        sizes=sizes[np.ix_(order, latents)] / np.where(largest > 0, largest, 1.0),
        rows=order,
        latents=latents,
        class_names=list(groups),
        n_rows=np.array([len(rows) for rows in shown]),
    )


def _used_latents(share: DoubleArray) -> IntArray:
    """Return the latents in use, by the class that uses them most, and by their share in it."""
    largest = share.max(axis=0)
    order = np.lexsort((-largest, share.argmax(axis=0)))
    return order[largest[order] > 0]


def dimension_by_scale(estimator: Any, X: ArrayLike, y: ArrayLike | None = None) -> Bunch:
    """Compute quartiles of the dimension of each class at several scales.

    The scale is the number of nearest neighbours whose distances are compared. On a manifold
    without noise the dimension is the same at all scales. Noise adds dimensions at small scales.
    Curvature and other manifolds nearby add dimensions at large scales.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `dimension_scale`, such as IntrinsicDimensionEstimator. It can be the last step
        of a Pipeline.

    X : array-like of shape (n_samples, n_features)
        Samples.

    y : array-like of shape (n_samples,) or None, default=None
        The class of each sample; None means that there is one class.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        n_neighbors : ndarray of int, shape (n_scales,)
            The scales, ascending.
        class_names : list of str
            The classes; a single empty string without `y`. Classes without a known dimension at one
            of the scales are left out.
        quartiles : ndarray of shape (n_classes, 3, n_scales)
            Lower quartile, median and upper quartile of the known dimensions of each class.

    Raises
    ------
    TypeError
        If the estimator has no `dimension_scale`.

    ValueError
        If the lengths of X and `y` differ, if `y` has more than one column, or if no class has a
        known dimension at all scales.

    See Also
    --------
    skvaeense.IntrinsicDimensionEstimator.dimension_scale : The dimension of each sample.
    ActiveDimensionDisplay : Draw the distribution of the dimension at one scale.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator
    >>> from skvaeense.datasets import make_affine_subspaces
    >>> from skvaeense.inspection import dimension_by_scale
    >>> X, _, dimension = make_affine_subspaces(900, dims=(1, 3), n_features=8, random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(random_state=0).fit(X)
    >>> by_scale = dimension_by_scale(estimator, X, dimension)
    >>> by_scale.class_names
    ['1', '3']
    >>> by_scale.quartiles[:, 1].round().max(axis=1)
    array([1., 3.])
    """
    step, X = fitted_step(estimator, X, needs=["dimension_scale"])
    n_neighbors, dimensions = step.dimension_scale(X)
    known = known_by_label(dimensions, y)
    quartiles = [np.nanquantile(part, (0.25, 0.5, 0.75), axis=0) for part in known.values()]
    return Bunch(n_neighbors=n_neighbors, class_names=list(known), quartiles=np.array(quartiles))
