"""Decompositions, the size of rounding errors, and limits on threads."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from scipy import linalg
from threadpoolctl import ThreadpoolController

# A share that networks in single precision cannot distinguish from rounding.
ROUNDING = float(np.finfo(np.float32).resolution)
# A share of a variance that cannot be distinguished from rounding in double precision: half of the
# digits.
EXACT = float(np.sqrt(np.finfo(float).eps))
# The smallest number above 0 that keeps all digits. As a divisor, it takes the place of 0.
TINY = float(np.finfo(float).tiny)


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thin singular value decomposition U, s, V' of a matrix.

    Divide and conquer is the fastest method. In rare cases it does not converge, above all if
    singular values fall gradually to 0. QR iteration, which is slower, then takes its place.
    """
    try:
        return np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        return tuple(linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd"))


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


# Number of multiplications that justify a thread, about a millisecond. Threads with less work wait
# for one another longer than they save, and far longer if another process uses a core.
WORK_OF_A_THREAD = 2**26

# Cached, since finding the libraries takes longer than setting a limit.
_find_pools = cache(ThreadpoolController)


def threads_for(work: int) -> AbstractContextManager[Any]:
    """Return a context with one thread if there is too little work for more.

    Torch needs `skvaeense.utils._torch.torch_threads_for`. If several Python threads fit at once,
    only the first of them changes the number of BLAS threads.

    Parameters
    ----------
    work : int
        Multiplications in the largest of the products inside.

    Returns
    -------
    context manager
        The context, which restores the previous numbers of threads.
    """
    return _find_pools().limit(limits=1) if is_little(work) else nullcontext()


def is_little(work: int) -> bool:
    """Return whether a number of multiplications is too small for two threads."""
    return work < 2 * WORK_OF_A_THREAD
