"""How much of a label a few latents tell."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skvaeense.utils._typing import DoubleArray, SparseArray
from skvaeense.utils._validation import AT_LEAST_ONE

# The protocol's grid of inverse penalties, of which the first best counts, and the share of the
# samples by which it is chosen.
INVERSE_PENALTIES, CHOOSING_SHARE = np.logspace(5, -5, 10), 0.2


def sparse_probing(
    codes: ArrayLike | SparseArray,
    y: ArrayLike,
    codes_test: ArrayLike | SparseArray,
    y_test: ArrayLike,
    *,
    k: int | Iterable[int] = (1, 5),
) -> DoubleArray:
    """Compute how well a few latents tell labels: the balanced accuracy of sparse probes.

    Each class is told from all others by a logistic regression on k latents. Those are chosen whose
    means differ most between both, in units of the latent's mean where it is active.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes to choose latents and to fit probes on.
    y : array-like of shape (n_samples,)
        Their labels, of two classes or more.
    codes_test : {array-like, sparse matrix} of shape (n_test, n_components)
        Codes to measure on.
    y_test : array-like of shape (n_test,)
        Their labels, with at least one of each class.
    k : int or sequence of int, default=(1, 5)
        Numbers of latents of a probe.

    Returns
    -------
    ndarray of shape (n_k,)
        For each k the balanced accuracy, a mean over the classes: .5 is chance, 1 is best.

    Raises
    ------
    ValueError
        If shapes do not fit, codes hold NaN or infinity, there is one class only, a class is not
        in both sets of samples or has fewer than two to fit on, or a k is no int from 1 on.

    See Also
    --------
    skvaeense.inspection.class_activity : In which classes latents are active.
    skvaeense.inspection.feature_absorption : Whether other latents take a label's place.

    Notes
    -----
    The penalty of each regression is one of ten, the one with the largest area under the ROC curve
    on a fifth of the samples that are fitted. Classes weigh equally. The protocol is that of
    sae-probes [1]_, but for the balanced accuracy, as latents may have no values between those of
    the two classes.

    References
    ----------
    .. [1] S. Kantamneni et al., "Are sparse autoencoders useful? A case study in sparse probing",
       2025, arXiv:2502.16681.

    Examples
    --------
    The last latent says what class a sample has, the first tells nothing:

    >>> import numpy as np
    >>> from skvaeense.metrics import sparse_probing
    >>> y = np.arange(60) % 2
    >>> codes = np.column_stack([np.ones(60), y])
    >>> sparse_probing(codes[:40], y[:40], codes[40:], y[40:], k=1)
    array([1.])
    """
    ks = list(k) if isinstance(k, Iterable) else [k]
    if not (ks and all(map(AT_LEAST_ONE.is_satisfied_by, ks))):
        raise ValueError(f"k must be an int, at least 1, or several; got {k!r}.")
    sets = []
    for given, labels, names in ((codes, y, "codes"), (codes_test, y_test, "codes_test")):
        checked = check_array(given, accept_sparse="csr", dtype=np.float64, input_name=names)
        check_consistent_length(checked, labels)
        sets.append((checked, column_or_1d(labels)))
    (train, y_train), (test, y_tested) = sets
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"codes and codes_test have {train.shape[1]} and {test.shape[1]} latents; they must be "
            "of one model."
        )
    classes, counts = np.unique(y_train, return_counts=True)
    if len(classes) < 2 or counts.min() < 2 or not np.isin(classes, y_tested).all():
        raise ValueError(
            "Two classes or more are needed, each of two samples or more in y and one in y_test; "
            f"got {dict(zip(classes.tolist(), counts.tolist(), strict=True))} in y."
        )
    # Of two classes, either is told as well as the other.
    told = classes[1:] if len(classes) == 2 else classes
    scores = np.empty((len(ks), len(told)))
    for i, n_latents in enumerate(ks):
        for j, one in enumerate(told):
            probe = fit_probe(train, y_train == one, n_latents)
            scores[i, j] = balanced_accuracy_score(y_tested == one, probe.predict(test))
    return scores.mean(axis=1)


def fit_probe(codes: Any, is_one: Any, n_latents: int) -> Pipeline:
    """Return a fitted probe of some latents, from checked codes and whether each is of a class."""
    select = SelectKBest(mean_distance, k=min(n_latents, codes.shape[1]))
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    split = StratifiedShuffleSplit(1, test_size=CHOOSING_SHARE, random_state=0)
    search = GridSearchCV(regression, {"C": INVERSE_PENALTIES}, scoring="roc_auc", cv=split)
    # Too few to be split keep the usual penalty.
    can_split = min(is_one.sum(), (~is_one).sum()) >= 1 / CHOOSING_SHARE
    probe = make_pipeline(select, MaxAbsScaler(), search if can_split else regression)
    return probe.fit(codes, is_one)


def mean_distance(codes: Any, is_one: Any) -> DoubleArray:
    """Return how far the means of each latent are apart."""
    return np.abs(mean_excess(codes, is_one))


def mean_excess(codes: Any, is_one: Any) -> DoubleArray:
    """Return how much larger each latent is on average, in units of its mean where it is active."""

    def mean_of(rows: Any) -> DoubleArray:
        return np.asarray(rows.mean(axis=0), dtype=np.float64).ravel()

    size = mean_of(abs(codes)) / np.maximum(mean_of(codes != 0), 1 / codes.shape[0])
    return (mean_of(codes[is_one]) - mean_of(codes[~is_one])) / np.where(size > 0, size, 1.0)
