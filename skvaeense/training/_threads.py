"""How many of torch's threads a training uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

from skvaeense.utils._threads import WORK_OF_A_THREAD, threads_for

# How many trainings have changed the number of threads, and what it was before the first of them.
_lock = Lock()
_n_inside, _n_outside = 0, 1


@contextmanager
def restored_threads() -> Iterator[int]:
    """Yield the number of torch's threads, which may be changed inside, and is given back.

    Torch has one number for each thread, and threads to come take the one that was set last, in
    whichever thread. So a thread may begin with the number of another that trains; the last of
    those that overlap gives back what there was before the first.
    """
    global _n_inside, _n_outside
    own = torch.get_num_threads()
    with _lock:
        if _n_inside == 0:
            _n_outside = own
        _n_inside += 1
    try:
        yield own
    finally:
        with _lock:
            _n_inside -= 1
            torch.set_num_threads(own if _n_inside else _n_outside)


@contextmanager
def suited_threads(
    model: torch.nn.Module, n_samples: int, *, n_products: int = 3
) -> Iterator[None]:
    """Use no more threads inside than a model has work for.

    A matrix has three products in a step of training, and one where nothing is learned. What
    convolutions do is not known from their weights, and they are not limited.
    """
    with restored_threads() as n_threads:
        if all(parameter.ndim <= 2 for parameter in model.parameters()):
            n_weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
            wanted = max(1, n_products * n_weights * n_samples // WORK_OF_A_THREAD)
            torch.set_num_threads(min(wanted, n_threads))
        yield


@contextmanager
def threads_of_all(shape: tuple[int, ...]) -> Iterator[None]:
    """Use one thread inside, in all libraries, where samples of a shape are little work.

    As `threads_for` does; but trainings inside, and threads to come, find torch as it was.
    """
    with restored_threads(), threads_for(shape[0] * shape[1] ** 2):
        yield
