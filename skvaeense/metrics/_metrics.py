"""Measures of codes, reconstructions and dictionaries."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.utils import _validation
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import DoubleArray, SparseArray


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
    pair = {"X": X, "X_reconstructed": X_reconstructed}
    rows, restored = (
        _validation.check_array(x, dtype=np.float64, input_name=name) for name, x in pair.items()
    )
    if rows.shape != restored.shape:
        raise ValueError(
            f"X and X_reconstructed must have the same shape, {rows.shape} != {restored.shape}."
        )
    rows, restored, weights = _drop_weightless(sample_weight, rows, restored)
    # Ranges are exact. Rounding in the mean could hide that X is constant.
    if np.ptp(rows, axis=0).max() == 0:
        raise ValueError(
            f"X is constant over its {rows.shape[0]} sample(s), so it has no variance to explain: "
            "give samples that differ."
        )
    rows, exponent = in_unit(rows)
    residual = rows - np.ldexp(restored, -exponent)
    deviation = rows - np.average(rows, axis=0, weights=weights)
    left, total = (
        np.average(np.einsum("ij,ij->i", part, part), weights=weights)
        for part in (residual, deviation)
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


@_validation.validate_params({"length": [_validation.POSITIVE]})
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
    codes = _validation.dense(estimator.transform(X))
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


def _drop_weightless(sample_weight: Any, *arrays: Any) -> tuple[Any, ...]:
    """Return the rows of the arrays whose weight is above 0, and their weights or None."""
    if sample_weight is None:
        return *arrays, None
    weights = _validation.check_weights(sample_weight, arrays[0])
    kept = weights > 0
    return *(array[kept] for array in arrays), weights[kept]


def _count_active(codes: Any, sample_weight: Any) -> tuple[float, DoubleArray]:
    """Return the total weight of samples, and for each latent the weight of its active samples."""
    codes = _validation.check_array(codes, accept_sparse="csr", input_name="codes")
    codes, weights = _drop_weightless(sample_weight, codes)
    # != drops zeros that a sparse matrix stores explicitly.
    active = codes != 0
    if weights is None:
        # The sum of a sparse matrix is a matrix, hence ravel.
        return codes.shape[0], np.asarray(active.sum(axis=0), dtype=np.float64).ravel()
    return weights.sum(), active.T @ weights


def in_unit(values: DoubleArray, axis: int | None = None) -> tuple[DoubleArray, Any]:
    """Return values from -1 to 1, and the exponents of the powers of two that they are units of.

    A power of two changes no digit, and squares of the values neither overflow nor vanish.
    """
    exponents = np.frexp(np.abs(values).max(axis=axis, keepdims=axis is not None))[1]
    return np.ldexp(values, -exponents), exponents


@_validation.validate_params({"signed": ["boolean"]})
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
    true = _validation.check_array(atoms_true, dtype=np.float64, input_name="atoms_true")
    learned = _validation.check_array(atoms_learned, dtype=np.float64, input_name="atoms_learned")
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


def normalise_rows(values: DoubleArray) -> DoubleArray:
    """Return the rows scaled to norm 1, and rows of norm 0 unchanged."""
    scaled, _ = in_unit(values, axis=1)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(norms == 0, 1.0, norms)
