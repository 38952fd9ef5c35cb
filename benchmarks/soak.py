"""Memory and open files of a process that runs many fits.

    python -m benchmarks soak [--cycles 500]

Each cycle fits an estimator, transforms samples, saves and loads the estimator, and checks that the
loaded one returns the same codes. The estimators take turns. Then the resident memory and the
number of open files are measured, which stay constant if nothing leaks. results/soak.json has both
at every tenth of the run, with the slope of a line through the memory of the second half. The first
half is left out, since allocators and caches still fill up.
"""

import gc
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from benchmarks.common import RESULTS, make_parser, write
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


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--cycles", type=int, default=500)
    n_cycles = parser.parse_args().cycles
    X = make_linear_subspaces(400, n_features=10, random_state=0)[0]
    torch.set_num_threads(1)
    begin, every = time.perf_counter(), n_cycles // 10
    uses = soak(n_cycles, X, every)
    memory = np.array([u.memory for u in uses])
    cycles = every * np.arange(1, len(uses) + 1)
    late = cycles > n_cycles // 2
    slope = np.polyfit(cycles[late], memory[late], 1)[0]
    result = {
        "cycles": cycles.tolist(),
        "memory_mb": memory.round(1).tolist(),
        "open_files": [u.files for u in uses],
        "slope_kb_per_cycle": round(1000 * slope, 2),
        "seconds": round(time.perf_counter() - begin),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write(RESULTS / "soak.json", result)
