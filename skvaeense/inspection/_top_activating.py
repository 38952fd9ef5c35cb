"""The samples in which latents have their largest codes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import Bunch, gen_batches, indexable

from skvaeense.inspection._estimators import fitted_step, transformed
from skvaeense.inspection._groups import check_latents
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
        Samples.

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

    Raises
    ------
    TypeError
        If the estimator has no `transform`.

    ValueError
        If `latents`, `n_samples` or `batch_size` is invalid, or if X is empty.

    See Also
    --------
    latent_ablation : The effect of leaving out a latent.
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
    (rows,) = indexable(X if hasattr(X, "shape") else np.asarray(X))
    if not rows.shape[0]:
        raise ValueError("X has no samples, but at least 1 is needed.")
    # Entries of codes as arrays of equal length: position of the latent, sample, code.
    top = [np.empty(0, dtype=int), np.empty(0, dtype=int), np.empty(0)]
    for batch in gen_batches(rows.shape[0], batch_size):
        codes = transformed(estimator, rows.iloc[batch] if hasattr(rows, "iloc") else rows[batch])
        chosen = check_latents(latents, codes.shape[1])
        new = sparse.coo_array(codes[:, chosen], dtype=np.float64)
        new.eliminate_zeros()
        sample, place = new.coords
        top = _largest(zip(top, [place, sample + batch.start, new.data], strict=True), n_samples)
    place, sample, code = top
    samples, largest = np.full((len(chosen), n_samples), -1), np.zeros((len(chosen), n_samples))
    samples[place, _ranks(place)], largest[place, _ranks(place)] = sample, code
    return Bunch(latents=chosen, samples=samples, codes=largest)


def _largest(pairs, n_samples):
    """Return the largest entries of each latent, ordered by latent and size, from joined arrays."""
    place, sample, code = map(np.concatenate, pairs)
    order = np.lexsort((sample, -np.abs(code), place))
    order = order[_ranks(place[order]) < n_samples]
    return place[order], sample[order], code[order]


def _ranks(place):
    """Return the rank of each entry among the entries of its latent; `place` is sorted."""
    return np.arange(len(place)) - np.searchsorted(place, place)
