"""Tiles of a matrix: some rows at a time."""

from collections.abc import Iterator

import torch

# Entries of a tile on a CPU: some tiles in single precision fit in the cache of a core.
TILE = 2**17


def tiles(tensor: torch.Tensor) -> Iterator[slice]:
    """Yield slices of rows; all rows at once where memory is not a CPU's."""
    n_rows = max(1, TILE // tensor.shape[1]) if tensor.device.type == "cpu" else len(tensor)
    for start in range(0, len(tensor), n_rows):
        yield slice(start, start + n_rows)
