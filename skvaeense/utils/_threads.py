"""How many threads BLAS and OpenMP have where there is little work."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

import torch
from threadpoolctl import ThreadpoolController

# Multiplications that a thread is worth, about a millisecond of them. Threads that share less wait
# for one another more than they gain, and where another process has a core, far more.
WORK_OF_A_THREAD = 2**26

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
def threads_for(work: int) -> Iterator[None]:
    """Use one thread inside if there is too little work for more.

    That holds for all that runs in parallel by OpenMP too, as torch's operations do. Where several
    threads fit at once, only the first of them changes what BLAS has.

    Parameters
    ----------
    work : int
        Multiplications in the largest of the products inside.
    """
    if work >= 2 * WORK_OF_A_THREAD:
        yield
        return
    with restored_threads(), _pools().limit(limits=1):
        yield


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
