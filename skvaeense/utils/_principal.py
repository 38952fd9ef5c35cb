"""Singular value decompositions, and principal directions."""

import numpy as np
from scipy import linalg


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thin singular value decomposition U, s, V' of a matrix.

    Divide and conquer is the fastest method. In rare cases it does not converge, above all if
    singular values fall gradually to 0. QR iteration, which is slower, then takes its place.
    """
    try:
        return np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        U, s, Vt = linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
        return U, s, Vt


def principal_directions(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances along principal directions, descending, and the directions as rows."""
    n_samples, n_features = rows.shape
    if n_samples < n_features:
        _, singular, directions = svd(rows)
        variances = singular**2 / n_samples
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows / n_samples)
        variances, directions = np.maximum(values[::-1], 0.0), vectors.T[::-1]
    if variances[0] <= 0:
        # Constant data: any direction, and a variance that is safe to divide by.
        variances = np.r_[1.0, np.zeros(len(variances) - 1)]
    return variances, directions
