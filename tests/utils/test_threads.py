"""Small samples use one thread of BLAS and OpenMP, and the number of threads is restored."""

import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer, _vaeense
from skvaeense.mixture import MixtureDensity, SubspaceMixture, _density
from skvaeense.utils._linalg import WORK_OF_A_THREAD, threads_for

CONTROLLER = ThreadpoolController()


def n_threads():
    """Return the largest number of threads among all pools."""
    return max(pool["num_threads"] for pool in CONTROLLER.info())


@pytest.fixture(autouse=True)
def _three_threads():
    with threadpool_limits(3):
        yield


def test_little_work_has_one_thread():
    with threads_for(WORK_OF_A_THREAD):
        assert n_threads() == 1
        with threads_for(1):
            assert n_threads() == 1
        assert n_threads() == 1
    assert n_threads() == 3


def test_much_work_has_all_of_them():
    with threads_for(2 * WORK_OF_A_THREAD):
        assert n_threads() == 3


def test_threads_come_back_after_an_error():
    with pytest.raises(RuntimeError), threads_for(1):
        raise RuntimeError
    assert n_threads() == 3


def test_threads_that_overlap_leave_what_there_was():
    inside, leave = threading.Barrier(2, timeout=60), threading.Event()

    def work():
        with threads_for(1):
            inside.wait()
            leave.wait(60)

    other = threading.Thread(target=work)
    with threads_for(1):
        other.start()
        inside.wait()
    leave.set()
    other.join()
    assert n_threads() == 3


def test_fits_of_small_tables_use_one(monkeypatch):
    seen, explain = [], _vaeense.explain

    def spy(*args, **kwargs):
        seen.append(n_threads())
        return explain(*args, **kwargs)

    monkeypatch.setattr(_vaeense, "explain", spy)
    X = np.random.default_rng(0).standard_normal((80, 5)) * np.arange(1, 6)
    IntrinsicDimensionEstimator(VAEenseTransformer(random_state=0)).fit(X)
    assert set(seen) == {1}
    assert n_threads() == 3


def test_mixtures_of_small_samples_use_one_thread(monkeypatch):
    """With more threads, a fit to few rows takes many times as long on a busy machine."""
    seen = []
    for owner, name in ((MixtureDensity, "log_joint_along"), (_density, "log_known")):
        method = getattr(owner, name)

        def spy(density, *args, method=method):
            seen.append(n_threads())
            return method(density, *args)

        monkeypatch.setattr(owner, name, spy)
    X = np.random.default_rng(0).standard_normal((60, 4))
    X[:10, 0] = np.nan
    mixture = SubspaceMixture(2, random_state=0).fit(X)
    n_in_fit = len(seen)
    mixture.score_samples(X)
    mixture.impute(X)
    assert len(seen) > n_in_fit > 0
    assert set(seen) == {1}
    assert n_threads() == 3
