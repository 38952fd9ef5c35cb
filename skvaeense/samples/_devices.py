"""The device and the precision of computations."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def resolve_device(device: str) -> torch.device:
    """Return the torch device; "auto" is CUDA if torch finds a CUDA device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto' or a torch device, got {device!r}.") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}, but torch finds no CUDA device; use device='auto'.")
    if resolved.type != "cpu":
        check_computes(resolved)
    return resolved


@cache
def check_computes(device: torch.device) -> None:
    """Raise an error unless a tensor can be moved to a device and back."""
    try:
        torch.ones(1, device=device).cpu()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device='{device}' cannot be used here; use device='auto'. torch reports: {reason}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a RuntimeError of torch says that the CPU or a GPU is out of memory."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def memory_errors(batch_size: int) -> Iterator[None]:
    """Raise a MemoryError that names the cure if a training step runs out of memory."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"A training step with {batch_size} samples needs more memory than is available. Lower "
            "batch_size, n_components or the width of the network."
        ) from error
