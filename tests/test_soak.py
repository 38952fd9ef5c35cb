"""Many fits in one process leave no files open, and its memory stays as it is."""

import gc
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEase,
    VAEenseTransformer,
    load,
    save,
)
from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.penalties import BatchTopK

DEFAULT = VAEenseTransformer()
ESTIMATORS = (
    DEFAULT,
    VAEenseTransformer(8, model=VAEase(n_init=2, max_iter=3)),
    VAEenseTransformer(8, model=VAEase("mlp", n_init=1, max_iter=3)),
    SparseAutoencoder(16, max_iter=3),
    SparseAutoencoder(16, penalty=BatchTopK(3), max_iter=3),
    IntrinsicDimensionEstimator(DEFAULT),
)


class Use(NamedTuple):
    """Resident memory in MB and number of open files of a process."""

    memory: float
    files: int


def use():
    """Return the present use of this process; works only on Linux."""
    gc.collect()
    n_pages = int(Path("/proc/self/statm").read_text().split()[1])
    n_files = len(list(Path("/proc/self/fd").iterdir()))
    # The listing itself opens one file.
    return Use(n_pages * 4096 / 1e6, n_files - 1)


def cycle(i, X, folder):
    """Fit an estimator, save and load it, and check that the codes stay the same."""
    estimator = clone(ESTIMATORS[i % len(ESTIMATORS)]).set_params(random_state=i)
    codes = estimator.fit(X).transform(X)
    path = Path(folder) / "estimator.safetensors"
    save(estimator, path)
    np.testing.assert_array_equal(load(path).transform(X), codes)


def soak(n_cycles, X, every=1):
    """Run cycles, and return the use of the process after every `every` cycles."""
    uses = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for i in range(n_cycles):
            cycle(i, X, folder)
            if (i + 1) % every == 0:
                uses.append(use())
    return uses


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
