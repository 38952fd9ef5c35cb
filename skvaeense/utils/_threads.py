"""Limits on the threads of BLAS and OpenMP for little work."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

# Number of multiplications that justify a thread, about a millisecond. Threads with less work wait
# for one another longer than they save, and far longer if another process uses a core.
WORK_OF_A_THREAD = 2**26

# Cached, since finding the libraries takes longer than setting a limit.
_find_pools = cache(ThreadpoolController)


def threads_for(work: int) -> AbstractContextManager[Any]:
    """Return a context with one thread if there is too little work for more.

    The limit also holds for everything that OpenMP runs in parallel, such as torch's operations. If
    several Python threads fit at once, only the first of them changes the number of BLAS threads.

    Parameters
    ----------
    work : int
        Multiplications in the largest of the products inside.

    Returns
    -------
    context manager
        The context, which restores the previous numbers of threads.
    """
    return _find_pools().limit(limits=1) if work < 2 * WORK_OF_A_THREAD else nullcontext()
