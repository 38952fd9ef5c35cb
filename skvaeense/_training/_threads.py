"""What threads are used for: parts of one large operation, or several small trainings at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

# Multiplications of a step that a thread is worth, about a millisecond of them. Threads that share
# less wait for one another more than they gain, and where another process has a core, far more.
WORK_OF_A_THREAD = 2**26

_END = object()

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
def suited_threads(module: torch.nn.Module, batch_size: int) -> Iterator[None]:
    """Use no more threads inside than the steps of a module have work for.

    A matrix has three products in a step. What convolutions do is not known from their weights, and
    they are not limited.
    """
    with restored_threads() as n_threads:
        if all(parameter.ndim <= 2 for parameter in module.parameters()):
            n_weights = sum(p.numel() for p in module.parameters() if p.ndim == 2)
            wanted = max(1, 3 * n_weights * batch_size // WORK_OF_A_THREAD)
            torch.set_num_threads(min(wanted, n_threads))
        yield


def n_at_once(device: torch.device) -> int:
    """Return how many trainings fill the device: on a CPU as many as torch uses threads.

    The products of small matrices do not fill several threads, and nothing else in a step does.
    """
    return torch.get_num_threads() if device.type == "cpu" else 1


def advance_together(walks: Sequence[Iterator[Any]]) -> Iterator[list[int]]:
    """Advance iterators at once, one step each in a thread of its own, until all have ended.

    Torch's threads are shared evenly between them, so that what is computed depends on their number
    only. One iterator alone stays in the calling thread and has all of them.

    Parameters
    ----------
    walks : sequence of iterators
        What each yields is dropped.

    Yields
    ------
    list of int
        After each round, which iterators have moved on, in order.
    """
    if len(walks) == 1:
        for _ in walks[0]:
            yield [0]
        return
    moving = dict(enumerate(walks))
    with (
        restored_threads() as n_threads,
        ThreadPoolExecutor(
            len(walks),
            initializer=torch.set_num_threads,
            initargs=(max(1, n_threads // len(walks)),),
        ) as pool,
    ):
        while moving:
            ends = pool.map(lambda walk: next(walk, _END) is _END, moving.values())
            ended = dict(zip(moving, ends, strict=True))
            moving = {i: walk for i, walk in moving.items() if not ended[i]}
            if moving:
                yield list(moving)
