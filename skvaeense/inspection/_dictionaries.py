"""Dictionaries of several fits, compared with chance, and latents that replace those of a label."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import normalize
from sklearn.utils import Bunch, check_consistent_length, check_random_state

from skvaeense.inspection._estimators import fitted_step
from skvaeense.metrics._arrays import normalise_rows
from skvaeense.metrics._dictionaries import fit_probe, mean_excess
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
        subspace_similarity : ndarray of shape (n, n)
            Similarity of the directions that dictionaries use, whatever their atoms.
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
    dictionary. The subspace similarity is ``tr(M N) / (|M| |N|)`` with ``M = A'A / n_A``,
    ``N = B'B / n_B`` and the Frobenius norm; for orthonormal atoms it is the mean squared cosine of
    the angles between the spans. Random atoms are normal, with the second moments M.

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
    >>> from skvaeense.inspection import dictionary_stability
    >>> from skvaeense.penalties import TopK
    >>> X, _, _ = make_sparse_dictionary(2000, signed=False, random_state=0)
    >>> fits = [
    ...     SparseAutoencoder(20, penalty=TopK(4), max_iter=60, random_state=seed).fit(X)
    ...     for seed in range(2)
    ... ]
    >>> result = dictionary_stability(fits, signed=True)
    >>> bool(result.matched_similarity[0, 1] > result.random_matched_similarity.max())
    True
    """
    if hasattr(dictionaries, "fit"):
        raise TypeError(
            f"dictionaries must be a list of at least two dictionaries, got {dictionaries!r}."
        )
    check_integer(n_random, "n_random", minimum=1)
    given = [_atoms(dictionary) for dictionary in dictionaries]
    if len(given) < 2:
        raise ValueError(f"At least two dictionaries are needed, got {len(given)}.")
    widths = {atoms.shape[1] for atoms in given}
    if len(widths) > 1:
        raise ValueError(
            f"All dictionaries must have the same number of features, got {sorted(widths)}."
        )
    used = [normalise_rows(atoms[np.any(atoms, axis=1)]) for atoms in given]
    n, rng = len(used), check_random_state(random_state)
    moments = normalize([np.ravel(atoms.T @ atoms) for atoms in used])
    similarity, matched = np.eye(n), np.eye(n)
    totals = [np.zeros(len(atoms)) for atoms in used]
    for i, j in permutations(range(n), 2):
        cosines = _cosines(used[i], used[j], signed)
        largest = cosines.max(axis=1)
        totals[i] += largest
        similarity[i, j], matched[i, j] = largest.mean(), _matched(cosines)
    again = [total / (n - 1) for total in totals]
    random = [[_against_random(atoms, signed, rng) for _ in range(n_random)] for atoms in used]
    by_chance = [np.mean([c.max(axis=1) for c in own], axis=0) for own in random]
    return Bunch(
        similarity=similarity,
        matched_similarity=matched,
        subspace_similarity=moments @ moments.T,
        random_similarity=np.array([own.mean() for own in by_chance]),
        random_matched_similarity=np.array([[_matched(c) for c in own] for own in random]).mean(1),
        atom_similarity=[*map(_with_unused, given, again)],
        atom_probability=[*map(_with_unused, given, map(_probability, again, by_chance))],
    )


def _against_random(atoms: DoubleArray, signed: bool, rng: np.random.RandomState) -> DoubleArray:
    """Return the cosines of atoms with random atoms of the same second moments."""
    mixed = rng.standard_normal((len(atoms), len(atoms))) @ atoms
    return _cosines(atoms, normalise_rows(mixed), signed)


def _probability(similarity: DoubleArray, by_chance: DoubleArray) -> DoubleArray:
    """Return the probabilities that atoms are features, by their similarity beyond chance.

    The odds are 0.4 if the similarity is half-way between chance and 1.
    """
    gain, left = 0.4 * np.maximum(similarity - by_chance, 0), 1 - similarity
    return gain / np.where(gain + left > 0, gain + left, 1.0)


def _atoms(dictionary: Any) -> DoubleArray:
    """Return the atoms of an estimator, or of an array."""
    if hasattr(dictionary, "fit"):
        dictionary = fitted_step(dictionary, needs=["components_"])[0].components_
    atoms: DoubleArray = check_array(dictionary, dtype=np.float64, input_name="dictionaries")
    if not atoms.any():
        raise ValueError("All atoms of a dictionary are 0.")
    return atoms


def _cosines(atoms: DoubleArray, others: DoubleArray, signed: bool) -> DoubleArray:
    cosines: DoubleArray = np.clip(atoms @ others.T, -1.0, 1.0)
    return cosines if signed else np.abs(cosines)


def _matched(cosines: DoubleArray) -> float:
    return float(cosines[linear_sum_assignment(cosines, maximize=True)].mean())


def _with_unused(atoms: ArrayLike, values: DoubleArray) -> DoubleArray:
    """Return the values of atoms that are not 0, with NaN for the others."""
    used = np.any(atoms, axis=1)
    whole = np.full(len(used), np.nan)
    whole[used] = values
    return whole


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
    found = [
        _of_label(checked, directions, rows, labels == one, fitted, measured) for one in classes
    ]
    latents, *shares = zip(*found, strict=True)
    absorption, full_absorption, n_samples = map(np.array, shares)
    return Bunch(
        classes=classes,
        latents=list(latents),
        absorption=absorption,
        full_absorption=full_absorption,
        n_samples=n_samples,
    )


def _of_label(
    codes: Any, atoms: DoubleArray, X: DoubleArray, is_one: Any, fitted: IntArray, measured: Any
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
    # The least cosine of the atom of an absorbing latent with the direction of the label, and the
    # least share of a projection that one latent contributes in full absorption, by the protocol.
    least_cosine, least_share = 0.025, 0.4
    along, norms = atoms @ direction, np.linalg.norm(atoms, axis=1)
    may_absorb = (along >= least_cosine * norms) & (norms > 0)
    may_absorb[latents] = False
    found_codes = as_array(codes[found])
    contributed = found_codes * along
    others = np.where(may_absorb, np.maximum(contributed, 0), 0)
    total, own = others.sum(axis=1), np.maximum(contributed[:, latents].sum(axis=1), 0)
    share = total / np.where(total + own > 0, total + own, 1.0)
    is_silent = ~np.any(found_codes[:, latents], axis=1)
    whole = np.maximum((X[found] - X.mean(axis=0)) @ direction, 0)
    full = is_silent & (total > 0) & (others.max(axis=1) >= least_share * whole)
    return latents, share.mean(), full.mean(), len(found)


def _own_latents(
    codes: Any, is_one: BoolArray, most: int = 10, least_gain: float = 0.03
) -> IntArray:
    """Return the latents of a label: the best one, and more while each gains enough F1 score."""
    # The sign counts: a latent that is silent for the label is not one of its latents.
    order = np.argsort(mean_excess(codes, is_one))[::-1]
    best = -np.inf
    n_latents = 0
    for k in range(1, min(most, codes.shape[1]) + 1):
        some = codes[:, order[:k]]
        score = f1_score(is_one, fit_probe(some, is_one, k).predict(some))
        if score < best + least_gain:
            break
        best, n_latents = score, k
    return order[:n_latents]
