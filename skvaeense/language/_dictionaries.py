"""Dictionaries of several fits, compared with chance, and latents that replace those of a label."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch, check_consistent_length, check_random_state

from skvaeense.language._latents import last_step
from skvaeense.metrics._dictionaries import fit_probe, mean_excess, normalise_rows
from skvaeense.samples._rows import as_array
from skvaeense.utils._linalg import threads_for
from skvaeense.utils._typing import BoolArray, DoubleArray, IntArray, RandomState, SparseArray
from skvaeense.utils._validation import check_array, check_integer, column_or_1d


def dictionary_stability(
    dictionaries: Sequence[Any],
    *,
    signed: bool = False,
    n_random: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Compare the atoms of several fits with each other, and with random atoms.

    A latent that represents something in the data should be found again from another seed, or in
    another half of the samples. In few dimensions, and among many atoms, similar atoms occur by
    chance. So each dictionary is also compared with random dictionaries of the same size that use
    the same directions equally.

    Parameters
    ----------
    dictionaries : sequence of fitted estimators or arrays of shape (n_atoms, n_features)
        At least two estimators with `components_`, possibly as the last steps of pipelines, or
        arrays with one atom in each row. Atoms that are 0 are left out.

    signed : bool, default=False
        Whether opposite directions count as different, as for codes that are never negative.

    n_random : int, default=5
        Number of random dictionaries that each dictionary is compared with.

    random_state : int, RandomState instance or None, default=0
        Seed of the random dictionaries.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes for n dictionaries. Similarities of equal dictionaries are 1, but
        similarities to random dictionaries are smaller:

        similarity : ndarray of shape (n, n)
            For the atoms of dictionary i, the mean largest cosine with an atom of dictionary j.
        matched_similarity : ndarray of shape (n, n)
            The mean cosine of the best one-to-one match of the atoms of dictionaries i and j.
        random_similarity : ndarray of shape (n,)
            Mean `similarity` to the random dictionaries.
        random_matched_similarity : ndarray of shape (n,)
            Mean `matched_similarity` to the random dictionaries.
        atom_similarity : list of n ndarrays, each of shape (n_atoms,)
            Largest cosine of each atom with another dictionary, averaged over the dictionaries; NaN
            for atoms that are 0.
        atom_probability : list of n ndarrays, each of shape (n_atoms,)
            Probability that each atom is a feature of the data; NaN for atoms that are 0.

    Raises
    ------
    ValueError
        If there are fewer than two dictionaries, if their numbers of features differ, if all atoms
        of one are 0, or if `n_random` is below 1.

    TypeError
        If an estimator has no `components_`, if a single estimator is given, or if `n_random` is
        not an int.

    See Also
    --------
    skvaeense.metrics.mean_max_cosine_similarity : Compare learned atoms with true atoms.

    Notes
    -----
    With unit-norm atoms in the rows of A and B, the similarity of A to B is
    ``mean_i max_j |a_i . b_j|`` (without the absolute value if `signed`). The matched similarity is
    the largest ``mean_i |a_i . b_p(i)|`` over one-to-one maps p, which use all atoms of the smaller
    dictionary. Random atoms are normal, with the second moments ``A'A / n_A``.

    If an atom has the similarity s, and the similarity r to random dictionaries, its odds of being
    a feature are ``0.4 (s - r) / (1 - s)``. The factor is the odds half-way between chance and 1.
    It is from BatchTopK on planted features, where an atom counts as a feature if its cosine with a
    planted feature is above 0.9. `python -m benchmarks latent_stability` measures how well it holds
    for other seeds and for L1. An atom that every fit finds need not be a feature: if features are
    hierarchical, L1 finds with every seed the same mixtures of a feature and the features that it
    implies, and stability cannot distinguish these mixtures from features.

    References
    ----------
    G. Paulo and N. Belrose, "Sparse autoencoders trained on the same data learn different
    features", 2025, arXiv:2501.16615, on matching the atoms of several seeds.

    Examples
    --------
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.datasets import make_sparse_dictionary
    >>> from skvaeense.language import dictionary_stability
    >>> from skvaeense.nets.penalties import TopK
    >>> from skvaeense.language import dictionary_stability
    >>> from skvaeense.nets.penalties import TopK
    >>> X, _, _ = make_sparse_dictionary(2000, signed=False, random_state=0)
    >>> fits = [
    ...     SparseAutoencoder(20, penalty=TopK(4), max_iter=60, random_state=seed).fit(X)
    ...     for seed in range(2)
    ... ]
    >>> result = dictionary_stability(fits, signed=True)
    >>> bool(result.matched_similarity[0, 1] > result.random_matched_similarity.max())
    True
    """
    check_integer(n_random, "n_random", minimum=1)
    given = _atoms_of(dictionaries)
    is_used = [np.any(atoms, axis=1) for atoms in given]
    used = [normalise_rows(atoms[rows]) for atoms, rows in zip(given, is_used, strict=True)]
    n, rng = len(used), check_random_state(random_state)
    similarity, matched = np.eye(n), np.eye(n)
    by_chance, atom_similarity, atom_probability = [], [], []
    for i, atoms in enumerate(used):
        others = [j for j in range(n) if j != i]
        largest, matched[i, others] = _compared(atoms, [used[j] for j in others], signed)
        similarity[i, others] = largest.mean(axis=1)
        # One after another: all of them together may not fit in memory.
        mixed = (rng.standard_normal(2 * atoms.shape[:1]) @ atoms for _ in range(n_random))
        random, random_matched = _compared(atoms, map(normalise_rows, mixed), signed)
        by_chance.append((random.mean(), random_matched.mean()))
        again, chance = np.full((2, len(is_used[i])), np.nan)
        again[is_used[i]], chance[is_used[i]] = largest.mean(axis=0), random.mean(axis=0)
        atom_similarity.append(again)
        # The odds are 0.4 if the similarity is half-way between chance and 1.
        gain, rest = 0.4 * np.maximum(again - chance, 0), 1 - again
        atom_probability.append(gain / np.where(gain + rest == 0, 1.0, gain + rest))
    return Bunch(
        similarity=similarity,
        matched_similarity=matched,
        random_similarity=np.array(by_chance)[:, 0],
        random_matched_similarity=np.array(by_chance)[:, 1],
        atom_similarity=atom_similarity,
        atom_probability=atom_probability,
    )


def _compared(
    atoms: DoubleArray, dictionaries: Iterable[DoubleArray], signed: bool
) -> tuple[DoubleArray, DoubleArray]:
    """Return the largest cosines of atoms with each dictionary, and means over the best matches."""
    largest, matched = [], []
    for others in dictionaries:
        cosines = np.clip(atoms @ others.T, -1.0, 1.0)
        cosines = cosines if signed else np.abs(cosines)
        largest.append(cosines.max(axis=1))
        matched.append(cosines[linear_sum_assignment(cosines, maximize=True)].mean())
    return np.array(largest), np.array(matched)


def _atoms_of(dictionaries: Any) -> list[DoubleArray]:
    """Return the atoms of at least two estimators or arrays, as valid arrays."""
    if hasattr(dictionaries, "fit"):
        raise TypeError(
            f"dictionaries must be a list of at least two dictionaries, got {dictionaries!r}."
        )
    found: list[DoubleArray] = []
    for one in dictionaries:
        atoms = last_step(one, "components_").components_ if hasattr(one, "fit") else one
        found.append(check_array(atoms, dtype=np.float64, input_name="dictionaries"))
        if not found[-1].any():
            raise ValueError("All atoms of a dictionary are 0.")
    widths = {atoms.shape[1] for atoms in found}
    if len(found) < 2 or len(widths) > 1:
        raise ValueError(
            "At least two dictionaries with the same number of features are needed, got "
            f"{len(found)} with {sorted(widths)} features."
        )
    return found


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
    >>> from skvaeense.language import feature_absorption
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
    halves = train_test_split(
        np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=random_state
    )
    found = [_of_label(checked, directions, rows, labels == one, *halves) for one in classes]
    latents, *shares = zip(*found, strict=True)
    absorption, full, n_samples = map(np.array, shares)
    found_shares = {"absorption": absorption, "full_absorption": full, "n_samples": n_samples}
    return Bunch(classes=classes, latents=[*latents], **found_shares)


def _of_label(
    codes: Any, atoms: DoubleArray, X: DoubleArray, is_one: Any, fitted: IntArray, measured: Any
) -> tuple[IntArray, float, float, int]:
    """Return the latents of a label, both shares, and the number of samples they are means of."""
    probe = LogisticRegression(class_weight="balanced", max_iter=1000)
    with threads_for(X[fitted].size):
        probe.fit(X[fitted], is_one[fitted])
    direction = normalise_rows(probe.coef_)[0]
    latents = _latents_of_label(codes[fitted], is_one[fitted])
    found = measured[is_one[measured] & probe.predict(X[measured])]
    if not len(found):
        return latents, np.nan, np.nan, 0
    # The least cosine of the atom of an absorbing latent with the direction of the label, and the
    # least share of a projection that one latent contributes in full absorption, by the protocol.
    least_cosine, least_share = 0.025, 0.4
    along, found_codes = atoms @ direction, as_array(codes[found])
    may_absorb = (along >= least_cosine * np.linalg.norm(atoms, axis=1)) & (along > 0)
    may_absorb[latents] = False
    contributed = found_codes * along
    others = np.where(may_absorb, contributed.clip(min=0), 0)
    total, own = others.sum(axis=1), contributed[:, latents].sum(axis=1).clip(min=0)
    share = total / np.where(total + own > 0, total + own, 1.0)
    is_silent = ~np.any(found_codes[:, latents], axis=1)
    whole = ((X[found] - X.mean(axis=0)) @ direction).clip(min=0)
    full = is_silent & (total > 0) & (others.max(axis=1) >= least_share * whole)
    return latents, share.mean(), full.mean(), len(found)


def _latents_of_label(codes: Any, is_one: BoolArray) -> IntArray:
    """Return the latents of a label: the best one, and more while each gains enough F1 score."""
    # The sign counts: a latent that is silent for the label is not one of its latents.
    order = np.argsort(mean_excess(codes, is_one))[::-1]
    best, n_latents = -np.inf, 0
    most, least_gain = 10, 0.03
    for k in range(1, min(most, codes.shape[1]) + 1):
        some = codes[:, order[:k]]
        score = f1_score(is_one, fit_probe(some, is_one, k).predict(some))
        if score < best + least_gain:
            break
        best, n_latents = score, k
    return order[:n_latents]
