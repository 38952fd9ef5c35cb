"""Devices, threads, precisions, seeded generators and evaluation mode of torch."""

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from threading import Lock

import numpy as np
import torch
from torch import nn

from skvaeense.utils._linalg import WORK_OF_A_THREAD, is_little, threads_for

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# The number of threads before the first open `restored_threads` context, then one entry for each
# other open context.
_before: list[int] = []
_threads_lock = Lock()
# One thread at a time may borrow torch's global generator.
_lock = Lock()


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new seeded generator; torch's global generator is left alone."""
    return torch.Generator(device=device).manual_seed(seed)


def draw_seed(random_state: np.random.RandomState) -> int:
    """Return a seed for torch, drawn from a numpy RandomState."""
    return int(random_state.randint(2**31 - 1))


def draw_seeds(random_state: np.random.RandomState) -> tuple[int, int]:
    """Return a seed for order and noise, and one for weights."""
    return draw_seed(random_state), draw_seed(random_state)


def restore_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """Let a generator continue from a state.

    Generators of different devices draw different numbers. The state of another kind of generator
    only seeds this one.
    """
    state = state.cpu()
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        generator.manual_seed(zlib.crc32(state.numpy().tobytes()))


@contextmanager
def fixed_global_generator(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator from a copy of another one, and restore it afterwards.

    Layers of torch draw their weights from the global generator.
    """
    copy = generator.clone_state()
    with _lock, torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31 - 1, (), generator=copy, device=copy.device)))
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Compute in evaluation mode without gradients, then restore the modes of all submodules."""
    training = [own for own in module.modules() if own.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for own in training:
            own.training = True


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let results of a module inside have no gradients with respect to its weights."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def resolve_device(device: str) -> torch.device:
    """Return the torch device; "auto" is CUDA if torch finds a CUDA device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return working_device(device)


@cache
def working_device(device: str) -> torch.device:
    """Return a torch device; raise an error unless a tensor can be moved to it and back."""
    try:
        resolved = torch.device(device)
        torch.ones(1, device=resolved).cpu()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device must be 'auto' or a torch device that works here, got {device!r}. torch "
            f"reports: {reason}"
        ) from error
    return resolved


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a RuntimeError of torch says that the CPU or a GPU is out of memory."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def memory_errors(n_samples: int) -> Iterator[None]:
    """Raise a MemoryError that names the cure if torch runs out of memory."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"{n_samples} samples at a time need more memory than is available. Lower batch_size, "
            "n_components or the width of the network, or give fewer samples in a call."
        ) from error


@contextmanager
def restored_threads() -> Iterator[int]:
    """Yield the number of torch's threads, and restore it if it was changed inside.

    Torch keeps this number for each Python thread. A new Python thread starts with the number that
    was set last, by any thread. So it can start with the number of another thread, which trains.
    The last of overlapping contexts restores the number from before the first context.
    """
    own = torch.get_num_threads()
    with _threads_lock:
        _before.append(own)
    try:
        yield own
    finally:
        with _threads_lock:
            first = _before[0]
            _before.pop()
            torch.set_num_threads(own if _before else first)


@contextmanager
def suited_threads(model: torch.nn.Module, n_samples: int) -> Iterator[None]:
    """Use no more threads inside than a step of training of a model has work for.

    A matrix has three products in a step. The work of convolutions does not follow from their
    weights, so their threads are not limited.
    """
    with restored_threads() as n_threads:
        if all(parameter.ndim <= 2 for parameter in model.parameters()):
            n_weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
            wanted = max(1, 3 * n_weights * n_samples // WORK_OF_A_THREAD)
            torch.set_num_threads(min(wanted, n_threads))
        yield


@contextmanager
def torch_threads_for(work: int) -> Iterator[None]:
    """Use one thread inside, in all libraries, if there is too little work for more.

    This is `threads_for` for torch too: once torch's number of threads has been set, its products
    no longer follow the number of OpenMP. Later threads find torch as it was.
    """
    with restored_threads(), threads_for(work):
        if is_little(work):
            torch.set_num_threads(1)
        yield


def threads_of_all(shape: tuple[int, ...]) -> AbstractContextManager[None]:
    """Return `torch_threads_for` the covariance of samples of a shape."""
    return torch_threads_for(shape[0] * shape[1] ** 2)
