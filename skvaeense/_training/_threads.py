"""What threads are used for: parts of one large operation, or several small trainings at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

# Multiplications of a step that a thread is worth, about a millisecond of them. Threads that share
# less wait for one another more than they gain, and where another process has a core, far more.
WORK_OF_A_THREAD = 2**26

_END = object()


@contextmanager
def suited_threads(module: torch.nn.Module, batch_size: int) -> Iterator[None]:
    """Use no more threads inside than the steps of a module have work for.

    A matrix has three products in a step. What convolutions do is not known from their weights, and
    they are not limited.
    """
    before = torch.get_num_threads()
    if all(parameter.ndim <= 2 for parameter in module.parameters()):
        n_weights = sum(p.numel() for p in module.parameters() if p.ndim == 2)
        wanted = max(1, 3 * n_weights * batch_size // WORK_OF_A_THREAD)
        torch.set_num_threads(min(wanted, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    n_threads = torch.get_num_threads()
    moving = dict(enumerate(walks))
    try:
        with ThreadPoolExecutor(
            len(walks),
            initializer=torch.set_num_threads,
            initargs=(max(1, n_threads // len(walks)),),
        ) as pool:
            while moving:
                ends = pool.map(lambda walk: next(walk, _END) is _END, moving.values())
                ended = dict(zip(moving, ends, strict=True))
                moving = {i: walk for i, walk in moving.items() if not ended[i]}
                if moving:
                    yield list(moving)
    finally:
        # Threads to come take the number that was set last, in whichever thread.
        torch.set_num_threads(n_threads)
