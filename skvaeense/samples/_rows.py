"""Rows of samples: arrays that are checked, weights, copies and missing values."""

import reprlib
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import validate_data

from skvaeense.utils._typing import FloatArray
from skvaeense.utils._validation import dense, plain

FLOATS = (np.float64, np.float32)


def as_array(rows: Any) -> Any:
    """Return rows as a dense numpy array, with NaN for masked entries.

    bfloat16 and floats of 8 bits, which numpy lacks, become float32.
    """
    if type(rows) is np.ndarray:
        return rows
    if not isinstance(rows, torch.Tensor):
        # Dask would lose masks.
        rows = rows.compute() if hasattr(rows, "compute") else rows
        return dense(plain(rows, takes_missing=True))
    rows = rows.detach().resolve_conj().resolve_neg()
    is_lacking = rows.dtype is torch.bfloat16 or (rows.is_floating_point() and rows.itemsize < 2)
    return (rows.float() if is_lacking else rows).cpu().numpy()


def tensor_as_array(X: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    return as_array(X) if isinstance(X, torch.Tensor) else X


def rows_of(item: Any, *, is_sample: bool = False) -> FloatArray:
    """Return the samples in an item of a dataset or a loader, without labels or other extras.

    Parameters
    ----------
    item : object
        A sample of shape (n_features,), or several of shape (n_samples, n_features), or a tuple or
        list that begins with them. A list of numbers is a sample.

    is_sample : bool, default=False
        Whether the item must be a single sample.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        The samples.

    Raises
    ------
    TypeError
        If the item is something else, such as a list of rows or of columns.
    """
    found = item
    is_numbers = isinstance(item, list) and all(isinstance(entry, Real) for entry in item)
    if isinstance(item, tuple | list) and item and not is_numbers:
        found = item[0]
        first, *second = (getattr(part, "shape", ()) for part in item[:2])
        are_rows = isinstance(found, tuple | list) or (len(first) == 1 and second == [first])
        # From a loader these can be columns too, as torch collates lists.
        if are_rows and (isinstance(item, list) or not is_sample):
            found = None
    rows = as_array(found)
    if rows.ndim == 0 or (is_sample and rows.ndim > 1 and len(rows) > 1):
        kind = "(n_features,)" if is_sample else "(n_samples, n_features)"
        raise TypeError(
            f"X must give arrays or tensors of shape {kind}, or tuples that begin with one, but it "
            f"gave {reprlib.repr(item)}. Stack rows by numpy.stack or torch.stack, for instance in "
            "the collate_fn of a DataLoader."
        )
    return np.atleast_2d(rows)


def checked(rows: Any) -> FloatArray:
    """Return rows in single or double precision, as scikit-learn accepts arrays."""
    return check_array(
        as_array(rows), dtype=FLOATS, allow_nd=True, ensure_min_samples=0, input_name="X"
    )


def checked_tensor(rows: torch.Tensor) -> torch.Tensor:
    """Return a tensor with its graph, in single or double precision and with finite entries."""
    rows = rows.resolve_conj().resolve_neg()
    if rows.layout is not torch.strided:
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.to_dense()' to "
            "convert to a dense tensor."
        )
    if not rows.is_complex():
        is_single = rows.dtype in (torch.float16, torch.bfloat16, torch.float32)
        rows = rows.to(torch.float32 if is_single else torch.float64)
    if rows.ndim != 2 or rows.is_complex() or not rows.isfinite().all():
        check_array(as_array(rows), input_name="X")  # This raises the error.
    return rows


def validated(
    estimator: Any, X: Any, *, reset: bool, least: int = 1, takes_missing: bool = True
) -> Any:
    """Return at least `least` samples as a valid array, of a kind that the estimator's tags allow.

    Only dense samples can have missing values, and only with `takes_missing`.
    """
    tags = get_tags(estimator).input_tags
    allows_nan = tags.allow_nan and takes_missing and not sparse.issparse(X)
    return validate_data(
        estimator,
        X if type(X) is np.ndarray else plain(X, takes_missing=allows_nan),
        accept_sparse="csr" if tags.sparse else False,
        dtype=FLOATS,
        ensure_all_finite="allow-nan" if allows_nan else True,
        ensure_min_samples=least,
        reset=reset,
    )


def check_widths(widths: Iterable[int]) -> int:
    """Return the number of features of all parts; raise an error if they differ."""
    different = sorted(set(widths))
    if len(different) > 1:
        raise ValueError(f"All parts of X must have the same number of features, got {different}.")
    return different[0]
