"""Whether latents of a label are silent where more special ones stand in for them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch, check_array, check_consistent_length, column_or_1d

from skvaeense.inspection._estimators import dense
from skvaeense.metrics._probing import fit_probe, mean_excess
from skvaeense.utils._typing import BoolArray, IntArray, RandomState, SparseArray


def feature_absorption(
    codes: ArrayLike | SparseArray,
    atoms: ArrayLike,
    X: ArrayLike,
    y: ArrayLike,
    *,
    max_latents: int = 10,
    min_gain: float = 0.03,
    min_cosine: float = 0.025,
    min_share: float = 0.4,
    test_size: float = 0.5,
    random_state: RandomState = 0,
) -> Bunch:
    """Measure how far other latents take the place of those that a label has.

    Where a feature is implied by a more special one, as "begins with L" is by "London", a sparse
    code saves a latent if the special one carries the common one too, and the common one is silent
    there. It then looks like a detector of the label, with holes. A linear probe says where the
    label is in the samples, and codes say which latents bring it.

    Parameters
    ----------
    codes : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, 0 where a latent is not active.

    atoms : array-like of shape (n_components, n_features)
        What one unit of each latent adds to the reconstruction, as `components_`.

    X : array-like of shape (n_samples, n_features)
        The samples.

    y : array-like of shape (n_samples,)
        Their labels, as the first letter of each token. Each class is looked at by itself.

    max_latents : int, default=10
        Number of latents at most that a label may be split into.

    min_gain : float, default=0.03
        A label has a further latent if a probe with it gains this much in F1: it is split, then,
        and nothing is absorbed.

    min_cosine : float, default=0.025
        Least cosine of an atom with the direction of the label, of latents that may stand in.

    min_share : float, default=0.4
        What one latent must bring of a sample's projection on that direction if it alone is said to
        stand in.

    test_size : float, default=0.5
        Share of the samples that is measured on; the others fit probes.

    random_state : int, RandomState instance or None, default=0
        Seed of the split.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        classes : ndarray of shape (n_classes,)
            The labels.
        latents : list of n_classes ndarrays of int
            The latents that each label has.
        absorption : ndarray of shape (n_classes,)
            Mean share of what latents bring of the direction of the label that others bring.
        full_absorption : ndarray of shape (n_classes,)
            Share of samples where all latents of the label are silent, and another one brings
            `min_share` of its direction.
        n_samples : ndarray of int of shape (n_classes,)
            Samples with the label that the probe recognises, over which these are means; both are
            NaN if there is none.

    Raises
    ------
    ValueError
        If shapes do not fit, or a class has fewer than four samples, or there is only one.

    See Also
    --------
    skvaeense.metrics.sparse_probing : How well a few latents tell labels.

    Notes
    -----
    With the unit direction p of a label's logistic regression on samples, latent j brings
    ``e_j <w_j, p>`` of it, for the code e and the atom w_j. Of a sample where the regression finds
    the label, m is what the latents of the label bring, and a what others do whose atoms have a
    cosine of `min_cosine` or more with p and bring more than nothing; the absorption is
    ``a / (a + m)``, with m at least 0. It follows [1]_, and [2]_ for the share.

    References
    ----------
    .. [1] D. Chanin et al., "A is for absorption: studying feature splitting and absorption in
       sparse autoencoders", 2024, arXiv:2409.14507.
    .. [2] A. Karvonen et al., "SAEBench: a comprehensive benchmark for sparse autoencoders in
       language model interpretability", 2025, arXiv:2503.09532.

    Examples
    --------
    A quarter of the samples of a label have one of ten special latents, which carry the label too,
    and the latent of the label is silent there:

    >>> import numpy as np
    >>> from skvaeense.inspection import feature_absorption
    >>> rng = np.random.default_rng(0)
    >>> label = rng.uniform(size=2000) < 0.5
    >>> special = rng.integers(40, size=(2000, 1)) == np.arange(10)
    >>> special &= label[:, None]
    >>> X = np.column_stack([label, special]) + 0.01 * rng.standard_normal((2000, 11))
    >>> codes = np.column_stack([label & ~special.any(axis=1), special]).astype(float)
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
            f"atoms must have the shape ({checked.shape[1]}, {rows.shape[1]}) of latents and "
            f"features, got {directions.shape}."
        )
    labels = column_or_1d(y)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 4:
        raise ValueError(
            "Two classes or more are needed, each of four samples or more; got "
            f"{dict(zip(classes.tolist(), counts.tolist(), strict=True))}."
        )
    fitted, measured = train_test_split(
        np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=random_state
    )
    norms = np.linalg.norm(directions, axis=1)
    least = min_cosine * np.where(norms > 0, norms, np.inf)
    result = Bunch(classes=classes, latents=[], absorption=[], full_absorption=[], n_samples=[])
    for one in classes:
        is_one = labels == one
        probe = LogisticRegression(class_weight="balanced", max_iter=1000)
        probe.fit(rows[fitted], is_one[fitted])
        direction = probe.coef_[0] / np.linalg.norm(probe.coef_[0])
        latents = _own_latents(checked[fitted], is_one[fitted], max_latents, min_gain)
        found = measured[is_one[measured] & probe.predict(rows[measured])]
        along = directions @ direction
        brought = dense(checked[found]) * along
        may_absorb = along >= least
        may_absorb[latents] = False
        others = np.where(may_absorb, np.maximum(brought, 0), 0)
        total, own = others.sum(axis=1), np.maximum(brought[:, latents].sum(axis=1), 0)
        share = total / np.where(total + own > 0, total + own, 1.0)
        is_silent = ~np.any(dense(checked[found])[:, latents], axis=1)
        whole = np.maximum((rows[found] - rows.mean(axis=0)) @ direction, 0)
        full = is_silent & (total > 0) & (others.max(axis=1) >= min_share * whole)
        result.latents.append(latents)
        result.absorption.append(share.mean() if len(found) else np.nan)
        result.full_absorption.append(full.mean() if len(found) else np.nan)
        result.n_samples.append(len(found))
    for name in ("absorption", "full_absorption", "n_samples"):
        result[name] = np.array(result[name])
    return result


def _own_latents(codes: Any, is_one: BoolArray, max_latents: int, min_gain: float) -> IntArray:
    """Return the latents that a label has: the best one, and others as long as they are needed."""
    # A latent that is silent there says as much, and is no latent of the label.
    order = np.argsort(mean_excess(codes, is_one))[::-1]
    best = -np.inf
    n_latents = 0
    for k in range(1, min(max_latents, codes.shape[1]) + 1):
        score = f1_score(
            is_one, fit_probe(codes[:, order[:k]], is_one, k).predict(codes[:, order[:k]])
        )
        if score < best + min_gain:
            break
        best, n_latents = score, k
    return order[:n_latents]
