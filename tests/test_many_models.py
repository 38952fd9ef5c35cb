"""Searches over many models, on workers of dask and ray, some of which are killed."""

import os
import pickle
import signal
import threading
import time
from copy import copy

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster
from helpers import arrays_of, fit_unwarned, with_net
from joblib import parallel_config
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import TopK

X, *_ = make_sparse_dictionary(300, n_atoms=10, n_active=2, n_features=8, random_state=0)
SAE = SparseAutoencoder(penalty=TopK(2), max_iter=3, random_state=0)
# 12 candidates, with two folds each.
SEARCH = GridSearchCV(SAE, {"penalty__k": [1, 2, 3, 4], "n_components": [4, 8, 12]}, cv=2)
# With these options ray restarts a worker that died, and repeats its task.
RESTARTED = {"max_restarts": -1, "max_task_retries": 3}


class KeepingClient(Client):
    """A client whose scheduler keeps objects that joblib sends to workers, as in cluster.rst."""

    async def scatter(self, data, **options):
        return self.submit(copy, data, pure=False)


@pytest.fixture(scope="module")
def alone():
    return fit_unwarned(clone(SEARCH), X)


@pytest.fixture(scope="module")
def dask_cluster():
    # Port 0 means any free port, since other clusters on the machine may use the default port.
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def _ray():
    """Start ray with two workers."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    # Otherwise the workers have low priority on the machine.
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    yield
    ray.shutdown()


def mortal_search(folder):
    """Return a search. Except for the first fits, its fits wait for `folder / "killed"`."""

    # The class is local, so that workers receive it and need not import this file.
    class Mortal(SparseAutoencoder):
        def fit(self, X, y=None):
            while self.n_components > 4 and not (folder / "killed").exists():
                (folder / f"{os.getpid()}.fits").touch()
                time.sleep(0.05)
            return super().fit(X)

    return clone(SEARCH).set_params(estimator=Mortal(**SAE.get_params(deep=False)))


def kill_at_work(folder, pids=()):
    """Kill `pids`, and all processes that fit, as soon as one fits; return the killing thread."""

    def kill():
        while not (fitting := {int(path.stem) for path in folder.glob("*.fits")}):
            time.sleep(0.05)
        for pid in fitting.union(pids):
            os.kill(pid, signal.SIGKILL)
        (folder / "killed").touch()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def assert_same_results(search, other):
    """Check that two searches tried the same candidates, with the same scores."""
    assert len(search.cv_results_["params"]) == 12
    assert search.cv_results_["params"] == other.cv_results_["params"]
    for fold in ("split0_test_score", "split1_test_score"):
        assert_allclose(search.cv_results_[fold], other.cv_results_[fold], rtol=1e-6)
    assert search.best_params_ == other.best_params_


@pytest.mark.slow
def test_a_search_on_dask_is_that_of_one_process(dask_cluster, alone):
    with Client(dask_cluster), parallel_config("dask", wait_for_workers_timeout=60):
        assert_same_results(fit_unwarned(clone(SEARCH), X), alone)


@pytest.mark.slow
def test_a_search_on_dask_survives_the_death_of_every_worker(dask_cluster, alone, tmp_path):
    with KeepingClient(dask_cluster) as client:
        killer = kill_at_work(tmp_path, client.run(os.getpid).values())
        with parallel_config("dask", wait_for_workers_timeout=60):
            together = fit_unwarned(mortal_search(tmp_path), X)
    killer.join(timeout=0)
    assert not killer.is_alive()
    assert_same_results(together, alone)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_search_on_ray_is_that_of_one_process(alone):
    with parallel_config("ray", n_jobs=2):
        assert_same_results(fit_unwarned(clone(SEARCH), X), alone)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_search_on_ray_survives_the_death_of_a_worker(alone, tmp_path):
    killer = kill_at_work(tmp_path)
    with parallel_config("ray", n_jobs=2, ray_remote_args=RESTARTED):
        together = fit_unwarned(mortal_search(tmp_path), X)
    killer.join(timeout=0)
    assert not killer.is_alive()
    assert_same_results(together, alone)


@pytest.mark.parametrize(
    "estimator",
    [with_net(8, network=Linear((16,)), n_init=1, max_iter=2, random_state=0), SAE],
    ids=["vaeense", "sae"],
)
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
        ),
    ],
)
def test_a_fitted_estimator_is_sent_as_little_more_than_its_arrays(estimator, device, monkeypatch):
    """What was fitted on a device is unpickled without it."""
    fitted = fit_unwarned(clone(estimator).set_params(device=device), X)
    arrays = [tensor.cpu().numpy() for tensor in fitted.module_.state_dict().values()]
    if getattr(fitted, "density_", None) is not None:
        arrays += map(np.asarray, arrays_of(fitted.density_).values())
    data = pickle.dumps(fitted)
    assert len(data) < sum(array.nbytes for array in arrays) + 10_000
    # Pickled tensors would be loaded onto their device. Arrays have none.
    assert b"_rebuild_tensor" not in data
    assert b"torch.storage" not in data
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loaded = pickle.loads(data).set_params(device="cpu")
    assert {parameter.device.type for parameter in loaded.module_.parameters()} == {"cpu"}
    expected = fitted.set_params(device="cpu").transform(X)
    assert_allclose(loaded.transform(X), expected, rtol=1e-6)
