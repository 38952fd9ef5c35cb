"""Agreement of the dictionaries of several fits, compared with chance."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.preprocessing import normalize
from sklearn.utils import Bunch, check_random_state

from skvaeense.inspection._estimators import fitted_step
from skvaeense.utils._arrays import check_array
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE

# Odds that an atom is a feature of the data if its similarity is half-way between chance and 1.
HALF_WAY_ODDS = 0.4


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
        If an estimator has no `components_`, or if a single estimator is given.

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
    if not AT_LEAST_ONE.is_satisfied_by(n_random):
        raise ValueError(f"n_random must be an int, at least 1; got {n_random!r}.")
    given = [_atoms(dictionary) for dictionary in dictionaries]
    if len(given) < 2:
        raise ValueError(f"At least two dictionaries are needed, got {len(given)}.")
    widths = {atoms.shape[1] for atoms in given}
    if len(widths) > 1:
        raise ValueError(
            f"All dictionaries must have the same number of features, got {sorted(widths)}."
        )
    used = [_unit_rows(atoms) for atoms in given]
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
    return _cosines(atoms, _unit_rows(mixed), signed)


def _probability(similarity: DoubleArray, by_chance: DoubleArray) -> DoubleArray:
    """Return the probabilities that atoms are features, by their similarity beyond chance."""
    gain = HALF_WAY_ODDS * np.maximum(similarity - by_chance, 0)
    left = 1 - similarity
    return gain / np.where(gain + left > 0, gain + left, 1.0)


def _atoms(dictionary: Any) -> DoubleArray:
    """Return the atoms of an estimator, or of an array."""
    if hasattr(dictionary, "fit"):
        dictionary = fitted_step(dictionary, needs=["components_"])[0].components_
    atoms: DoubleArray = check_array(dictionary, dtype=np.float64, input_name="dictionaries")
    if not atoms.any():
        raise ValueError("All atoms of a dictionary are 0.")
    return atoms


def _unit_rows(atoms: DoubleArray) -> DoubleArray:
    # Scaled to entries of at most 1 first, so that squares neither overflow nor vanish.
    used = atoms[np.any(atoms, axis=1)]
    rows: DoubleArray = used / np.abs(used).max(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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
