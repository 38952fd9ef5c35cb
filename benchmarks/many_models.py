"""Time of a search of 12 candidates, in one process and with two workers of joblib's backends.

    python -m benchmarks many_models [--rounds 5]

Each round runs the search once on each backend, in turn, so that other load of the machine affects
all backends alike. Every process computes with one thread. The results are

* `first`: seconds of the first search, which starts the workers, also of dask and ray;
* `seconds`: seconds of the later searches, with their `median`;
* `ratio`: the median ratio to the seconds of one process in the same round;
* `bytes`: pickled sizes of a candidate, of a fitted model, and of the samples.

A backend that is not installed is left out.
"""

import os
import pickle
import statistics
import time
import warnings
from contextlib import contextmanager
from importlib.util import find_spec

# Workers that start later inherit these variables. By default, ray's workers have low priority.
os.environ.update({"PYTHONWARNINGS": "ignore", "RAY_worker_niceness": "0"})

import numpy as np
import torch
from joblib import parallel_config
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from benchmarks.common import RESULTS, make_parser, save
from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.nets.penalties import TopK

N_SAMPLES, N_FEATURES, N_WORKERS = 4000, 32, 2
SAE = SparseAutoencoder(penalty=TopK(2), max_iter=2, random_state=0)
GRID = {"penalty__k": [1, 2, 3, 4], "n_components": [32, 48, 64]}


@contextmanager
def one_process():
    """Run one fit after the other."""
    with parallel_config("sequential"):
        yield


@contextmanager
def loky():
    """Run on local processes, which joblib keeps for the next search."""
    with parallel_config("loky", n_jobs=N_WORKERS):
        yield


@contextmanager
def dask():
    """Run on a local cluster of dask, which is kept for the next search."""
    from distributed import Client, LocalCluster, default_client

    try:
        default_client()
    except ValueError:
        options = {"threads_per_worker": 1, "dashboard_address": ":0"}
        Client(LocalCluster(n_workers=N_WORKERS, **options))
    with parallel_config("dask", wait_for_workers_timeout=60):
        yield


@contextmanager
def ray():
    """Run on ray, which is kept for the next search; the pool of workers is not kept."""
    import ray
    from ray.util.joblib import register_ray

    if not ray.is_initialized():
        ray.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False)
        register_ray()
    with parallel_config("ray", n_jobs=N_WORKERS):
        yield


BACKENDS = {
    "one process": (one_process, None),
    "loky": (loky, None),
    "dask": (dask, "distributed"),
    "ray": (ray, "ray"),
}


def timed_search(backend, X):
    """Return the seconds of a search, and the mean score of each candidate."""
    search = GridSearchCV(clone(SAE), GRID, cv=2, refit=False)
    begin = time.perf_counter()
    with backend():
        search.fit(X)
    return time.perf_counter() - begin, search.cv_results_["mean_test_score"]


def pickled_bytes(X):
    """Return the sizes of the objects sent to workers and back."""
    candidate = clone(SAE).set_params(n_components=max(GRID["n_components"]))
    sizes = {"candidate": len(pickle.dumps(candidate))}
    fitted = candidate.fit(X)
    weights = sum(p.numel() * p.element_size() for p in fitted.module_.parameters())
    return sizes | {
        "fitted": len(pickle.dumps(fitted)),
        "its weights": weights,
        "samples": len(pickle.dumps(X)),
    }


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X, *_ = make_sparse_dictionary(
        N_SAMPLES, n_atoms=48, n_active=3, n_features=N_FEATURES, random_state=0
    )
    backends = {
        name: backend
        for name, (backend, package) in BACKENDS.items()
        if package is None or find_spec(package)
    }
    seconds, scores = {name: [] for name in backends}, {}
    for _ in range(arguments.rounds + 1):
        for name, backend in backends.items():
            taken, scores[name] = timed_search(backend, X)
            seconds[name].append(taken)
            print(f"{name}: {taken:.1f} s", flush=True)
    alone = seconds["one process"][1:]
    result = {
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[1]},
        "n_samples": N_SAMPLES,
        "n_features": N_FEATURES,
        "bytes": pickled_bytes(X),
        "backends": {
            name: {
                "first": taken[0],
                "seconds": taken[1:],
                "median": statistics.median(taken[1:]),
                "ratio": statistics.median(
                    [own / other for own, other in zip(taken[1:], alone, strict=True)]
                ),
                "largest difference of scores": float(
                    np.max(np.abs(scores[name] - scores["one process"]))
                ),
            }
            for name, taken in seconds.items()
        },
    }
    save(RESULTS / "many_models.json", "12 candidates, 2 folds", result)
