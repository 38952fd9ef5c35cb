"""Files of samples, from which any rows can be read."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from skvaeense.utils._typing import FloatArray

SUFFIXES = (".npy", ".safetensors")


def open_shard(path: Path) -> Any:
    """Open a file as samples with a shape and slices, without reading it."""
    shard: Any = TensorShard(path) if path.suffix == ".safetensors" else ArrayShard(path)
    if len(shard.shape) != 2:
        raise ValueError(
            f"{path} must hold samples of shape (n_samples, n_features), got {shard.shape}."
        )
    return shard


class ArrayShard:
    """A file in numpy's format, read without a memory map, whose pages would fill the memory.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        try:
            mapped: Any = np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"{path} is not an array in NumPy's format, or it is damaged."
            ) from error
        self.path, self.shape, self.dtype = path, mapped.shape, mapped.dtype
        # In another memory order rows are not contiguous, so the map reads them.
        self.mapped = None if mapped.flags.c_contiguous else mapped
        self.offset = mapped.offset

    def __getitem__(self, rows: slice) -> FloatArray:
        if self.mapped is not None:
            return np.asarray(self.mapped[rows])
        start, stop, _ = rows.indices(self.shape[0])
        size = math.prod(self.shape[1:])
        values = np.fromfile(
            self.path,
            self.dtype,
            count=max(0, stop - start) * size,
            offset=self.offset + start * size * self.dtype.itemsize,
        )
        return values.reshape(-1, *self.shape[1:])


class TensorShard:
    """The one tensor of a safetensors file.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.file: Any = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise ValueError(
                f"{path} is not a safetensors file, or it is damaged: {error}"
            ) from error
        names = list(self.file.keys())
        if len(names) != 1:
            raise ValueError(f"{path} must hold one tensor, the samples, but holds {names}.")
        self.tensor = self.file.get_slice(names[0])
        self.shape = tuple(self.tensor.get_shape())

    def __getitem__(self, rows: slice) -> torch.Tensor:
        tensor: torch.Tensor = self.tensor[rows]
        return tensor
