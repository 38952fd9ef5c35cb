"""Samples in groups by their label."""

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d


class Group(NamedTuple):
    """The rows of the samples with one label; the name is empty where there are no labels."""

    name: str
    rows: np.ndarray


def group_by_label(y, n_samples):
    """Return a Group for each label, in the order of the labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
        Labels; None: all samples are in one group.

    n_samples : int
        Number of samples.

    Returns
    -------
    list of Group
        The groups.

    Raises
    ------
    ValueError
        If y has another length, or more than one column.
    """
    if y is None:
        return [Group("", np.arange(n_samples))]
    y = column_or_1d(y, warn=False)
    check_consistent_length(y, np.empty(n_samples))
    labels, group = np.unique(y, return_inverse=True)
    return [Group(str(label), np.flatnonzero(group == i)) for i, label in enumerate(labels)]


def thin(rows, n_rows):
    """Return at most so many rows, spread evenly."""
    if len(rows) <= n_rows:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n_rows).round().astype(int)]
