"""Absorption of the latents of a label by more specific latents."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch, check_array, check_consistent_length, column_or_1d

from skvaeense.metrics._probing import fit_probe, mean_excess
from skvaeense.samples._sources import as_array
from skvaeense.utils._linalg import threads_for
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray, RandomState, SparseArray

# Maximum number of latents of a label, and the least gain in F1 score by each after the first.
MAX_LATENTS, LEAST_GAIN = 10, 0.03
# Least cosine of the atom of an absorbing latent with the direction of the label, and least share
# of a sample's projection on that direction that one latent contributes in full absorption.
LEAST_COSINE, LEAST_SHARE = 0.025, 0.4


def feature_absorption(
    codes: ArrayLike | SparseArray,
    atoms: ArrayLike,
    X: ArrayLike,
    y: ArrayLike,
    *,
    random_state: RandomState = 0,
) -> Bunch:
    """Measure how far other latents replace the latents of a label.

    If a specific feature implies a general one, as "London" implies "begins with L", a sparse code
    saves a latent when the specific latent also carries the general feature, and the general latent
    is silent. The general latent then looks like a detector of the label with holes. A linear probe
    finds the direction of the label in the samples, and codes show which latents contribute to it.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, 0 where a latent is not active.

    atoms : array-like of shape (n_components, n_features)
        Contribution of one unit of each latent to the reconstruction, as `components_`.

    X : array-like of shape (n_samples, n_features)
        The samples.

    y : array-like of shape (n_samples,)
        Labels, such as the first letter of each token. Each class is measured on its own.

    random_state : int, RandomState instance or None, default=0
        Seed of the split into halves: probes are fitted to one, and absorption is measured in the
        other.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        classes : ndarray of shape (n_classes,)
            The labels.
        latents : list of n_classes ndarrays of int
            The latents of each label.
        absorption : ndarray of shape (n_classes,)
            Mean share of other latents in all contributions to the direction of the label.
        full_absorption : ndarray of shape (n_classes,)
            Share of samples in which all latents of the label are silent, and another latent
            contributes at least 40 % of the projection on the direction of the label.
        n_samples : ndarray of int of shape (n_classes,)
            Number of samples with the label that the probe recognises. Both shares are means over
            these samples, and NaN if there are none.

    Raises
    ------
    ValueError
        If shapes do not match, if there is only one class, or if a class has fewer than four
        samples.

    See Also
    --------
    skvaeense.metrics.sparse_probing : Predict labels from a few latents.

    Notes
    -----
    Let p be the unit direction of a label's logistic regression on samples. Latent j contributes
    ``e_j <w_j, p>`` to it, for the code e and the atom w_j. In a sample in which the regression
    finds the label, m is the contribution of the latents of the label, and a the contribution of
    all other latents that contribute more than 0 and whose atoms have a cosine of 0.025 or more
    with p. The absorption is ``a / (a + m)``, with m at least 0. It follows [1]_, and [2]_ for the
    share.

    The latents of a label are the one that predicts it best, and up to nine more, each as long as
    it raises the F1 score of a logistic regression on their codes by 0.03 or more. If there is more
    than one, the label is split between them, and none of them absorbs the others.

    References
    ----------
    .. [1] D. Chanin et al., "A is for absorption: studying feature splitting and absorption in
       sparse autoencoders", 2024, arXiv:2409.14507.
    .. [2] A. Karvonen et al., "SAEBench: a comprehensive benchmark for sparse autoencoders in
       language model interpretability", 2025, arXiv:2503.09532.

    Examples
    --------
    A quarter of the samples of a label have one of ten specific latents, which also carry the
    label, and the latent of the label is silent in these samples:

    >>> import numpy as np
    >>> from skvaeense.inspection import feature_absorption
    >>> rng = np.random.default_rng(0)
    >>> label = rng.uniform(size=2000) < 0.5
    >>> specific = rng.integers(40, size=(2000, 1)) == np.arange(10)
    >>> specific &= label[:, None]
    >>> X = np.column_stack([label, specific]) + 0.01 * rng.standard_normal((2000, 11))
    >>> codes = np.column_stack([label & ~specific.any(axis=1), specific]).astype(float)
    >>> atoms = np.eye(11)
    >>> atoms[1:, 0] = 1
    >>> result = feature_absorption(codes, atoms, X, np.where(label, "L", "other"))
    >>> result.latents[0].tolist(), float(result.full_absorption[0].round(1))
    ([0], 0.2)
    """
    checked = check_array(codes, accept_sparse="csr", dtype=np.float64, input_name="codes")
    rows = check_array(X, dtype=np.float64, input_name="X")
    directions = check_array(atoms, dtype=np.float64, input_name="atoms")
    check_consistent_length(checked, rows, y)
    if directions.shape != (checked.shape[1], rows.shape[1]):
        raise ValueError(
            f"atoms must have shape ({checked.shape[1]}, {rows.shape[1]}), one row per latent and "
            f"one column per feature; got {directions.shape}."
        )
    labels = column_or_1d(y)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 4:
        raise ValueError(
            "At least two classes with at least four samples each are needed, got "
            f"{dict(zip(classes.tolist(), counts.tolist(), strict=True))}."
        )
    fitted, measured = train_test_split(
        np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=random_state
    )
    latents, absorption, full_absorption, n_samples = zip(
        *(_of_label(checked, directions, rows, labels == one, fitted, measured) for one in classes),
        strict=True,
    )
    return Bunch(
        classes=classes,
        latents=list(latents),
        absorption=np.array(absorption),
        full_absorption=np.array(full_absorption),
        n_samples=np.array(n_samples),
    )


def _of_label(
    codes: Any,
    atoms: DoubleArray,
    X: DoubleArray,
    is_one: BoolArray,
    fitted: IntArray,
    measured: IntArray,
) -> tuple[IntArray, float, float, int]:
    """Return the latents of a label, both shares, and the number of samples they are means of."""
    probe = LogisticRegression(class_weight="balanced", max_iter=1000)
    with threads_for(X[fitted].size):
        probe.fit(X[fitted], is_one[fitted])
    direction = probe.coef_[0] / np.linalg.norm(probe.coef_[0])
    latents = _own_latents(codes[fitted], is_one[fitted])
    found = measured[is_one[measured] & probe.predict(X[measured])]
    if not len(found):
        return latents, np.nan, np.nan, 0
    along, norms = atoms @ direction, np.linalg.norm(atoms, axis=1)
    may_absorb = (along >= LEAST_COSINE * norms) & (norms > 0)
    may_absorb[latents] = False
    found_codes = as_array(codes[found])
    contributed = found_codes * along
    others = np.where(may_absorb, np.maximum(contributed, 0), 0)
    total, own = others.sum(axis=1), np.maximum(contributed[:, latents].sum(axis=1), 0)
    share = total / np.where(total + own > 0, total + own, 1.0)
    is_silent = ~np.any(found_codes[:, latents], axis=1)
    whole = np.maximum((X[found] - X.mean(axis=0)) @ direction, 0)
    full = is_silent & (total > 0) & (others.max(axis=1) >= LEAST_SHARE * whole)
    return latents, share.mean(), full.mean(), len(found)


def _own_latents(codes: Any, is_one: BoolArray) -> IntArray:
    """Return the latents of a label: the best one, and more while each gains enough."""
    # The sign counts: a latent that is silent for the label is not one of its latents.
    order = np.argsort(mean_excess(codes, is_one))[::-1]
    best = -np.inf
    n_latents = 0
    for k in range(1, min(MAX_LATENTS, codes.shape[1]) + 1):
        some = codes[:, order[:k]]
        score = f1_score(is_one, fit_probe(some, is_one, k).predict(some))
        if score < best + LEAST_GAIN:
            break
        best, n_latents = score, k
    return order[:n_latents]
