"""The similarity of dictionaries to true ones, and the prediction of labels from a few latents."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import check_consistent_length

from skvaeense.metrics._metrics import in_unit
from skvaeense.utils._linalg import threads_for
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._typing import DoubleArray, SparseArray
from skvaeense.utils._validation import (
    AT_LEAST_ONE,
    SIZES,
    check_array,
    column_or_1d,
    validate_params,
)


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
