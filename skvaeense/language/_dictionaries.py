"""Dictionaries of several fits, compared with chance."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch, check_random_state

from skvaeense.language._latents import last_step
from skvaeense.metrics._metrics import normalise_rows
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import check_array, check_integer


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
