"""The meaning of latents: the samples and the tokens with the largest codes, in their contexts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, gen_batches, indexable

from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import Source, open_samples, rows_of_chunks
from skvaeense.utils._typing import SparseArray
from skvaeense.utils._validation import check_integer, check_latents, fitted_step


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
    latent_report : The same with the contexts of tokens.
    skvaeense.inspection.LatentDisplay : Draw decoder columns.

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
    >>> from skvaeense.language import top_activating
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


def latent_report(
    estimator: Any,
    X: Any,
    *,
    latents: ArrayLike | None = None,
    n_samples: int = 10,
    n_before: int = 10,
    n_after: int = 5,
    decode: Callable[[int], str] = str,
) -> list[dict[str, Any]]:
    """Find the tokens for which latents have their largest codes, with their contexts.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform`. It can be the last step of a Pipeline.

    X : Activations
        Samples with a method `contexts`, such as :class:`skvaeense.language.Activations`. Its
        model is run once.

    latents : array-like of int of shape (n_latents,) or None, default=None
        Latents to look at, in this order; None means all.

    n_samples : int, default=10
        Maximum number of contexts of each latent.

    n_before, n_after : int, default=10 and 5
        Maximum number of tokens before and after the token of a row.

    decode : callable, default=str
        Maps the id of a token to its text, such as ``lambda i: tokenizer.decode([i])``.

    Returns
    -------
    list of dict
        A dict for each of the largest codes of each latent, with "latent", "row", "text",
        "position", "code", "before", "token" and "after". ``pd.DataFrame(report)`` is a table.

    Raises
    ------
    TypeError
        If the estimator has no `transform`, or X no contexts.

    ValueError
        If `latents` is invalid.

    See Also
    --------
    top_activating : The rows alone, of samples of any kind.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.language import Activations
    >>> from skvaeense.language import latent_report
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 32))
    >>> X = Activations(model, "1", torch.randint(50, (200, 12)).split(20))
    >>> sae = SparseAutoencoder(40, target_l0=4, max_iter=20, random_state=0).fit(X)
    >>> report = latent_report(sae, X, latents=[3, 5], n_samples=4)
    >>> len(report), sorted(report[0])
    (8, ['after', 'before', 'code', 'latent', 'position', 'row', 'text', 'token'])
    """
    check_integer(n_before, "n_before", minimum=0)
    check_integer(n_after, "n_after", minimum=0)
    if not hasattr(X, "contexts"):
        raise TypeError(
            f"X must have a method contexts, as Activations has, got {type(X).__name__}. For other "
            "samples use top_activating."
        )
    top = top_activating(estimator, X, latents=latents, n_samples=n_samples)
    place, rank = np.nonzero(top.samples >= 0)
    rows, found = top.samples[place, rank], []
    contexts = X.contexts(rows, n_before=n_before, n_after=n_after)
    for i, (tokens, at) in enumerate(contexts):
        words, (text, position, _) = [*map(decode, tokens)], X.places[rows[i]].tolist()
        latent, code = int(top.latents[place[i]]), float(top.codes[place[i], rank[i]])
        where = {"latent": latent, "row": int(rows[i]), "text": text, "position": position}
        before, after = "".join(words[:at]), "".join(words[at + 1 :])
        found.append(where | {"code": code, "before": before, "token": words[at], "after": after})
    return found
