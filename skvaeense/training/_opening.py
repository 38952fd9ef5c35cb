"""The forms that a user's samples can have, and the sources that read them.

A new kind of store needs a `SlicedSource` that reads it, made here, in `_as_source`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length
from torch.utils.data import Dataset

from skvaeense.training._sources import (
    SUFFIXES,
    SlicedSource,
    Source,
    StreamSource,
    as_array,
    checked_tensor,
    dataset_source,
    first_of,
    joined,
    sharded_source,
    side_by_side,
)

# Samples with at most this many bytes are read into memory at once, as an array. Of others, as many
# are kept in memory.
IN_MEMORY = 2**28


def open_samples(X: Any) -> Any:
    """Return X as a source if its samples are many and not in memory, otherwise in usable form.

    Parameters
    ----------
    X : object
        A memory map, an array of zarr, h5py or Dask, a folder or a list of files, a torch dataset
        or loader, an iterable of batches, a sparse array, a tensor; anything else is left to
        scikit-learn.

    Returns
    -------
    Source, ndarray, torch.Tensor or object
        A source, or the samples in memory, or X itself.
    """
    if isinstance(X, torch.Tensor):
        return checked_tensor(X)
    source = _as_source(X)
    if isinstance(source, SlicedSource):
        n_samples = len(source)
        if as_array(source.read(0, 1)).nbytes * n_samples <= IN_MEMORY:
            return as_array(source.read(0, n_samples))
    return X if source is None else source


def open_target(y: Any) -> Any:
    """Return y as a target of the codes, or None if it is not a target.

    Scikit-learn passes y to every step of a pipeline, also labels and targets of other steps. A
    transformer ignores these: whole numbers, texts, and one number for each sample.

    Parameters
    ----------
    y : object
        The argument y of the user.

    Returns
    -------
    Source, ndarray, torch.Tensor or None
        Floats of shape (n_samples, n_targets) with two targets or more, in any form that samples
        can have; None for anything else.
    """
    if isinstance(y, Source) or _paths(y):
        return open_samples(y)
    if not hasattr(y, "shape") and _is_stream(y):
        first: tuple[int, ...] = next((np.shape(as_array(first_of(item))) for item in y), ())
        return StreamSource(y) if len(first) == 2 and first[1] > 1 else None
    if isinstance(y, list | tuple):
        try:
            y = np.asarray(y)
        except ValueError:
            return None  # Lists of unequal lengths are labels of some kind.
    shape: tuple[int, ...] = getattr(y, "shape", ())
    if len(shape) != 2 or shape[1] < 2:
        return None
    some = as_array(y[:1]) if hasattr(y, "dtype") else np.asarray(y)
    return open_samples(y) if some.dtype.kind == "f" else None


def beside(X: Any, target: Any) -> Any:
    """Return samples with the columns of their target appended.

    Parameters
    ----------
    X : Source, ndarray or torch.Tensor of shape (n_samples, n_features)
        Checked samples.

    target : Source, ndarray or torch.Tensor of shape (n_samples, n_targets)
        What `open_target` returned.

    Returns
    -------
    Source, ndarray or torch.Tensor of shape (n_samples, n_features + n_targets)
        A source if either argument is one; a tensor if the samples are.

    Raises
    ------
    ValueError
        If samples and target differ in number, or the target has NaN or infinite values, or only
        one of the two is a stream.
    """
    if not isinstance(target, Source | torch.Tensor):
        target = check_array(target, dtype=(np.float64, np.float32), input_name="y")
    if not (isinstance(X, StreamSource) or isinstance(target, StreamSource)):
        check_consistent_length(X, target)
    if isinstance(X, Source) or isinstance(target, Source):
        return joined(X, target)
    if isinstance(X, torch.Tensor):
        return torch.hstack([X, torch.as_tensor(target, dtype=X.dtype, device=X.device)])
    return side_by_side(X, target)


def _as_source(X: Any) -> Source | None:
    if isinstance(X, Source):
        return X
    if paths := _paths(X):
        return sharded_source(paths)
    if sparse.issparse(X):
        # Rows are dense only while they are in use.
        csr = check_array(X, accept_sparse="csr", dtype=None, ensure_min_samples=0, input_name="X")
        return SlicedSource(csr.shape, lambda start, stop: csr[start:stop].toarray())
    if isinstance(X, Dataset) and hasattr(X, "__len__"):
        return dataset_source(X)
    is_array = isinstance(X, np.memmap) or _is_array_elsewhere(X)
    if is_array and len(X.shape) == 2 and X.shape[0] > 0:
        return SlicedSource(X.shape, lambda start, stop: np.asarray(X[start:stop]))
    if _is_stream(X):
        return StreamSource(X)
    return None


def _is_array_elsewhere(X: Any) -> bool:
    """Whether X behaves like an array, and is none that scikit-learn accepts directly."""
    known = isinstance(X, np.ndarray | np.generic | torch.Tensor) or sparse.issparse(X)
    needed = ("shape", "dtype", "__getitem__")
    return not known and all(hasattr(X, name) for name in needed) and not hasattr(X, "iloc")


def _is_stream(X: Any) -> bool:
    if hasattr(X, "__array__") or hasattr(X, "shape") or isinstance(X, str | bytes | dict | set):
        return False
    # Sequences, such as lists of lists, have both methods.
    if not hasattr(X, "__iter__") or hasattr(X, "__getitem__"):
        return isinstance(X, Dataset)
    if isinstance(X, Iterator):
        raise ValueError(
            "X is an iterator, which can be consumed only once, but training needs several passes. "
            "Give an iterable that starts again at each pass, or call partial_fit with each batch."
        )
    return True


def _paths(X: Any) -> list[Path]:
    """Return the files that X names: a folder, a file, or a list of files."""
    if isinstance(X, str | os.PathLike):
        if X == "":
            raise ValueError("X is an empty string. Use '.' for the current folder.")
        path = Path(X)
        if not path.is_dir():
            paths = [path]
        elif not (paths := sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)):
            raise ValueError(f"The folder {path} has no files that end in {SUFFIXES}.")
    elif isinstance(X, list | tuple) and X and all(isinstance(p, str | os.PathLike) for p in X):
        paths = [Path(p) for p in X]
        if not any(path.suffix in SUFFIXES for path in paths):
            return []
    else:
        return []
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise ValueError(
                f"Samples can only be read from files that end in {SUFFIXES}, got {path}."
            )
    return paths
