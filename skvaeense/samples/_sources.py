"""The forms that a user's samples can have, and sources: samples that are not in memory.

A source has a shape, and reads rows on demand. A new kind of store needs a `Source` that reads it,
made in `_as_source`.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from scipy import sparse
from sklearn.utils import check_consistent_length
from torch.utils.data import Dataset, IterableDataset

from skvaeense.samples._rows import FLOATS, as_array, check_widths, checked, checked_tensor, rows_of
from skvaeense.utils._files import check_regular
from skvaeense.utils._rows import IN_MEMORY, MANY_ROWS, block_rows
from skvaeense.utils._typing import FloatArray, IntArray
from skvaeense.utils._validation import check_array

# Endings of files of samples.
SUFFIXES = (".npy", ".safetensors")
# The position of the first row, and the rows.
Block: TypeAlias = tuple[int, FloatArray]


class Source:
    """Samples from which any slice can be read.

    Parameters
    ----------
    shape : tuple of int
        (n_samples, n_features).

    read : callable
        Maps the positions of the first row and of the row after the last one to these rows, as an
        array or a tensor.

    Attributes
    ----------
    widths : tuple of int or None
        Numbers of columns of the modules of a network that the columns belong to, if known.
    """

    widths: tuple[int, ...] | None = None

    def __init__(self, shape: Any, read: Callable[[int, int], Any]) -> None:
        self.shape = int(shape[0]), int(shape[1])
        self.read = read

    def __len__(self) -> int:
        return self.shape[0]

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

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the rows."""
        return self[:1].dtype

    def described(self, rows: list[int]) -> str:
        """Return what a loader says about some of its rows, such as their positions in texts."""
        return ""

    def blocks(self, rng: np.random.RandomState | None = None) -> Iterator[Block]:
        """Yield all rows in blocks, in random order if there is a source of randomness."""
        n_rows = block_rows(self.shape[1])
        starts = np.arange(0, len(self), n_rows)
        if rng is not None:
            rng.shuffle(starts)
        for start in starts.tolist():
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
        runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
        return np.concatenate([self[int(run[0]) : int(run[-1]) + 1] for run in runs])


class LoaderSource(Source):
    """Samples from a loader, which yields batches of them in every pass.

    Samples have the order of the loader. A first pass counts them, and keeps the first batch and
    some random rows in memory.

    Parameters
    ----------
    batches : iterable with a length
        Like a torch DataLoader: it yields arrays or tensors of shape (n_samples, n_features) or
        (n_features,), or tuples that begin with one. Its length is the number of batches.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        rng, n_batches, n_rows = np.random.RandomState(0), 0, 0
        for part in map(rows_of, batches):
            if n_batches == 0:
                first = np.array(part)
                kind = np.dtype(np.float32 if part.dtype == np.float32 else np.float64)
                n_kept = min(MANY_ROWS, IN_MEMORY // (kind.itemsize * max(first.shape[1], 1)))
                kept, positions = np.zeros((n_kept, *first.shape[1:]), kind), np.zeros(n_kept, int)
            check_widths([first.shape[1], part.shape[1]])
            # A row takes a random place among all so far: by "algorithm R" of Vitter, "Random
            # sampling with a reservoir", 1985, the kept places hold a fair sample.
            new = n_rows + np.arange(len(part))
            places = np.where(new < n_kept, new, rng.randint(new + 1))
            is_kept = places < n_kept
            kept[places[is_kept]], positions[places[is_kept]] = part[is_kept], new[is_kept]
            n_batches, n_rows = n_batches + 1, n_rows + len(part)
        if n_rows == 0:
            raise ValueError("X is a loader without samples; at least two samples are needed.")
        _check_pass(n_batches, len(batches), "batches", "len(X) is")
        order = np.argsort(positions[:n_rows])
        self._first, self._known, self._rows = first, positions[order], kept[order]
        self.shape = n_rows, first.shape[1]
        self.widths = getattr(batches, "widths", None)

    def __getitem__(self, rows: slice) -> FloatArray:
        """Return rows of the first batch, or those that one more pass goes through."""
        start, stop, _ = rows.indices(len(self))
        if stop <= len(self._first):
            return checked(self._first[start:stop])
        found = chain.from_iterable(block for _, block in self.blocks())
        return np.stack(list(islice(found, start, stop)))

    def blocks(self, rng: np.random.RandomState | None = None) -> Iterator[Block]:
        """Yield all rows, in the order of the loader."""
        n_batches = -(-block_rows(self.shape[1]) * len(self.batches) // len(self))
        arrays, start = map(rows_of, self.batches), 0
        while parts := list(islice(arrays, n_batches)):
            check_widths([self.shape[1], *(part.shape[1] for part in parts)])
            yield start, checked(np.concatenate(parts))
            start += sum(map(len, parts))
        _check_pass(start, len(self), "samples", "the first pass gave")

    def draw(self, n_rows: int, random_state: np.random.RandomState) -> IntArray:
        """Return positions of random rows, sorted: of rows in memory, if these are enough."""
        pool = self._known if n_rows <= len(self._known) else len(self)
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


def _check_pass(found: int, expected: int, what: str, source: str) -> None:
    """Raise an error unless a pass over a loader gave as much as expected."""
    if found != expected:
        raise ValueError(
            f"A pass over X gave {found} {what}, but {source} {expected}. Give a loader that "
            "yields all samples in every pass, or call partial_fit with each batch."
        )


def rows_of_chunks(X: Any, chunks: Iterable[slice]) -> Iterator[tuple[slice, Any]]:
    """Yield slices that follow one another, and their rows, of samples of any form."""
    if not isinstance(X, LoaderSource):
        yield from ((chunk, X[chunk]) for chunk in chunks)
        return
    blocks, waiting = X.blocks(), np.empty((0, X.shape[1]), dtype=np.float32)
    for chunk in chunks:
        n_rows = min(chunk.stop, len(X)) - chunk.start
        while len(waiting) < n_rows:
            # A pass that gives too few rows ends with an error.
            waiting = np.concatenate([waiting, next(blocks)[1]])
        yield chunk, waiting[:n_rows]
        waiting = waiting[n_rows:]
    next(blocks, None)


# --- forms of samples -----------------------------------------------------------------------------


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
    if type(source) is Source and len(source) * as_array(source.read(0, 1)).nbytes <= IN_MEMORY:
        return as_array(source.read(0, len(source)))
    return X if source is None else source


def _as_source(X: Any) -> Source | None:
    """Return X as a source; None if it is in memory, or no samples."""
    if isinstance(X, Source):
        return X
    if paths := _paths_of(X):
        return _open_files(paths)
    if sparse.issparse(X):
        # Rows are dense only while they are in use.
        csr = check_array(X, accept_sparse="csr", dtype=None, ensure_min_samples=0, input_name="X")
        return Source(csr.shape, lambda start, stop: csr[start:stop].toarray())
    if _is_iterable(X):
        return _open_iterable(X)
    # Arrays that scikit-learn does not accept directly.
    is_known = isinstance(X, np.ndarray | np.generic) or hasattr(X, "iloc")
    is_array = all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__"))
    is_elsewhere = isinstance(X, np.memmap) or (is_array and not is_known)
    if is_elsewhere and len(X.shape) == 2 and X.shape[0] > 0:
        return Source(X.shape, lambda start, stop: as_array(X[start:stop]))
    return None


def _is_iterable(X: Any) -> bool:
    """Return whether X can only be iterated, unlike arrays, sequences and mappings."""
    if isinstance(X, Dataset):
        return True
    if hasattr(X, "__array__") or hasattr(X, "shape") or isinstance(X, set):
        return False
    # Sequences, such as lists of lists, have both methods.
    return hasattr(X, "__iter__") and not hasattr(X, "__getitem__")


def _open_iterable(X: Any) -> Source:
    """Return the source of a dataset or a loader, which must have a length."""
    try:
        n_items = len(X)
    except TypeError as error:
        raise TypeError(
            f"X is an iterable without a length ({type(X).__name__}), so nothing tells whether a "
            "pass over it is complete. Give a torch DataLoader or Dataset with a length, or call "
            "partial_fit with each batch."
        ) from error
    if not isinstance(X, Dataset) or isinstance(X, IterableDataset):
        return X.as_source() if hasattr(X, "as_source") else LoaderSource(X)
    if not n_items:
        raise ValueError("X is a dataset without samples; at least two samples are needed.")
    first = rows_of(X[0], is_sample=True)

    def read(start: int, stop: int) -> Any:
        rows = [first[:0], *(rows_of(X[i], is_sample=True) for i in range(start, stop))]
        check_widths(row.shape[1] for row in rows)
        return np.concatenate(rows)

    return Source((n_items, first.shape[1]), read)


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


# --- targets --------------------------------------------------------------------------------------


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
    Source, ndarray, torch.Tensor, loader or None
        Floats of shape (n_samples, n_targets) with two targets or more, in an array, a tensor, a
        memory map or files; a loader with a method `beside`; None for anything else.

    Raises
    ------
    TypeError
        If y is another iterable, such as a dataset, whose rows cannot be put beside those of X.
    """
    if _paths_of(y):
        return open_samples(y)
    if hasattr(y, "beside"):
        return y
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
    return open_samples(y) if as_array(y[:1]).dtype.kind == "f" else None


def beside(X: Any, target: Any) -> Any:
    """Return samples with the columns of their target appended.

    Parameters
    ----------
    X : Source, ndarray or torch.Tensor of shape (n_samples, n_features)
        Checked samples.

    target : Source, ndarray, torch.Tensor or loader of shape (n_samples, n_targets)
        What `open_target` returned. A loader must fit the loader of the samples.

    Returns
    -------
    Source, ndarray or torch.Tensor of shape (n_samples, n_features + n_targets)
        A source if either argument is one; a tensor if the samples are.

    Raises
    ------
    ValueError
        If samples and target differ in number, or the target has NaN or infinite values.

    TypeError
        If only one of samples and target comes from a loader, or from one without `beside`.
    """
    if hasattr(target, "beside"):
        return target.beside(X.batches if isinstance(X, LoaderSource) else X)
    if not isinstance(target, Source | torch.Tensor):
        target = check_array(target, dtype=FLOATS, input_name="y")
    refuse_loader(X, "a target")
    check_consistent_length(X, target)

    def read(start: int, stop: int) -> FloatArray:
        # In the more precise type.
        return np.hstack([as_array(part[start:stop]) for part in (X, target)])

    if isinstance(X, Source) or isinstance(target, Source):
        return Source((len(X), X.shape[1] + target.shape[1]), read)
    if isinstance(X, torch.Tensor):
        return torch.hstack([X, torch.as_tensor(target, dtype=X.dtype, device=X.device)])
    return read(0, len(X))


# --- files ----------------------------------------------------------------------------------------


def _paths_of(X: Any) -> list[Path]:
    """Return the files that X names: a folder, a file, or a list of files."""
    if isinstance(X, str | os.PathLike):
        if X == "":
            raise ValueError("X is an empty string. Use '.' for the current folder.")
        paths = [Path(X)]
        if paths[0].is_dir():
            paths = sorted((p for p in paths[0].iterdir() if p.suffix in SUFFIXES), key=_by_number)
        if not paths:
            raise ValueError(f"The folder {X} has no files that end in {SUFFIXES}.")
    elif isinstance(X, list | tuple) and all(isinstance(p, str | os.PathLike) for p in X):
        paths = [Path(p) for p in X]
        if not any(path.suffix in SUFFIXES for path in paths):
            return []  # Texts, such as labels.
    else:
        return []
    if others := [path for path in paths if path.suffix not in SUFFIXES]:
        raise ValueError(
            f"Samples can only be read from files that end in {SUFFIXES}, got {others[0]}."
        )
    return paths


def _by_number(path: Path) -> tuple[list[Any], str]:
    """Return a key that sorts names by the numbers in them: "2.npy" before "10.npy"."""
    parts: list[Any] = re.split("([0-9]+)", path.name)
    parts[1::2] = map(int, parts[1::2])
    return parts, path.name


def _open_files(paths: Sequence[Path]) -> Source:
    """Open files as samples, one after the other; rows to read can cross the end of a file."""
    shards = [_open_file(path) for path in paths]
    n_features = check_widths(shape[1] for shape, _ in shards)
    ends = np.cumsum([shape[0] for shape, _ in shards]).tolist()

    def read(start: int, stop: int) -> Any:
        parts = []
        for (shape, read_shard), end in zip(shards, ends, strict=True):
            begin = end - shape[0]
            if begin < stop and start < end:
                parts.append(as_array(read_shard(max(start - begin, 0), stop - begin)))
        return np.concatenate(parts) if parts else np.empty((0, n_features))

    return Source((ends[-1], n_features), read)


def _open_file(path: Path) -> tuple[Any, Callable[[int, int], Any]]:
    """Return the shape of the samples in a file, and a function that reads a slice of them."""
    check_regular(path)
    try:
        shape, read = (_open_array if path.suffix == ".npy" else _open_tensor)(path)
        if len(shape) != 2:
            raise ValueError(f"it must hold samples of shape (n_samples, n_features), got {shape}.")
    except (ValueError, EOFError, SafetensorError) as error:
        raise ValueError(f"{path} is not a file of samples, or it is damaged: {error}") from error
    return shape, read


def _open_array(path: Path) -> tuple[Any, Callable[[int, int], Any]]:
    shape = np.load(path, mmap_mode="r").shape
    # A memory map for each slice, as the pages of one map would fill the memory.
    return shape, lambda start, stop: np.array(np.load(path, mmap_mode="r")[start:stop])


def _open_tensor(path: Path) -> tuple[Any, Callable[[int, int], Any]]:
    file: Any = safe_open(path, framework="pt")
    names = list(file.keys())
    if len(names) != 1:
        raise ValueError(f"it must hold one tensor, the samples, but holds {names}.")
    tensor = file.get_slice(names[0])
    return tuple(tensor.get_shape()), lambda start, stop: tensor[start:stop]
