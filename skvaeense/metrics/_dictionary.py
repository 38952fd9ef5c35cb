"""The similarity of learned dictionaries to true ones."""

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.metrics._arrays import _check_nonzero_rows, _normalise_rows
from skvaeense.utils._arrays import check_array
from skvaeense.utils._rows import row_blocks
from skvaeense.utils._validation import check_flag


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
    check_flag(signed, "signed")
    _check_nonzero_rows(true, "atoms_true", "a zero vector has no direction, so drop these atoms")
    true, learned = _normalise_rows(true), _normalise_rows(learned)
    total = 0.0
    # In blocks, since all pairs of two large dictionaries may not fit in memory.
    for rows in row_blocks(len(true), len(learned)):
        cosines = true[rows] @ learned.T
        best = (cosines if signed else np.abs(cosines)).max(axis=1)
        # Rounding can take the cosine of parallel vectors beyond 1.
        total += float(np.clip(best, -1.0, 1.0).sum())
    return total / len(true)
