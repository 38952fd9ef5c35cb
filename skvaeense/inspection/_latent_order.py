"""Which latents are looked at, and in what order they stand in pictures."""

import numpy as np


def check_latents(latents, n_components):
    """Return the numbers of latents as an array, if there are such latents; None means all."""
    if latents is None:
        return np.arange(n_components)
    latents = np.atleast_1d(np.asarray(latents))
    if latents.ndim > 1 or latents.dtype.kind not in "iu" or not len(latents):
        raise ValueError(
            f"latents must be a 1-d array of whole numbers, at least one; got {latents!r}."
        )
    if latents.min() < 0 or latents.max() >= n_components:
        raise ValueError(f"latents must be from 0 to {n_components - 1}, got {latents!r}.")
    return latents


def latents_to_show(use, unused):
    """Return the latents of a picture in the order of `order_by_group`, with unused ones or not.

    Parameters
    ----------
    use : ndarray of shape (n_groups, n_components)
        Share of the samples of each group in which each latent is active.

    unused : bool
        Whether latents that are active in no sample are shown.

    Returns
    -------
    ndarray of int, shape (n_shown,)
        The latents in order.

    Raises
    ------
    ValueError
        If there are none.
    """
    latents = order_by_group(use)
    if not unused:
        latents = latents[use[:, latents].any(axis=0)]
    if not len(latents):
        raise ValueError("No latent is active in any sample; set unused=True to see that.")
    return latents


def order_by_group(use):
    """Return latents by the group that uses them most, and by their use there; unused ones last.

    Parameters
    ----------
    use : ndarray of shape (n_groups, n_components)
        Share of the samples of each group in which each latent is active.

    Returns
    -------
    ndarray of int, shape (n_components,)
        The latents in order.
    """
    home = np.where(use.any(axis=0), use.argmax(axis=0), len(use))
    return np.lexsort((-use.max(axis=0), home))
