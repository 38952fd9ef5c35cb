"""The forms that a user's samples can have, and sources: samples that are not in memory.

A source has a shape, and reads rows on demand. A new kind of store needs a `SlicedSource` that
reads it, made in `_as_source`.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, get_tags
from sklearn.utils.validation import validate_data
from torch.utils.data import Dataset

from skvaeense.utils._processes import SINGLE_PROCESS, Processes
from skvaeense.utils._rows import block_rows
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
        return checked(self.read(start, stop))

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
    widths = {shape[1] for shape, _ in shards}
    if len(widths) > 1:
        raise ValueError(f"All shards must have the same number of features, got {sorted(widths)}.")
    ends, n_features = np.cumsum([shape[0] for shape, _ in shards]).tolist(), widths.pop()

    def read(start: int, stop: int) -> Any:
        parts = []
        for (shape, read_shard), end in zip(shards, ends, strict=True):
            begin = end - shape[0]
            if begin < stop and start < end:
                parts.append(as_array(read_shard(max(start - begin, 0), stop - begin)))
        return np.concatenate(parts) if parts else np.empty((0, n_features))

    return SlicedSource((ends[-1], n_features), read)


def open_shard(path: Path) -> Shard:
    """Open a file as samples that can be read in slices, without reading it."""
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
        rows = [as_array(first_of(dataset[i])) for i in range(start, stop)]
        return np.stack(rows) if rows else np.empty((0, n_features))

    n_features = len(as_array(first_of(dataset[0])))
    return SlicedSource((len(dataset), n_features), read)


class StreamSource:
    """A stream of batches of samples, or of single samples.

    Samples have the order of the stream, and their number is known after one full pass.

    Parameters
    ----------
    batches : iterable
        Like a torch DataLoader: it yields arrays or tensors of shape (n_samples, n_features) or
        (n_features,), or tuples that begin with one, and can be iterated again.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches
        self.n_samples: int | None = None
        first = next((as_rows(item) for item in batches), None)
        if first is None:
            raise ValueError("X is an iterable without batches; at least two samples are needed.")
        self.row_shape = first.shape[1:]
        self.n_features: int = first.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (n_samples, n_features)."""
        if self.n_samples is None:
            self.n_samples = sum(len(rows) for rows in self._arrays())
        return self.n_samples, self.n_features

    def __len__(self) -> int:
        return self.shape[0]

    def _arrays(self) -> Iterator[FloatArray]:
        for item in self.batches:
            rows = as_rows(item)
            if rows.shape[1:] != self.row_shape:
                raise ValueError(
                    f"All batches must have the shape (n_samples, {self.n_features}) of the first "
                    f"batch, got {rows.shape}."
                )
            yield rows

    def head(self, n_rows: int) -> FloatArray:
        """Return the first rows."""
        parts: list[FloatArray] = []
        for rows in self._arrays():
            parts.append(rows)
            if sum(map(len, parts)) >= n_rows:
                break
        return checked(np.concatenate(parts)[:n_rows])

    def blocks(
        self,
        random_state: np.random.RandomState | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Iterator[Block]:
        """Yield all rows, in the order of the stream; every process goes through all of it."""
        start = 0
        for i, parts in enumerate(self._gathered()):
            if i % processes.world_size == processes.rank:
                yield start, checked(np.concatenate(parts))
            start += sum(map(len, parts))
        self.n_samples = start

    def _gathered(self) -> Iterator[list[FloatArray]]:
        """Yield lists of arrays of the stream, each large enough for a block."""
        waiting: list[FloatArray] = []
        n_rows, n_wanted = 0, block_rows(self.n_features)
        for rows in self._arrays():
            waiting.append(rows)
            # A running count is fast even if a stream yields single rows.
            n_rows += len(rows)
            if n_rows >= n_wanted:
                yield waiting
                waiting, n_rows = [], 0
        if waiting:
            yield waiting

    def draw(self, n_rows: int, random_state: np.random.RandomState) -> IntArray:
        """Return positions of random rows, sorted."""
        return np.sort(random_state.choice(len(self), n_rows, replace=False))

    def take(self, positions: IntArray) -> FloatArray:
        """Return the rows at sorted positions."""
        taken = [
            rows[positions[(positions >= start) & (positions < start + len(rows))] - start]
            for start, rows in self.blocks()
        ]
        return np.concatenate(taken)


# Samples of shape (n_samples, n_features), read some rows at a time.
Source: TypeAlias = SlicedSource | StreamSource


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

    Scikit-learn passes y to every step of a pipeline, including labels and targets of other steps.
    A transformer ignores these: whole numbers, texts, and one number for each sample.

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
        target = check_array(target, dtype=FLOATS, input_name="y")
    if isinstance(X, StreamSource) and isinstance(target, StreamSource):
        # Streams from one place can have a method that joins them.
        together = getattr(X.batches, "beside", lambda batches: None)(target.batches)
        return StreamSource(_Together(X, target) if together is None else together)
    if isinstance(X, StreamSource) or isinstance(target, StreamSource):
        raise ValueError(
            f"Samples in a {type(X).__name__} cannot be read together with a target in a "
            f"{type(target).__name__}; give both in the same form."
        )
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
    if isinstance(X, Dataset) and hasattr(X, "__len__"):
        return dataset_source(X)
    is_array = isinstance(X, np.memmap) or _is_array_elsewhere(X)
    if is_array and len(X.shape) == 2 and X.shape[0] > 0:
        return SlicedSource(X.shape, lambda start, stop: np.asarray(X[start:stop]))
    if _is_stream(X):
        return StreamSource(X)
    return None


def _is_array_elsewhere(X: Any) -> bool:
    """Return whether X behaves like an array, but not one that scikit-learn accepts directly."""
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


def digest(source: Source) -> str:
    """Return a hash of all rows in their order, which identifies the samples."""
    found = hashlib.sha256()
    for _, rows in source.blocks():
        found.update(f"{rows.dtype} {rows.shape[1]}".encode())
        found.update(np.ascontiguousarray(rows).data)
    return found.hexdigest()


class _Together:
    """Two streams whose batches have the same rows, side by side."""

    def __init__(self, first: StreamSource, second: StreamSource) -> None:
        self.first = first
        self.second = second

    def __iter__(self) -> Iterator[FloatArray]:
        for x, y in zip_longest(self.first._arrays(), self.second._arrays()):
            if x is None or y is None or len(x) != len(y):
                sizes = [0 if rows is None else len(rows) for rows in (x, y)]
                raise ValueError(
                    f"A batch of samples has {sizes[0]} rows, but its target has {sizes[1]}. Both "
                    "streams must have the same rows."
                )
            yield side_by_side(x, y)


def side_by_side(X: Any, Y: Any) -> FloatArray:
    """Return the columns of two arrays or tensors in one array, in the more precise type."""
    return np.concatenate([as_array(X), as_array(Y)], axis=1)


def as_rows(item: Any) -> FloatArray:
    """Return an item of a stream as an array of samples."""
    return np.atleast_2d(as_array(first_of(item)))


def first_of(item: Any) -> Any:
    """Return the samples in an item of a dataset, without labels or other extras."""
    return item[0] if isinstance(item, tuple | list) else item


def as_array(rows: Any) -> Any:
    """Return rows as a dense numpy array; bfloat16, which numpy lacks, becomes float32."""
    if isinstance(rows, torch.Tensor):
        rows = rows.detach().cpu()
        return (rows.float() if rows.dtype is torch.bfloat16 else rows).numpy()
    return rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


def tensor_as_array(X: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    return as_array(X) if isinstance(X, torch.Tensor) else X


def checked_tensor(rows: torch.Tensor) -> torch.Tensor:
    """Return a tensor without its graph, in single or double precision and with finite entries."""
    rows = rows.detach()
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
        X,
        accept_sparse="csr" if tags.sparse else False,
        dtype=FLOATS,
        ensure_all_finite="allow-nan" if allows_nan else True,
        ensure_min_samples=least,
        reset=reset,
    )
