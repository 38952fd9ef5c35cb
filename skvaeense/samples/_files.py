"""Samples in files, which are read some rows at a time."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

from skvaeense.samples._rows import as_array, check_widths
from skvaeense.utils._files import check_regular

# Endings of files of samples.
SUFFIXES = (".npy", ".safetensors")
# The shape of samples, and a function that reads the rows from one position to another.
Shard: TypeAlias = tuple[tuple[int, ...], Callable[[int, int], Any]]


def paths_of(X: Any) -> list[Path]:
    """Return the files that X names: a folder, a file, or a list of files."""
    if isinstance(X, str | os.PathLike):
        if X == "":
            raise ValueError("X is an empty string. Use '.' for the current folder.")
        path = Path(X)
        if not path.is_dir():
            paths = [path]
        elif not (paths := [p for p in path.iterdir() if p.suffix in SUFFIXES]):
            raise ValueError(f"The folder {path} has no files that end in {SUFFIXES}.")
        paths.sort(key=in_natural_order)
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


def in_natural_order(path: Path) -> tuple[list[Any], str]:
    """Return a key that sorts names by the numbers in them: "2.npy" before "10.npy"."""
    parts: list[Any] = re.split("([0-9]+)", path.name)
    parts[1::2] = map(int, parts[1::2])
    return parts, path.name


def open_files(paths: Sequence[Path]) -> Shard:
    """Open files as samples, one after the other, that can be read in slices.

    Parameters
    ----------
    paths : list of Path
        Files in numpy's format, or safetensors with one tensor in each.

    Returns
    -------
    Shard
        Their shape, and a function that reads from several files if rows cross the end of one.

    Raises
    ------
    ValueError
        If a file is damaged or holds no matrix, or the files differ in their numbers of features.
    """
    shards = [open_file(path) for path in paths]
    n_features = check_widths(shape[1] for shape, _ in shards)
    ends = np.cumsum([shape[0] for shape, _ in shards]).tolist()

    def read(start: int, stop: int) -> Any:
        parts = []
        for (shape, read_shard), end in zip(shards, ends, strict=True):
            begin = end - shape[0]
            if begin < stop and start < end:
                parts.append(as_array(read_shard(max(start - begin, 0), stop - begin)))
        return np.concatenate(parts) if parts else np.empty((0, n_features))

    return (ends[-1], n_features), read


def open_file(path: Path) -> Shard:
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
