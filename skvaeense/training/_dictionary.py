"""More atoms than directions, of which each sample has a few."""

import numpy as np

# Atoms that each sample is explained by while they are sought. Fewer than there are is no harm,
# more is: two tell the atoms of two to four apart.
N_ACTIVE = 2
N_ROUNDS = 80
# Rounds after which atoms that are not needed start again from samples that are explained badly.
RESTARTS = (20, 40, 60)
# An atom is not needed if this share of its fair part of the samples, or fewer, have it, ...
LEAST_USE = 0.2
# ... or if its cosine with another is more than this.
TWINS = 0.8


def find_atoms(Y: np.ndarray, n_atoms: int, rng: np.random.RandomState) -> np.ndarray:
    """Find atoms by iterative thresholding and residual means.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, r)
        Samples, relative to the point at which no atom is active.

    n_atoms : int
        Number of atoms to look for.

    rng : RandomState
        Generator that picks the samples which atoms start from.

    Returns
    -------
    ndarray of shape (at most n_atoms, r)
        Atoms of length 1.
    """
    Y = Y[np.square(Y).sum(axis=1) > 1e-12]
    n_atoms = min(n_atoms, len(Y))
    if n_atoms <= N_ACTIVE:
        return np.empty((0, Y.shape[1]))
    atoms = _unit(Y[rng.permutation(len(Y))[:n_atoms]])
    for n_done in range(1, N_ROUNDS + 1):
        atoms, residual, use = _round(Y, atoms)
        if n_done in RESTARTS:
            idle = np.flatnonzero(~_are_needed(atoms, use))
            worst = np.argsort(-residual)[: max(len(Y) // 4, len(idle))]
            atoms[idle] = _unit(Y[rng.permutation(worst)[: len(idle)]])
    return atoms[_are_needed(atoms, use)]


def _round(Y: np.ndarray, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move each atom to the mean of what its samples have along it and nothing else explains.

    Return the atoms, the squared residual of each sample, and how many samples have each atom.
    """
    products = Y @ atoms.T
    own = np.argpartition(-np.abs(products), N_ACTIVE - 1, axis=1)[:, :N_ACTIVE]
    chosen, product = atoms[own], np.take_along_axis(products, own, axis=1)
    gram = chosen @ chosen.transpose(0, 2, 1) + 1e-6 * np.eye(N_ACTIVE)
    codes = np.linalg.solve(gram, product[:, :, None])
    residual = Y - (codes * chosen).sum(axis=1)
    moved = np.zeros_like(atoms)
    for i in range(N_ACTIVE):
        part = residual + chosen[:, i] * product[:, [i]]
        np.add.at(moved, own[:, i], np.sign(product[:, [i]]) * part)
    use = np.bincount(own.ravel(), minlength=len(atoms))
    moved = np.where(use[:, None] > 0, moved, atoms)
    return _unit(moved), np.square(residual).sum(axis=1), use


def _are_needed(atoms: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Return which atoms are in use, and unlike those before them."""
    twin = np.triu(np.abs(atoms @ atoms.T), 1).max(axis=0) > TWINS
    return (use > LEAST_USE * use.mean()) & ~twin


def _unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1, or of length 0 where they are."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
