"""The number of torch's threads that a training uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

from skvaeense.utils._linalg import WORK_OF_A_THREAD, threads_for

# The number of threads before the first open `restored_threads` context, then one entry for each
# other open context.
_before: list[int] = []
_lock = Lock()


@contextmanager
def restored_threads() -> Iterator[int]:
    """Yield the number of torch's threads, and restore it if it was changed inside.

    Torch keeps this number for each Python thread. A new Python thread starts with the number that
    was set last, by any thread. So it can start with the number of another thread, which trains.
    The last of overlapping contexts restores the number from before the first context.
    """
    own = torch.get_num_threads()
    with _lock:
        _before.append(own)
    try:
        yield own
    finally:
        with _lock:
            first = _before[0]
            _before.pop()
            torch.set_num_threads(own if _before else first)


@contextmanager
def suited_threads(
    model: torch.nn.Module, n_samples: int, *, n_products: int = 3
) -> Iterator[None]:
    """Use no more threads inside than a model has work for.

    A matrix has three products in a step of training, and one if nothing is learned. The work of
    convolutions does not follow from their weights, so their threads are not limited.
    """
    with restored_threads() as n_threads:
        if all(parameter.ndim <= 2 for parameter in model.parameters()):
            n_weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
            wanted = max(1, n_products * n_weights * n_samples // WORK_OF_A_THREAD)
            torch.set_num_threads(min(wanted, n_threads))
        yield


@contextmanager
def threads_of_all(shape: tuple[int, ...]) -> Iterator[None]:
    """Use one thread inside, in all libraries, if samples of a shape are little work.

    This is `threads_for`, but trainings inside, and later threads, find torch as it was.
    """
    with restored_threads(), threads_for(shape[0] * shape[1] ** 2):
        yield
