"""Active latents of samples and classes, and the samples in which latents are largest."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr
from sklearn.utils import Bunch, gen_batches, indexable
from sklearn.utils.validation import check_consistent_length

from skvaeense.inspection._estimators import active_mask, check_latents, fitted_step
from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import Source, open_samples, rows_of_chunks
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray, SparseArray
from skvaeense.utils._validation import check_integer, column_or_1d


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
    classes, class_of, n_samples, share = _by_class(active, y)
    counts = [active[class_of == i].sum(axis=1) for i in range(len(classes))]
    use = active.mean(axis=0)
    information = rel_entr(share, use) + rel_entr(1 - share, 1 - use)
    return Bunch(
        classes=classes,
        n_samples=n_samples,
        share=share,
        mean_active=np.array([count.mean() for count in counts]),
        std_active=np.array([count.std() for count in counts]),
        # Rounding can make a value negative.
        mutual_information=(n_samples / len(active) @ information).clip(min=0),
        latents=_used_latents(share),
    )


def sparsity_pattern(estimator: Any, X: ArrayLike, y: ArrayLike | None = None) -> Bunch:
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

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        sizes : ndarray of shape (n_samples, n_used)
            Absolute codes, divided by the largest of the latent; 0 where the latent is not active.
            Without `transform`, 1 where the latent is active.
        rows : ndarray of int, shape (n_samples,)
            The sample in each row.
        latents : ndarray of int, shape (n_used,)
            The latent in each column. Latents that are active in no sample are left out.

    Raises
    ------
    TypeError
        If the estimator has neither `active_dimensions` nor `transform`.

    ValueError
        If the lengths of X and `y` differ, or if `y` has more than one column.

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
    step, seen = fitted_step(estimator, X)
    codes = as_array(step.transform(seen)) if hasattr(step, "transform") else None
    active = active_mask(step, seen, codes)
    sizes = np.abs(np.where(active, 1.0 if codes is None else codes, 0.0))
    _, class_of, _, share = _by_class(active, np.zeros(len(active)) if y is None else y)
    latents = _used_latents(share)
    # The class counts most, then the first latent.
    rows = np.lexsort([*~active[:, latents[::-1]].T, class_of])
    largest = sizes.max(axis=0)[latents]
    return Bunch(
        sizes=sizes[np.ix_(rows, latents)] / np.where(largest > 0, largest, 1.0),
        rows=rows,
        latents=latents,
    )


def _by_class(active: BoolArray, y: ArrayLike) -> tuple[Any, IntArray, IntArray, DoubleArray]:
    """Return the classes, the class of each sample, the sizes of classes, and shares of activity.

    A share is that of the samples of a class (row) in which a latent (column) is active.
    """
    labels = column_or_1d(y)
    check_consistent_length(active, labels)
    classes, class_of, n_samples = np.unique(labels, return_inverse=True, return_counts=True)
    share = [active[class_of == i].mean(axis=0) for i in range(len(classes))]
    return classes, class_of, n_samples, np.array(share)


def _used_latents(share: DoubleArray) -> IntArray:
    """Return the latents in use, by the class that uses them most, and by their share in it."""
    largest = share.max(axis=0)
    order = np.lexsort((-largest, share.argmax(axis=0)))
    return order[largest[order] > 0]


def top_activating(
    estimator: Any,
    X: ArrayLike | SparseArray,
    *,
    latents: ArrayLike | None = None,
    n_samples: int = 10,
    batch_size: int = 1024,
) -> Bunch:
    """Find the samples in which each latent has its largest codes.

    These samples often suggest an interpretation of the latent. They are ordered by the absolute
    value ``|z_nj|`` of the code; of equal values the earlier sample comes first. Samples whose code
    is 0 are left out, so a latent can have fewer than `n_samples`.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform`. It can be the last step of a Pipeline.

    X : {array-like, sparse matrix} of shape (n_total, n_features)
        Samples, in any form that `fit` takes. Rows of a loader are numbered in the order of a pass.

    latents : array-like of int of shape (n_latents,) or None, default=None
        Latents to look at, in this order; None means all.

    n_samples : int, default=10
        Maximum number of samples for each latent.

    batch_size : int, default=1024
        Number of samples that are encoded at a time. Only the codes of these samples are held in
        memory.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        latents : ndarray of int, shape (n_latents,)
            The latents.
        samples : ndarray of int, shape (n_latents, n_samples)
            Rows of X, from the largest code; -1 if there are no more.
        codes : ndarray of shape (n_latents, n_samples)
            Signed codes of these samples; 0 if there are no more.
        density : ndarray of shape (n_latents,)
            Share of the samples whose code is not 0.

    Raises
    ------
    TypeError
        If the estimator has no `transform`.

    ValueError
        If `latents`, `n_samples` or `batch_size` is invalid, or if X is empty.

    See Also
    --------
    latent_ablation : The effect of leaving out a latent.
    LatentDisplay : Draw decoder columns.

    Notes
    -----
    Inactive latents of :class:`~skvaeense.VAEenseTransformer` have codes that are small but not 0.
    With ``set_params(hard=True)``, only samples in which a latent is active are found.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import top_activating
    >>> X = [[0.0, 1.0, 0.0], [0.0, -3.0, 0.0], [0.5, 2.0, 0.0]]
    >>> result = top_activating(FunctionTransformer(), X, n_samples=2)
    >>> result.samples
    array([[ 2, -1],
           [ 1,  2],
           [-1, -1]])
    >>> result.codes
    array([[ 0.5,  0. ],
           [-3. ,  2. ],
           [ 0. ,  0. ]])
    """
    check_integer(n_samples, "n_samples", minimum=1)
    check_integer(batch_size, "batch_size", minimum=1)
    fitted_step(estimator, needs=["transform"])
    rows: Any = open_samples(X)
    if not isinstance(rows, Source):
        (rows,) = indexable(rows if hasattr(rows, "shape") else np.asarray(rows))
    if not rows.shape[0]:
        raise ValueError("X has no samples, but at least 1 is needed.")
    chunks = gen_batches(rows.shape[0], batch_size)
    for batch, part in rows_of_chunks(getattr(rows, "iloc", rows), chunks):
        codes = as_array(estimator.transform(part))
        if batch.start == 0:
            chosen = check_latents(latents, codes.shape[1])
            samples = np.full((len(chosen), n_samples), -1)
            largest, n_active = np.zeros(samples.shape), np.zeros(len(chosen), dtype=int)
        n_active += np.count_nonzero(codes[:, chosen], axis=0)
        # The largest codes before this batch, and all codes of the batch.
        both = np.hstack([largest, codes[:, chosen].T])
        new = np.broadcast_to(np.arange(rows.shape[0])[batch], (len(chosen), len(codes)))
        order = np.argsort(-np.abs(both), axis=1, kind="stable")[:, :n_samples]
        largest = np.take_along_axis(both, order, axis=1)
        samples = np.take_along_axis(np.hstack([samples, new]), order, axis=1)
    samples[largest == 0] = -1
    density = n_active / rows.shape[0]
    return Bunch(latents=chosen, samples=samples, codes=largest, density=density)
