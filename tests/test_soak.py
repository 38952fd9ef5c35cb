"""Many fits in one process, in small: `python -m benchmarks soak` goes on for longer."""

import gc
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from benchmarks.soak import soak
from skvaeense.datasets import make_linear_subspaces


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_fits_and_files_leave_nothing_open():
    X = make_linear_subspaces(40, n_features=6, random_state=0)[0]
    # In a process of its own, where no file of another test is still open.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        # Each estimator has had its turn, and whatever is loaded late, after six of them.
        pool.submit(soak, 6, X, 6).result()
        # What is there by now stays, and need not be looked through for garbage after each.
        pool.submit(gc.freeze).result()
        uses = pool.submit(soak, 6, X).result()
    assert {use.files for use in uses} == {uses[0].files}
    assert uses[-1].memory - uses[0].memory < 50
