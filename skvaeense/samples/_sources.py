"""The forms that a user's samples can have, and sources: samples that are not in memory.

A source has a shape, and reads rows on demand. A new kind of store needs a `SlicedSource` that
reads it, made in `_as_source`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_consistent_length
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skvaeense.samples._files import open_files, paths_of
from skvaeense.samples._rows import (
    FLOATS,
    as_array,
    check_widths,
    checked,
    checked_tensor,
    rows_of,
)
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import MANY_ROWS, block_rows
from skvaeense.utils._typing import FloatArray, IntArray
from skvaeense.utils._validation import check_array

# Samples with at most this number of bytes are read into memory at once, as an array. Of larger
# samples, at most this number of bytes, or one batch, is kept in memory.
IN_MEMORY = 2**28
# The position of the first row, and the rows.
Block: TypeAlias = tuple[int, FloatArray]


class _Samples:
    """Hold the shape of samples, (n_samples, n_features), which a subclass reads."""

    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the rows."""
        return self.head(1).dtype

    def described(self, rows: list[int]) -> str:
        """Return what a loader says about some of its rows, such as their positions in texts."""
        return ""

    def head(self, n_rows: int) -> FloatArray:
        """Return the first rows."""
        raise NotImplementedError


class SlicedSource(_Samples):
    """Samples from which any slice can be read.

    Parameters
    ----------
    shape : tuple of int
        (n_samples, n_features).

    read : callable
        Maps the positions of the first row and of the row after the last one to these rows, as an
        array or a tensor.
    """

    def __init__(self, shape: Any, read: Callable[[int, int], Any]) -> None:
        self.shape = int(shape[0]), int(shape[1])
        self.read = read

    def __getitem__(self, rows: slice) -> FloatArray:
        start, stop, _ = rows.indices(len(self))
        found = checked(self.read(start, stop))
        if found.shape != (stop - start, self.shape[1]):
            raise ValueError(
                f"X must have shape {self.shape} throughout, but its rows {start} to {stop} have "
                f"shape {found.shape}. Give samples of one length, and leave them as they are "
                "while they are read."
            )
        return found

    def head(self, n_rows: int) -> FloatArray:
        """Return the first rows."""
        return self[:n_rows]

    def blocks(
        self,
        random_state: np.random.RandomState | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Iterator[Block]:
        """Yield all rows in blocks, in random order if there is a random state.

        If there are several processes, each gets some of the blocks.
        """
        n_rows = block_rows(self.shape[1])
        starts = np.arange(0, len(self), n_rows)
        if random_state is not None:
            random_state.shuffle(starts)
        for start in starts[processes.rank :: processes.world_size].tolist():
            yield start, self[start : start + n_rows]

    def draw(self, n_rows: int, random_state: np.random.RandomState) -> IntArray:
        """Return positions of random rows, sorted, in runs of neighbours."""
        # Stores are slow at single rows.
        run = np.arange(64)
        starts = random_state.permutation(-(-len(self) // len(run)))[: -(-n_rows // len(run))]
        positions = (np.sort(starts)[:, None] * len(run) + run).ravel()
        return positions[positions < len(self)][:n_rows]

    def take(self, positions: IntArray) -> FloatArray:
        """Return the rows at sorted positions."""
        gaps = np.flatnonzero(np.diff(positions) != 1) + 1
        runs = np.split(positions, gaps)
        return np.concatenate([self[int(run[0]) : int(run[-1]) + 1] for run in runs])


def dataset_source(dataset: Any) -> SlicedSource:
    """Return the source of a map-style dataset of torch that has a length.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Its items are samples, or tuples that begin with one.

    Returns
    -------
    SlicedSource
        A source that reads one item after the other.
    """

    def read(start: int, stop: int) -> Any:
        rows = [rows_of(dataset[i], is_sample=True) for i in range(start, stop)]
        check_widths(row.shape[1] for row in [first, *rows])
        return np.concatenate(rows) if rows else first[:0]

    if not len(dataset):
        raise ValueError("X is a dataset without samples; at least two samples are needed.")
    first = rows_of(dataset[0], is_sample=True)
    return SlicedSource((len(dataset), first.shape[1]), read)


class LoaderSource(_Samples):
    """Samples from a loader, which yields batches of them in every pass.

    Samples have the order of the loader. A first pass counts them, and keeps the first rows and
    some random rows in memory.

    Parameters
    ----------
    batches : iterable with a length
        Like a torch DataLoader: it yields arrays or tensors of shape (n_samples, n_features) or
        (n_features,), or tuples that begin with one. Its length is the number of batches.

    n_first : int, default=64
        Number of first rows that are kept.
    """

    def __init__(self, batches: Any, *, n_first: int = 64) -> None:
        self.batches = batches
        random_state, widths, start, n_kept = np.random.RandomState(0), [], 0, MANY_ROWS
        kept: list[tuple[Any, ...]] = []
        highest = 1.0
        for part in map(rows_of, self.batches):
            widths.append(part.shape[1])
            check_widths(widths[-2:])
            if len(widths) == 1:
                self._first = np.array(part[:n_first])
                n_kept = max(2 * n_first, min(MANY_ROWS, IN_MEMORY // max(part[:1].nbytes, 1)))
            # Rows with the lowest random keys are a sample without replacement.
            keys = random_state.uniform(size=len(part))
            low = np.flatnonzero(keys < highest)
            kept.append((keys[low], start + low, part[low]))
            if sum(len(own[0]) for own in kept) > 2 * n_kept:
                kept = [_lowest(kept, n_kept)]
                highest = kept[0][0].max()
            start += len(part)
        if start == 0:
            raise ValueError("X is a loader without samples; at least two samples are needed.")
        self._check_pass(len(widths), len(self.batches), "batches", "len(X) is")
        _, self._known, self._rows = _lowest(kept, n_kept)
        self.shape = start, widths[0]

    def _check_pass(self, found: int, expected: int, what: str, source: str) -> None:
        """Raise an error unless a pass gave as much as expected."""
        if found != expected:
            raise ValueError(
                f"A pass over X gave {found} {what}, but {source} {expected}. Give a loader that "
                "yields all samples in every pass, or call partial_fit with each batch."
            )

    def head(self, n_rows: int) -> FloatArray:
        """Return the first rows."""
        if n_rows <= len(self._first):
            return checked(self._first[:n_rows])
        rows = chain.from_iterable(rows for _, rows in self.blocks())
        return np.stack(list(islice(rows, n_rows)))

    def blocks(
        self,
        random_state: np.random.RandomState | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Iterator[Block]:
        """Yield all rows, in the order of the loader; every process goes through all of it."""
        n_batches = -(-block_rows(self.shape[1]) * len(self.batches) // len(self))
        arrays, start = map(rows_of, self.batches), 0
        for i, parts in enumerate(iter(lambda: list(islice(arrays, n_batches)), [])):
            check_widths([self.shape[1], *(part.shape[1] for part in parts)])
            if i % processes.world_size == processes.rank:
                yield start, checked(np.concatenate(parts))
            start += sum(map(len, parts))
        self._check_pass(start, len(self), "samples", "the first pass gave")

    def draw(self, n_rows: int, random_state: np.random.RandomState) -> IntArray:
        """Return positions of random rows, sorted: of rows in memory, if these are enough."""
        pool = self._known if n_rows <= len(self._known) else np.arange(len(self))
        return np.sort(random_state.choice(pool, n_rows, replace=False))

    def take(self, positions: IntArray) -> FloatArray:
        """Return the rows at sorted positions."""
        if np.isin(positions, self._known).all():
            return checked(self._rows[np.searchsorted(self._known, positions)])
        taken = [
            rows[positions[(positions >= start) & (positions < start + len(rows))] - start]
            for start, rows in self.blocks()
        ]
        return np.concatenate(taken)

    def described(self, rows: list[int]) -> str:
        """Return what the loader says about some of its rows."""
        return str(self.batches.described(rows)) if hasattr(self.batches, "described") else ""


def _lowest(parts: list[tuple[Any, ...]], n_rows: int) -> tuple[Any, ...]:
    """Return the rows with the lowest keys, in order: their keys, positions and values."""
    keys, positions, rows = (np.concatenate(own) for own in zip(*parts, strict=True))
    chosen = np.sort(np.argsort(keys)[:n_rows])
    return keys[chosen], positions[chosen], rows[chosen]


# Samples of shape (n_samples, n_features), read some rows at a time.
Source: TypeAlias = SlicedSource | LoaderSource


def rows_of_chunks(X: Any, chunks: Iterable[slice]) -> Iterator[tuple[slice, Any]]:
    """Yield slices that follow one another, and their rows, of samples of any form."""
    if not isinstance(X, LoaderSource):
        for chunk in chunks:
            yield chunk, X[chunk]
        return
    blocks, waiting = X.blocks(), np.empty((0, X.shape[1]), dtype=np.float32)
    for chunk in chunks:
        n_rows = min(chunk.stop, len(X)) - chunk.start
        while len(waiting) < n_rows:
            # A pass that gives too few rows ends with an error.
            _, rows = next(blocks)
            waiting = np.concatenate([waiting, rows]) if len(waiting) else rows
        yield chunk, waiting[:n_rows]
        waiting = waiting[n_rows:]
    next(blocks, None)


def open_samples(X: Any) -> Any:
    """Return X as a source if its samples are many and not in memory, otherwise in usable form.

    Parameters
    ----------
    X : object
        A memory map, an array of zarr, h5py or Dask, a folder or a list of files, a torch dataset
        or loader, a sparse array, a tensor; anything else is left to scikit-learn.

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

    Scikit-learn passes y to every step of a pipeline, including labels and targets of other steps.
    A transformer ignores these: whole numbers, texts, and one number for each sample.

    Parameters
    ----------
    y : object
        The argument y of the user.

    Returns
    -------
    Source, ndarray, torch.Tensor or None
        Floats of shape (n_samples, n_targets) with two targets or more, in an array, a tensor, a
        memory map or files; None for anything else.

    Raises
    ------
    TypeError
        If y is a loader, a dataset or another iterable, whose rows cannot be put beside those of X.
    """
    if paths_of(y):
        return open_samples(y)
    if _is_iterable(y):
        raise TypeError(
            "A target y must be an array, a tensor, a memory map or files, got "
            f"{type(y).__name__}. Write X and y to files, or call partial_fit with each batch and "
            "its target."
        )
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
        If samples and target differ in number, or the target has NaN or infinite values.

    TypeError
        If the samples come from a loader.
    """
    if not isinstance(target, Source | torch.Tensor):
        target = check_array(target, dtype=FLOATS, input_name="y")
    refuse_loader(X, "a target")
    check_consistent_length(X, target)

    def side_by_side(X: Any, Y: Any) -> FloatArray:
        # In the more precise type.
        return np.concatenate([as_array(X), as_array(Y)], axis=1)

    if isinstance(X, Source) or isinstance(target, Source):
        return SlicedSource(
            (len(X), X.shape[1] + target.shape[1]),
            lambda start, stop: side_by_side(X[start:stop], target[start:stop]),
        )
    if isinstance(X, torch.Tensor):
        return torch.hstack([X, torch.as_tensor(target, dtype=X.dtype, device=X.device)])
    return side_by_side(X, target)


def _as_source(X: Any) -> Source | None:
    if isinstance(X, Source):
        return X
    if paths := paths_of(X):
        return SlicedSource(*open_files(paths))
    if sparse.issparse(X):
        # Rows are dense only while they are in use.
        csr = check_array(X, accept_sparse="csr", dtype=None, ensure_min_samples=0, input_name="X")
        return SlicedSource(csr.shape, lambda start, stop: csr[start:stop].toarray())
    if isinstance(X, Dataset) and not isinstance(X, IterableDataset) and _has_length(X):
        return dataset_source(X)
    is_array = isinstance(X, np.memmap) or _is_array_elsewhere(X)
    if is_array and len(X.shape) == 2 and X.shape[0] > 0:
        return SlicedSource(X.shape, lambda start, stop: as_array(X[start:stop]))
    if _is_iterable(X):
        if not _has_length(X):
            raise TypeError(
                f"X is an iterable without a length ({type(X).__name__}), so nothing tells "
                "whether a pass over it is complete. Give a torch DataLoader or Dataset with a "
                "length, or call partial_fit with each batch."
            )
        return X.as_source() if hasattr(X, "as_source") else LoaderSource(X)
    return None


def _is_array_elsewhere(X: Any) -> bool:
    """Return whether X behaves like an array, but not one that scikit-learn accepts directly."""
    is_known = isinstance(X, np.ndarray | np.generic) or hasattr(X, "iloc")
    return not is_known and all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__"))


def _is_iterable(X: Any) -> bool:
    """Return whether X can only be iterated, unlike arrays, sequences and mappings."""
    if hasattr(X, "__array__") or hasattr(X, "shape") or isinstance(X, str | bytes | dict | set):
        return False
    # Sequences, such as lists of lists, have both methods.
    return isinstance(X, Dataset) or (hasattr(X, "__iter__") and not hasattr(X, "__getitem__"))


def _has_length(X: Any) -> bool:
    """Return whether X has a length; a DataLoader has the method without its dataset's, too."""
    if isinstance(X, DataLoader) and isinstance(X.dataset, IterableDataset):
        X = X.dataset
    return hasattr(X, "__len__")


def refuse_loader(X: Any, what: str) -> None:
    """Raise an error if X is a loader, whose rows cannot be read by their positions."""
    if isinstance(X, LoaderSource):
        raise TypeError(
            f"X is a loader, whose rows have no fixed positions, so it cannot have {what}. Give X "
            "as a dataset, a memory map or files, or pass each batch separately."
        )


def digest(source: Source) -> str:
    """Return a hash of all rows in their order, which identifies the samples."""
    found = hashlib.sha256()
    for _, rows in source.blocks():
        found.update(f"{rows.dtype} {rows.shape[1]}".encode())
        found.update(np.ascontiguousarray(rows).data)
    return found.hexdigest()
