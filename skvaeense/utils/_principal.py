"""Principal directions."""

import numpy as np


def principal_directions(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances along principal directions, descending, and the directions as rows."""
    n_samples, n_features = rows.shape
    if n_samples < n_features:
        _, singular, directions = np.linalg.svd(rows, full_matrices=False)
        variances = singular**2 / n_samples
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows / n_samples)
        variances, directions = np.maximum(values[::-1], 0.0), vectors.T[::-1]
    if variances[0] <= 0:
        # Constant data: any direction, and a variance that is safe to divide by.
        variances = np.r_[1.0, np.zeros(len(variances) - 1)]
    return variances, directions
