"""Files of samples, from which any rows can be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

SUFFIXES = (".npy", ".safetensors")
# The shape of samples, and a function that reads the rows from one position to another.
Shard: TypeAlias = tuple[tuple[int, ...], Callable[[int, int], Any]]


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
