"""Measures of codes, reconstructions, dictionaries and dimensions."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import check_consistent_length, check_random_state

from skvaeense.utils._linalg import threads_for
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import DoubleArray, RandomState, SparseArray
from skvaeense.utils._validation import (
    AT_LEAST_ONE,
    POSITIVE,
    SIZES,
    check_array,
    check_weights,
    column_or_1d,
    dense,
    validate_params,
)


def fvu(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of variance unexplained by a reconstruction.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        0 for a perfect reconstruction, 1 for one as good as the mean of X, more than 1 for
        a worse one. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if X is constant, or if weights have the wrong shape, or are negative, NaN,
        infinite or all 0.

    Notes
    -----
    ``sum_nj (x_nj - xhat_nj)^2 / sum_nj (x_nj - m_j)^2``, with m the column means of X.
    This is one ratio over the whole set, and not a mean of ratios per feature or sample. It
    is one minus `sklearn.metrics.r2_score` with ``multioutput="variance_weighted"``, except
    that errors in constant features count here.

    References
    ----------
    H. Cunningham et al., "Sparse autoencoders find highly interpretable features in
    language models", 2023, arXiv:2309.08600.

    Examples
    --------
    >>> from skvaeense.metrics import fvu
    >>> fvu([[0.0, 0.0], [4.0, 2.0]], [[1.0, 0.0], [4.0, 2.0]])
    0.1
    """
    X, X_reconstructed, weights = _check_pair(
        {"X": X, "X_reconstructed": X_reconstructed}, sample_weight
    )
    # Ranges are exact. Rounding in the mean could hide that X is constant.
    if np.ptp(X, axis=0).max() == 0:
        raise ValueError(
            f"X is constant over its {X.shape[0]} sample(s), so it has no variance to explain: "
            "give samples that differ."
        )
    X, exponent = in_unit(X)
    residual = X - np.ldexp(X_reconstructed, -exponent)
    deviation = X - np.average(X, axis=0, weights=weights)
    left, total = (
        np.average(np.einsum("ij,ij->i", rows, rows), weights=weights)
        for rows in (residual, deviation)
    )
    return float(left / total)


def explained_variance(
    X: ArrayLike, X_reconstructed: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of variance explained by a reconstruction.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The data.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Its reconstruction.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        1 for a perfect reconstruction, 0 for one as good as the mean of X, negative for a
        worse one. It has no unit.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if their
        shapes differ, if X is constant, or if weights have the wrong shape, or are negative, NaN,
        infinite or all 0.

    Notes
    -----
    ``1 - fvu(X, X_reconstructed)``. A constant shift of the reconstruction counts as
    error, unlike in `sklearn.metrics.explained_variance_score`.

    Examples
    --------
    >>> from skvaeense.metrics import explained_variance
    >>> explained_variance([[0.0, 0.0], [4.0, 2.0]], [[1.0, 0.0], [4.0, 2.0]])
    0.9
    """
    return 1.0 - fvu(X, X_reconstructed, sample_weight=sample_weight)


@validate_params({"length": [POSITIVE]})
def explained_variance_at(length: float) -> Callable[..., float]:
    """Return a scorer of codes that all have the same mean length.

    Longer codes explain more, so models that differ in the length of their codes can only be
    compared at one length. The scorer is for `GridSearchCV` and `cross_val_score`, whose default is
    the method `score` of the estimator: densities do not depend on the length of codes.

    Parameters
    ----------
    length : float
        Mean number of entries of a code that count, above 0. These are the entries that move the
        reconstructions farthest; all others are set to 0.

    Returns
    -------
    callable
        A function ``scorer(estimator, X, y=None)``. It returns the share of the variance of X that
        the shortened codes explain. The estimator needs `transform`, `inverse_transform` and
        `components_`, whose rows are the directions of the codes.

    Raises
    ------
    ValueError
        If `length` is not a number above 0.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.metrics import explained_variance_at
    >>> X, *_ = make_linear_subspaces(600, dims=(1, 3), n_features=8, random_state=0)
    >>> scorer = explained_variance_at(2)
    >>> bool(scorer(PCA().fit(X), X) < scorer(VAEenseTransformer(random_state=0).fit(X), X))
    True
    >>> search = GridSearchCV(PCA(), {"n_components": [1, 4]}, scoring=scorer).fit(X)
    >>> search.best_params_
    {'n_components': 4}
    """
    return partial(_explained_at, length=float(length))


def _explained_at(estimator: Any, X: ArrayLike, y: object = None, *, length: float) -> float:
    codes = dense(estimator.transform(X))
    effects = np.abs(codes) * np.linalg.norm(estimator.components_, axis=1)
    n_kept = min(max(round(length * len(codes)), 1), effects.size)
    least = np.partition(effects, effects.size - n_kept, axis=None)[effects.size - n_kept]
    return explained_variance(X, estimator.inverse_transform(np.where(effects < least, 0, codes)))


def l0(codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None) -> float:
    """Compute the mean number of active latents per sample.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Mean number of non-zeros per sample, between 0 and n_components.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``L0 = mean_n |{j : codes[n, j] != 0}|``. For the count of one sample use
    ``np.count_nonzero(codes, axis=1)``.

    Examples
    --------
    >>> from skvaeense.metrics import l0
    >>> l0([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]])
    1.5
    """
    total, counts = _count_active(codes, sample_weight)
    return float(counts.sum() / total)


def dead_fraction(
    codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of latents that are active in none of the samples.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. Here it only matters whether a weight is 0.

    Returns
    -------
    float
        Fraction of dead latents, between 0 and 1.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    A latent counts as dead if it is inactive in all of
    the given samples. A rare latent looks dead if there are too few samples, so the value can
    only fall as samples are added: compare values over the same number of samples.

    References
    ----------
    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    Examples
    --------
    >>> from skvaeense.metrics import dead_fraction
    >>> dead_fraction([[0.5, 0.0, -1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    0.5
    """
    return float(np.mean(_count_active(codes, sample_weight)[1] == 0))


def feature_density(
    codes: ArrayLike | SparseArray, *, sample_weight: ArrayLike | None = None
) -> DoubleArray:
    """Compute the fraction of samples in which each latent is active.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    ndarray of shape (n_components,)
        Fraction of samples per latent, between 0 and 1. Its sum is `l0`.

    Raises
    ------
    ValueError
        If `codes` is not two-dimensional, is empty, or holds NaN or infinity, or if weights have
        the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``density[j] = mean_n [codes[n, j] != 0]``, the quantity that feature density histograms of
    sparse autoencoders show.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with
    dictionary learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> from skvaeense.metrics import feature_density
    >>> feature_density([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]]).tolist()
    [0.5, 0.0, 1.0]
    """
    total, counts = _count_active(codes, sample_weight)
    # Rounding can take the fraction of a latent that is always active beyond 1.
    return np.minimum(counts / total, 1.0)


@validate_params({"max_pairs": [AT_LEAST_ONE]})
def pattern_adaptivity(
    codes: ArrayLike | SparseArray, *, max_pairs: int = 1_000_000, random_state: RandomState = None
) -> float:
    """Compute the mean Jaccard distance between the supports of pairs of different samples.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, or a boolean mask of active latents. Exact non-zeros are active.
    max_pairs : int, default=1_000_000
        Maximum number of pairs to compare. The result is exact if there are at most this many
        pairs of distinct patterns; otherwise it is estimated from this many random pairs of
        samples.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the random pairs. Unused if the result is exact.

    Returns
    -------
    float
        Between 0 (one pattern for all samples) and 1 (no two samples share an active
        latent).

    Raises
    ------
    TypeError
        If `max_pairs` is not an int.
    ValueError
        If `codes` is not two-dimensional, has fewer than two samples, or holds NaN or infinity, or
        if `max_pairs` is not positive.

    Notes
    -----
    With A(n) the support of sample n, this is the mean over all pairs of different samples
    n != m of::

        1 - |A(n) & A(m)| / |A(n) | A(m)|

    Two empty supports count as equal (distance 0). Samples with the same pattern are counted
    together, so the result is exact for any number of samples if there are few patterns. The
    estimate is unbiased, with a standard error of at most ``0.5 / sqrt(max_pairs)``. Memory holds a
    copy of the patterns at one bit per entry, and a few numbers for each pair.

    Repeating all samples lowers the value, since copies of a sample are pairs at distance 0. So,
    unlike most metrics, this one takes no `sample_weight`.

    The distance does not distinguish a different choice of latents from a different number of
    latents: nested supports of different sizes differ too.

    References
    ----------
    P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2),
    1912.

    Examples
    --------
    >>> from skvaeense.metrics import pattern_adaptivity
    >>> pattern_adaptivity([[1, 1, 0, 0]] * 4)
    0.0
    >>> pattern_adaptivity([[1, 1, 0, 0], [0, 0, 1, 1]])
    1.0
    >>> round(pattern_adaptivity([[1, 1, 0], [0, 1, 1]]), 3)
    0.667
    """
    checked = check_array(codes, accept_sparse="csr", input_name="codes", ensure_min_samples=2)
    rng, n = check_random_state(random_state), checked.shape[0]
    patterns, counts = np.unique(_pack_patterns(checked), axis=0, return_counts=True)
    if len(patterns) * (len(patterns) - 1) // 2 <= max_pairs:
        first, second = np.triu_indices(len(patterns), 1)
        # A pattern is at distance 0 from itself, so pairs of equal samples add nothing.
        n_each = counts[first] * counts[second]
        return float(n_each @ _distances(patterns, first, second) / (0.5 * n * (n - 1)))
    sample = rng.randint(n, size=max_pairs)
    # A nonzero step around the circle of samples reaches every other one with equal probability.
    other = (sample + rng.randint(1, n, size=max_pairs)) % n
    pattern_of = np.repeat(np.arange(len(patterns)), counts)
    return float(_distances(patterns, pattern_of[sample], pattern_of[other]).mean())


def dimension_error(
    dimension_true: ArrayLike, dimension_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean absolute error of estimated dimensions.

    Parameters
    ----------
    dimension_true : array-like of shape (n_samples,)
        True dimension of each sample.
    dimension_pred : array-like of shape (n_samples,)
        Estimated dimension of each sample, not necessarily whole.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Mean absolute difference, in dimensions. 0 is best.

    Raises
    ------
    ValueError
        If the lengths differ, if an array is not one-dimensional, is empty, or holds NaN or
        infinity, or if weights have the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    ``mean_n |r_n - rhat_n|``. Errors of opposite sign do not cancel, as they would in the
    difference of two means.

    Examples
    --------
    >>> from skvaeense.metrics import dimension_error
    >>> dimension_error([2, 4, 8, 8], [2.0, 5.0, 8.0, 7.0])
    0.5
    """
    true, pred, weights = _check_dimensions(dimension_true, dimension_pred, sample_weight)
    return float(np.average(np.abs(true - pred)[:, 0], weights=weights))


def dimension_accuracy(
    dimension_true: ArrayLike, dimension_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the fraction of samples whose rounded estimated dimension is correct.

    Parameters
    ----------
    dimension_true : array-like of shape (n_samples,)
        True dimension of each sample.
    dimension_pred : array-like of shape (n_samples,)
        Estimated dimension of each sample, not necessarily whole.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often each sample counts, at least 0. A whole number n counts as n copies.

    Returns
    -------
    float
        Fraction of samples, between 0 and 1. 1 is best.

    Raises
    ------
    ValueError
        If the lengths differ, if an array is not one-dimensional, is empty, or holds NaN or
        infinity, or if weights have the wrong shape, or are negative, NaN, infinite or all 0.

    Notes
    -----
    Estimates are rounded to the nearest whole number, and halves to the nearest even number, as
    `numpy.rint` does. True dimensions are not rounded.

    Examples
    --------
    >>> from skvaeense.metrics import dimension_accuracy
    >>> dimension_accuracy([2, 4, 8, 8], [2.2, 5.0, 7.9, 8.4])
    0.75
    """
    true, pred, weights = _check_dimensions(dimension_true, dimension_pred, sample_weight)
    return float(np.average((true == np.rint(pred))[:, 0], weights=weights))


def _check_pair(
    named: dict[str, Any], sample_weight: Any
) -> tuple[DoubleArray, DoubleArray, DoubleArray | None]:
    """Check two arrays; return them as float64, and weights, without rows of weight 0."""
    a, b = (check_array(x, dtype=np.float64, input_name=name) for name, x in named.items())
    if a.shape != b.shape:
        raise ValueError(f"{' and '.join(named)} must have the same shape, {a.shape} != {b.shape}.")
    return _drop_weightless(sample_weight, a, b)


def _check_dimensions(
    true: Any, pred: Any, sample_weight: Any
) -> tuple[DoubleArray, DoubleArray, DoubleArray | None]:
    """Check true and estimated dimensions; return them as `_check_pair` does, as columns."""
    given = {"dimension_true": true, "dimension_pred": pred}
    columns = {
        name: column_or_1d(x, dtype=np.float64, input_name=name)[:, None]
        for name, x in given.items()
    }
    return _check_pair(columns, sample_weight)


def _drop_weightless(sample_weight: Any, *arrays: Any) -> tuple[Any, ...]:
    """Return the rows of the arrays whose weight is above 0, and their weights or None."""
    if sample_weight is None:
        return *arrays, None
    weights = check_weights(sample_weight, arrays[0])
    kept = weights > 0
    return *(array[kept] for array in arrays), weights[kept]


def _count_active(codes: Any, sample_weight: Any) -> tuple[float, DoubleArray]:
    """Return the total weight of samples, and for each latent the weight of its active samples."""
    codes = check_array(codes, accept_sparse="csr", input_name="codes")
    codes, weights = _drop_weightless(sample_weight, codes)
    # != drops zeros that a sparse matrix stores explicitly.
    active = codes != 0
    if weights is None:
        # The sum of a sparse matrix is a matrix, hence ravel.
        return codes.shape[0], np.asarray(active.sum(axis=0), dtype=np.float64).ravel()
    return weights.sum(), active.T @ weights


def _pack_patterns(codes: Any) -> NDArray[np.uint8]:
    """Return the supports at one bit per entry, shape (n_samples, ceil(n_components / 8))."""
    blocks = (codes[rows] != 0 for rows in row_blocks(*codes.shape))
    return np.concatenate([np.packbits(dense(active), axis=1) for active in blocks])


def _distances(
    patterns: NDArray[np.uint8], first: NDArray[Any], second: NDArray[Any]
) -> DoubleArray:
    """Return the Jaccard distances of pairs of patterns."""
    n_shared, n_union = np.empty(len(first)), np.empty(len(first))
    for pairs in row_blocks(len(first), patterns.shape[1]):
        a, b = patterns[first[pairs]], patterns[second[pairs]]
        n_shared[pairs] = np.bitwise_count(a & b).sum(axis=1)
        n_union[pairs] = np.bitwise_count(a | b).sum(axis=1)
    # Two empty supports have distance 0. The maximum avoids a division by zero.
    return (n_union - n_shared) / np.maximum(n_union, 1)


def in_unit(values: DoubleArray, axis: int | None = None) -> tuple[DoubleArray, Any]:
    """Return values from -1 to 1, and the exponents of the powers of two that they are units of.

    A power of two changes no digit, and squares of the values neither overflow nor vanish.
    """
    exponents = np.frexp(np.abs(values).max(axis=axis, keepdims=axis is not None))[1]
    return np.ldexp(values, -exponents), exponents


@validate_params({"signed": ["boolean"]})
def mean_max_cosine_similarity(
    atoms_true: ArrayLike, atoms_learned: ArrayLike, *, signed: bool = False
) -> float:
    """Compute the mean cosine between true atoms and the learned atoms most similar to them.

    Parameters
    ----------
    atoms_true : array-like of shape (n_atoms_true, n_features)
        True atoms, one per row, of any norm above 0.
    atoms_learned : array-like of shape (n_atoms_learned, n_features)
        Learned atoms, one per row, of any norm.
    signed : bool, default=False
        Whether opposite directions count as different. False, for codes of either sign, takes
        the absolute value of the cosine. True, for codes that are never negative, takes the
        cosine itself.

    Returns
    -------
    float
        1 if every true atom was found, at least 0 (with `signed`, at least -1). It has no unit.

    Raises
    ------
    TypeError
        If `signed` is not a bool.
    ValueError
        If an array is not two-dimensional, is empty, or holds NaN or infinity, if the arrays have
        different numbers of columns, or if a true atom is 0.

    Notes
    -----
    With the atoms a_i (true) and b_j (learned)::

        mean_i max_j |a_i . b_j| / (||a_i|| ||b_j||)

    A learned atom of norm 0, such as the atom of an unused latent, has similarity 0 to all true
    atoms. Learned atoms that resemble no true atom are not penalised, and one learned atom can be
    the best match of several true atoms. So the value can only rise as learned atoms are added. In
    few dimensions, some of many random atoms are similar to any true atom, so compare with the
    value for the same number of random atoms. To measure whether every learned atom is a true atom,
    drop learned atoms of norm 0 and swap the arguments.

    References
    ----------
    L. Sharkey, D. Braun and B. Millidge, "Taking features out of superposition with sparse
    autoencoders", AI Alignment Forum, 2022.

    Examples
    --------
    >>> from skvaeense.metrics import mean_max_cosine_similarity
    >>> true, learned = [[1.0, 0.0], [0.0, 1.0]], [[0.0, -2.0], [3.0, 3.0]]
    >>> round(mean_max_cosine_similarity(true, learned), 3)
    0.854
    >>> round(mean_max_cosine_similarity(true, learned, signed=True), 3)
    0.707
    """
    true = check_array(atoms_true, dtype=np.float64, input_name="atoms_true")
    learned = check_array(atoms_learned, dtype=np.float64, input_name="atoms_learned")
    if true.shape[1] != learned.shape[1]:
        raise ValueError(
            "atoms_true and atoms_learned must have the same number of columns, got shapes "
            f"{true.shape} and {learned.shape}: give one atom per row."
        )
    n_zero = int(np.count_nonzero(~true.any(axis=1)))
    if n_zero:
        raise ValueError(
            f"atoms_true has norm 0 in {n_zero} of its {len(true)} row(s): a zero vector has no "
            "direction, so drop these atoms."
        )
    true, learned = normalise_rows(true), normalise_rows(learned)
    total = 0.0
    # In blocks, since all pairs of two large dictionaries may not fit in memory.
    for rows in row_blocks(len(true), len(learned)):
        cosines = true[rows] @ learned.T
        best = (cosines if signed else np.abs(cosines)).max(axis=1)
        # Rounding can take the cosine of parallel vectors beyond 1.
        total += float(np.clip(best, -1.0, 1.0).sum())
    return total / len(true)


@validate_params({"k": [AT_LEAST_ONE, SIZES]})
def sparse_probing(
    codes: ArrayLike | SparseArray,
    y: ArrayLike,
    codes_test: ArrayLike | SparseArray,
    y_test: ArrayLike,
    *,
    k: int | Collection[int] = (1, 5),
) -> DoubleArray:
    """Compute the balanced accuracy of sparse probes, which predict labels from a few latents.

    For each class, a logistic regression on k latents separates it from all other classes. It uses
    the latents whose means differ most between the class and the other classes, in units of the
    mean of the latent where it is active.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes on which latents are chosen and probes are fitted.
    y : array-like of shape (n_samples,)
        Labels of `codes`, from two classes or more.
    codes_test : {array-like, sparse matrix} of shape (n_test, n_components)
        Codes on which the accuracy is measured.
    y_test : array-like of shape (n_test,)
        Labels of `codes_test`, with at least one sample of each class.
    k : int or sequence of int, default=(1, 5)
        Number of latents per probe, or several numbers.

    Returns
    -------
    ndarray of shape (n_k,)
        Balanced accuracy for each k, averaged over the classes: 0.5 is chance, 1 is best.

    Raises
    ------
    ValueError
        If shapes do not match, codes hold NaN or infinity, there is only one class, a class is
        missing in `y` or `y_test` or has fewer than two samples in `y`, or a k is not an int of at
        least 1.

    Notes
    -----
    The penalty of each regression is chosen from ten values, by the largest area under the ROC
    curve on a fifth of the training samples. Classes weigh equally. The protocol is from sae-probes
    [1]_, except that the measure is the balanced accuracy.

    References
    ----------
    .. [1] S. Kantamneni et al., "Are sparse autoencoders useful? A case study in sparse probing",
       2025, arXiv:2502.16681.

    Examples
    --------
    The last latent gives the class of a sample, and the first latent carries no information:

    >>> import numpy as np
    >>> from skvaeense.metrics import sparse_probing
    >>> y = np.arange(60) % 2
    >>> codes = np.column_stack([np.ones(60), y])
    >>> sparse_probing(codes[:40], y[:40], codes[40:], y[40:], k=1)
    array([1.])
    """
    sets = []
    for given, labels, names in ((codes, y, "codes"), (codes_test, y_test, "codes_test")):
        checked = check_array(given, accept_sparse="csr", dtype=np.float64, input_name=names)
        check_consistent_length(checked, labels)
        sets.append((checked, column_or_1d(labels)))
    (train, y_train), (test, y_tested) = sets
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"codes and codes_test must come from the same model, got {train.shape[1]} and "
            f"{test.shape[1]} latents."
        )
    classes, counts = np.unique(y_train, return_counts=True)
    if len(classes) < 2 or counts.min() < 2 or not np.isin(classes, y_tested).all():
        raise ValueError(
            "At least two classes are needed, each with at least two samples in y and one in "
            f"y_test; got {dict(zip(classes.tolist(), counts.tolist(), strict=True))} in y."
        )
    # With two classes, one probe separates both.
    told = classes[1:] if len(classes) == 2 else classes

    def score(one: Any, n_latents: int) -> float:
        probe = fit_probe(train, y_train == one, n_latents)
        return float(balanced_accuracy_score(y_tested == one, probe.predict(test)))

    ks = np.ravel(np.asarray(k))
    return np.array([[score(one, n) for one in told] for n in ks]).mean(axis=1)


def normalise_rows(values: DoubleArray) -> DoubleArray:
    """Return the rows scaled to norm 1, and rows of norm 0 unchanged."""
    scaled, _ = in_unit(values, axis=1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norms == 0, 1.0, norms)


def fit_probe(codes: Any, is_one: Any, n_latents: int) -> Pipeline:
    """Return a probe of `n_latents` latents, fitted to checked codes and a mask of one class."""
    select = SelectKBest(mean_distance, k=min(n_latents, codes.shape[1]))
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    # The protocol's grid of inverse penalties, where ties go to the first, and the share of the
    # samples by which the penalty is chosen.
    penalties, share = {"C": np.logspace(5, -5, 10)}, 0.2
    split = StratifiedShuffleSplit(1, test_size=share, random_state=0)
    search = GridSearchCV(regression, penalties, scoring="roc_auc", cv=split)
    # Without enough samples for a split, the default penalty is used.
    can_split = min(is_one.sum(), (~is_one).sum()) >= 1 / share
    probe = make_pipeline(select, MaxAbsScaler(), search if can_split else regression)
    with threads_for(codes.shape[0] * n_latents):
        return probe.fit(codes, is_one)


def mean_distance(codes: Any, is_one: Any) -> DoubleArray:
    """Return the absolute value of `mean_excess`."""
    return np.abs(mean_excess(codes, is_one))


def mean_excess(codes: Any, is_one: Any) -> DoubleArray:
    """Return each latent's excess mean in a class, in units of its mean where it is active."""

    def mean_of(rows: Any) -> DoubleArray:
        return np.asarray(rows.mean(axis=0), dtype=np.float64).ravel()

    size = mean_of(abs(codes)) / np.maximum(mean_of(codes != 0), 1 / codes.shape[0])
    return (mean_of(codes[is_one]) - mean_of(codes[~is_one])) / np.where(size > 0, size, 1.0)
