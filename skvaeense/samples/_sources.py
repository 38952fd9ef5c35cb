"""The forms that a user's samples can have, and sources: samples that are not in memory.

A source has a shape, and reads rows on demand. A new kind of store needs a `SlicedSource` that
reads it, made in `_as_source`.
"""

import hashlib
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, get_tags
from sklearn.utils.validation import validate_data
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skvaeense.utils._arrays import dense, plain
from skvaeense.utils._files import check_regular
from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import MANY_ROWS, block_rows
from skvaeense.utils._typing import FloatArray, IntArray

FLOATS = (np.float64, np.float32)
# Length of the runs of rows that replace random single rows: stores are slow at single rows.
RUN = 64
# Samples with at most this number of bytes are read into memory at once, as an array. Of larger
# samples, at most this number of bytes, or one batch, is kept in memory.
IN_MEMORY = 2**28
# Endings of files of samples.
SUFFIXES = (".npy", ".safetensors")
# The shape of samples, and a function that reads the rows from one position to another.
Shard: TypeAlias = tuple[tuple[int, ...], Callable[[int, int], Any]]
# The position of the first row, and the rows.
Block: TypeAlias = tuple[int, FloatArray]


class SlicedSource:
    """Samples from which any slice can be read.

    Parameters
    ----------
    shape : tuple of int
        (n_samples, n_features).

    read : callable
        Maps the positions of the first row and of the row after the last one to these rows, as an
        array or a tensor.
    """

    def __init__(self, shape: Sequence[int], read: Callable[[int, int], Any]) -> None:
        self.shape = int(shape[0]), int(shape[1])
        self.read = read

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the rows."""
        return self[:1].dtype

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
        starts = random_state.permutation(-(-len(self) // RUN))[: -(-n_rows // RUN)] * RUN
        positions = (np.sort(starts)[:, None] + np.arange(RUN)).ravel()
        return positions[positions < len(self)][:n_rows]

    def take(self, positions: IntArray) -> FloatArray:
        """Return the rows at sorted positions."""
        gaps = np.flatnonzero(np.diff(positions) != 1) + 1
        runs = np.split(positions, gaps)
        return np.concatenate([self[int(run[0]) : int(run[-1]) + 1] for run in runs])


def sharded_source(paths: Sequence[Path]) -> SlicedSource:
    """Return the source of files of samples, one after the other.

    Parameters
    ----------
    paths : list of Path
        Files in numpy's format, or safetensors with one tensor in each.

    Returns
    -------
    SlicedSource
        A source that reads from several files if rows cross the end of one.

    Raises
    ------
    ValueError
        If the files differ in their numbers of features.
    """
    shards = [open_shard(path) for path in paths]
    n_features = check_widths(shape[1] for shape, _ in shards)
    ends = np.cumsum([shape[0] for shape, _ in shards]).tolist()

    def read(start: int, stop: int) -> Any:
        parts = []
        for (shape, read_shard), end in zip(shards, ends, strict=True):
            begin = end - shape[0]
            if begin < stop and start < end:
                parts.append(as_array(read_shard(max(start - begin, 0), stop - begin)))
        return np.concatenate(parts) if parts else np.empty((0, n_features))

    return SlicedSource((ends[-1], n_features), read)


def check_widths(widths: Iterable[int]) -> int:
    """Return the number of features of all parts; raise an error if they differ."""
    different = sorted(set(widths))
    if len(different) > 1:
        raise ValueError(f"All parts of X must have the same number of features, got {different}.")
    return different[0]


def open_shard(path: Path) -> Shard:
    """Open a file as samples that can be read in slices, without reading it."""
    check_regular(path)
    shape, read = (_open_tensor if path.suffix == ".safetensors" else _open_array)(path)
    if len(shape) != 2:
        raise ValueError(f"{path} must hold samples of shape (n_samples, n_features), got {shape}.")
    return shape, read


def _open_array(path: Path) -> Shard:
    """Open a file in numpy's format."""

    def mapped() -> Any:
        return np.load(path, mmap_mode="r")

    try:
        shape = mapped().shape
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array in NumPy's format, or it is damaged.") from error
    # A memory map for each slice, as the pages of one map would fill the memory.
    return shape, lambda start, stop: np.array(mapped()[start:stop])


def _open_tensor(path: Path) -> Shard:
    """Open a safetensors file, which holds one tensor."""
    try:
        file: Any = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or it is damaged: {error}") from error
    names = list(file.keys())
    if len(names) != 1:
        raise ValueError(f"{path} must hold one tensor, the samples, but holds {names}.")
    tensor = file.get_slice(names[0])
    return tuple(tensor.get_shape()), lambda start, stop: tensor[start:stop]


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


class LoaderSource:
    """Samples from a loader, which yields batches of them in every pass.

    Samples have the order of the loader. A first pass counts them, and keeps the first rows and
    some random rows in memory.

    Parameters
    ----------
    batches : iterable with a length
        Like a torch DataLoader: it yields arrays or tensors of shape (n_samples, n_features) or
        (n_features,), or tuples that begin with one. Its length is the number of batches.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        random_state, widths, start, n_kept = np.random.RandomState(0), [], 0, MANY_ROWS
        kept: list[tuple[Any, ...]] = []
        highest = 1.0
        for part in map(rows_of, self.batches):
            widths.append(part.shape[1])
            check_widths(widths[-2:])
            if len(widths) == 1:
                self._first = np.array(part[:RUN])
                n_kept = max(2 * RUN, min(MANY_ROWS, IN_MEMORY // max(part[:1].nbytes, 1)))
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

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the rows."""
        return self.head(1).dtype

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


def _lowest(parts: list[tuple[Any, ...]], n_rows: int) -> tuple[Any, ...]:
    """Return the rows with the lowest keys, in order: their keys, positions and values."""
    keys, positions, rows = (np.concatenate(own) for own in zip(*parts, strict=True))
    chosen = np.sort(np.argsort(keys)[:n_rows])
    return keys[chosen], positions[chosen], rows[chosen]


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


# Samples of shape (n_samples, n_features), read some rows at a time.
Source: TypeAlias = SlicedSource | LoaderSource


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
    if _paths(y):
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
        target = check_array(plain(target, "y"), dtype=FLOATS, input_name="y")
    refuse_loader(X, "a target")
    check_consistent_length(X, target)
    if isinstance(X, Source) or isinstance(target, Source):

        def read(start: int, stop: int) -> FloatArray:
            return side_by_side(X[start:stop], target[start:stop])

        return SlicedSource((len(X), X.shape[1] + target.shape[1]), read)
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
    known = isinstance(X, np.ndarray | np.generic | torch.Tensor) or sparse.issparse(X)
    needed = ("shape", "dtype", "__getitem__")
    return not known and all(hasattr(X, name) for name in needed) and not hasattr(X, "iloc")


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


def described_rows(X: Source, rows: list[int]) -> str:
    """Return what a loader says about some of its rows, such as their positions in texts."""
    batches: Any = getattr(X, "batches", None)
    return str(batches.described(rows)) if hasattr(batches, "described") else ""


def refuse_loader(X: Any, what: str) -> None:
    """Raise an error if X is a loader, whose rows cannot be read by their positions."""
    if isinstance(X, LoaderSource):
        raise TypeError(
            f"X is a loader, whose rows have no fixed positions, so it cannot have {what}. Give X "
            "as a dataset, a memory map or files, or pass each batch separately."
        )


def _paths(X: Any) -> list[Path]:
    """Return the files that X names: a folder, a file, or a list of files."""
    if isinstance(X, str | os.PathLike):
        if X == "":
            raise ValueError("X is an empty string. Use '.' for the current folder.")
        path = Path(X)
        if not path.is_dir():
            paths = [path]
        elif not (paths := [p for p in path.iterdir() if p.suffix in SUFFIXES]):
            raise ValueError(f"The folder {path} has no files that end in {SUFFIXES}.")
        paths.sort(key=_in_natural_order)
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


def _in_natural_order(path: Path) -> tuple[list[Any], str]:
    """Return a key that sorts names by the numbers in them: "2.npy" before "10.npy"."""
    parts: list[Any] = re.split("([0-9]+)", path.name)
    parts[1::2] = map(int, parts[1::2])
    return parts, path.name


def digest(source: Source) -> str:
    """Return a hash of all rows in their order, which identifies the samples."""
    found = hashlib.sha256()
    for _, rows in source.blocks():
        found.update(f"{rows.dtype} {rows.shape[1]}".encode())
        found.update(np.ascontiguousarray(rows).data)
    return found.hexdigest()


def side_by_side(X: Any, Y: Any) -> FloatArray:
    """Return the columns of two arrays or tensors in one array, in the more precise type."""
    return np.concatenate([as_array(X), as_array(Y)], axis=1)


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
        shapes = [getattr(part, "shape", ()) for part in item[:2]]
        are_rows = isinstance(found, tuple | list) or (
            len(shapes[0]) == 1 and shapes[1:] == shapes[:1]
        )
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


def as_array(rows: Any) -> Any:
    """Return rows as a dense numpy array, with NaN for masked entries.

    bfloat16 and floats of 8 bits, which numpy lacks, become float32.
    """
    # Dask would lose masks.
    rows = plain(rows.compute() if hasattr(rows, "compute") else rows, takes_missing=True)
    if isinstance(rows, torch.Tensor):
        rows = rows.cpu()
        is_short = rows.is_floating_point() and rows.dtype.itemsize < 2
        return (rows.float() if is_short or rows.dtype is torch.bfloat16 else rows).numpy()
    return dense(rows)


def tensor_as_array(X: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    return as_array(X) if isinstance(X, torch.Tensor) else X


def checked_tensor(rows: torch.Tensor) -> torch.Tensor:
    """Return a tensor without its graph, in single or double precision and with finite entries."""
    rows = plain(rows)
    if rows.layout is not torch.strided:
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.to_dense()' to "
            "convert to a dense tensor."
        )
    if rows.ndim != 2 or rows.is_complex():
        check_array(as_array(rows), input_name="X")  # This raises the error.
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    elif rows.dtype not in (torch.float32, torch.float64):
        rows = rows.double()
    if not rows.isfinite().all():
        assert_all_finite(as_array(rows), input_name="X")
    return rows


def checked(rows: Any) -> FloatArray:
    """Return rows in single or double precision, as scikit-learn accepts arrays."""
    return check_array(
        as_array(rows),
        dtype=FLOATS,
        allow_nd=True,
        ensure_min_samples=0,
        input_name="X",
    )


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
        plain(X, takes_missing=allows_nan),
        accept_sparse="csr" if tags.sparse else False,
        dtype=FLOATS,
        ensure_all_finite="allow-nan" if allows_nan else True,
        ensure_min_samples=least,
        reset=reset,
    )
