"""A short version of `python -m benchmarks soak`: many fits in one process."""

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
    # A separate process has no open files of other tests.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        # After six cycles each estimator has run once, and lazy modules are loaded.
        pool.submit(soak, 6, X, 6).result()
        # Objects that exist by now stay, so later garbage collections skip them.
        pool.submit(gc.freeze).result()
        uses = pool.submit(soak, 6, X).result()
    assert {use.files for use in uses} == {uses[0].files}
    assert uses[-1].memory - uses[0].memory < 50
