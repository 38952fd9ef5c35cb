"""How many threads BLAS and OpenMP have where there is little work."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

# Multiplications that a thread is worth, about a millisecond of them. Threads that share less wait
# for one another more than they gain, and where another process has a core, far more.
WORK_OF_A_THREAD = 2**26


def threads_for(work: int) -> AbstractContextManager[Any]:
    """Return a context with one thread if there is too little work for more.

    That holds for all that runs in parallel by OpenMP too, as torch's operations do. Where several
    threads fit at once, only the first of them changes what BLAS has.

    Parameters
    ----------
    work : int
        Multiplications in the largest of the products inside.

    Returns
    -------
    context manager
        It gives back what there was.
    """
    return _pools().limit(limits=1) if work < 2 * WORK_OF_A_THREAD else nullcontext()


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
