"""Absorption of the latents of a label by more specific latents."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch, check_array, check_consistent_length, column_or_1d

from skvaeense.metrics._probing import fit_probe, mean_excess
from skvaeense.training._sources import as_array
from skvaeense.utils._threads import threads_for
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

    max_latents : int, default=10
        Maximum number of latents that a label can be split into.

    min_gain : float, default=0.03
        Least increase of a probe's F1 score by which a further latent counts as a latent of the
        label. The label is then split, and nothing is absorbed.

    min_cosine : float, default=0.025
        Least cosine of the atom of an absorbing latent with the direction of the label.

    min_share : float, default=0.4
        Least share of a sample's projection on that direction that a single latent contributes in
        full absorption.

    test_size : float, default=0.5
        Share of the samples in which absorption is measured; probes are fitted to the others.

    random_state : int, RandomState instance or None, default=0
        Seed of the split.

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
            contributes at least `min_share` of the projection on the direction of the label.
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
    all other latents that contribute more than 0 and whose atoms have a cosine of `min_cosine` or
    more with p. The absorption is ``a / (a + m)``, with m at least 0. It follows [1]_, and [2]_ for
    the share.

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
        np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=random_state
    )
    norms = np.linalg.norm(directions, axis=1)
    least = min_cosine * np.where(norms > 0, norms, np.inf)
    result = Bunch(classes=classes, latents=[], absorption=[], full_absorption=[], n_samples=[])
    for one in classes:
        is_one = labels == one
        probe = LogisticRegression(class_weight="balanced", max_iter=1000)
        with threads_for(rows[fitted].size):
            probe.fit(rows[fitted], is_one[fitted])
        direction = probe.coef_[0] / np.linalg.norm(probe.coef_[0])
        latents = _own_latents(checked[fitted], is_one[fitted], max_latents, min_gain)
        found = measured[is_one[measured] & probe.predict(rows[measured])]
        along = directions @ direction
        found_codes = as_array(checked[found])
        brought = found_codes * along
        may_absorb = along >= least
        may_absorb[latents] = False
        others = np.where(may_absorb, np.maximum(brought, 0), 0)
        total, own = others.sum(axis=1), np.maximum(brought[:, latents].sum(axis=1), 0)
        share = total / np.where(total + own > 0, total + own, 1.0)
        is_silent = ~np.any(found_codes[:, latents], axis=1)
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
    """Return the latents of a label: the best one, and more while each gains `min_gain`."""
    # The sign counts: a latent that is silent for the label is not one of its latents.
    order = np.argsort(mean_excess(codes, is_one))[::-1]
    best = -np.inf
    n_latents = 0
    for k in range(1, min(max_latents, codes.shape[1]) + 1):
        some = codes[:, order[:k]]
        score = f1_score(is_one, fit_probe(some, is_one, k).predict(some))
        if score < best + min_gain:
            break
        best, n_latents = score, k
    return order[:n_latents]
