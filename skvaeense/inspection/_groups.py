"""Samples grouped by label, and checked choices of latents."""

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skvaeense.utils._arrays import column_or_1d


def group_by_label(y, n_samples):
    """Return the rows of the samples of each label, by name and sorted by label.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
        Labels; None puts all samples in one group.

    n_samples : int
        Number of samples.

    Returns
    -------
    dict of str to ndarray of int
        The rows of each label; the name is empty if there are no labels.

    Raises
    ------
    ValueError
        If the length of y is not `n_samples`, or if y has more than one column.
    """
    if y is None:
        return {"": np.arange(n_samples)}
    y = column_or_1d(y, warn=False)
    check_consistent_length(y, np.empty(n_samples))
    labels, group = np.unique(y, return_inverse=True)
    return {str(label): np.flatnonzero(group == i) for i, label in enumerate(labels)}


def known_by_label(dimensions, y):
    """Return the dimensions of the samples of each label, by name.

    Labels with only NaN, or with a column of only NaN, are left out.
    """
    groups = {k: dimensions[rows] for k, rows in group_by_label(y, len(dimensions)).items()}
    known = {name: d for name, d in groups.items() if not np.isnan(d).all(axis=0).any()}
    if not known:
        raise ValueError("The dimensions of every class are all NaN, at one scale at least.")
    return known


def thin(rows, n_rows):
    """Return at most `n_rows` of the rows, evenly spaced."""
    if len(rows) <= n_rows:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n_rows).round().astype(int)]


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
