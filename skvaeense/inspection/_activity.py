"""The samples in which latents are largest."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, gen_batches, indexable

from skvaeense.inspection._estimators import fitted_step
from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import Source, open_samples, rows_of_chunks
from skvaeense.utils._typing import SparseArray
from skvaeense.utils._validation import check_integer


def top_activating(
    estimator: Any,
    X: ArrayLike | SparseArray,
    *,
    latents: ArrayLike | None = None,
    n_samples: int = 10,
    batch_size: int = 1024,
) -> Bunch:
    """Find the samples in which each latent has its largest codes.

    These samples often suggest an interpretation of the latent. They are ordered by the absolute
    value ``|z_nj|`` of the code; of equal values the earlier sample comes first. Samples whose code
    is 0 are left out, so a latent can have fewer than `n_samples`.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform`. It can be the last step of a Pipeline.

    X : {array-like, sparse matrix} of shape (n_total, n_features)
        Samples, in any form that `fit` takes. Rows of a loader are numbered in the order of a pass.

    latents : array-like of int of shape (n_latents,) or None, default=None
        Latents to look at, in this order; None means all.

    n_samples : int, default=10
        Maximum number of samples for each latent.

    batch_size : int, default=1024
        Number of samples that are encoded at a time. Only the codes of these samples are held in
        memory.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes:

        latents : ndarray of int, shape (n_latents,)
            The latents.
        samples : ndarray of int, shape (n_latents, n_samples)
            Rows of X, from the largest code; -1 if there are no more.
        codes : ndarray of shape (n_latents, n_samples)
            Signed codes of these samples; 0 if there are no more.
        density : ndarray of shape (n_latents,)
            Share of the samples whose code is not 0.

    Raises
    ------
    TypeError
        If the estimator has no `transform`.

    ValueError
        If `latents`, `n_samples` or `batch_size` is invalid, or if X is empty.

    See Also
    --------
    LatentDisplay : Draw decoder columns.

    Notes
    -----
    Inactive latents of :class:`~skvaeense.VAEenseTransformer` have codes that are small but not 0.
    With ``set_params(hard=True)``, only samples in which a latent is active are found.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skvaeense.inspection import top_activating
    >>> X = [[0.0, 1.0, 0.0], [0.0, -3.0, 0.0], [0.5, 2.0, 0.0]]
    >>> result = top_activating(FunctionTransformer(), X, n_samples=2)
    >>> result.samples
    array([[ 2, -1],
           [ 1,  2],
           [-1, -1]])
    >>> result.codes
    array([[ 0.5,  0. ],
           [-3. ,  2. ],
           [ 0. ,  0. ]])
    """
    check_integer(n_samples, "n_samples", minimum=1)
    check_integer(batch_size, "batch_size", minimum=1)
    fitted_step(estimator, needs=["transform"])
    rows: Any = open_samples(X)
    if not isinstance(rows, Source):
        (rows,) = indexable(rows if hasattr(rows, "shape") else np.asarray(rows))
    if not rows.shape[0]:
        raise ValueError("X has no samples, but at least 1 is needed.")
    chunks = gen_batches(rows.shape[0], batch_size)
    for batch, part in rows_of_chunks(getattr(rows, "iloc", rows), chunks):
        codes = as_array(estimator.transform(part))
        if batch.start == 0:
            chosen = check_latents(latents, codes.shape[1])
            samples = np.full((len(chosen), n_samples), -1)
            largest, n_active = np.zeros(samples.shape), np.zeros(len(chosen), dtype=int)
        n_active += np.count_nonzero(codes[:, chosen], axis=0)
        # The largest codes before this batch, and all codes of the batch.
        both = np.hstack([largest, codes[:, chosen].T])
        new = np.broadcast_to(np.arange(rows.shape[0])[batch], (len(chosen), len(codes)))
        order = np.argsort(-np.abs(both), axis=1, kind="stable")[:, :n_samples]
        largest = np.take_along_axis(both, order, axis=1)
        samples = np.take_along_axis(np.hstack([samples, new]), order, axis=1)
    samples[largest == 0] = -1
    density = n_active / rows.shape[0]
    return Bunch(latents=chosen, samples=samples, codes=largest, density=density)


def check_latents(latents, n_components):
    """Return valid indices of latents as an array; None means all."""
    if latents is None:
        return np.arange(n_components)
    latents = np.atleast_1d(np.asarray(latents))
    if latents.ndim > 1 or latents.dtype.kind not in "iu" or not len(latents):
        raise ValueError(f"latents must be a non-empty 1d array of integers, got {latents!r}.")
    if latents.min() < 0 or latents.max() >= n_components:
        raise ValueError(f"latents must be from 0 to {n_components - 1}, got {latents!r}.")
    return latents
