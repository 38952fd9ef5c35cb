"""Trainings at once: rounds, ends and errors, and that each is what it would be alone."""

import threading

import numpy as np
import pytest
import torch
from helpers import fit_unwarned
from joblib import cpu_count
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from skvaeense import VAEenseTransformer
from skvaeense._training._loop import LearningRate
from skvaeense._training._run import Run
from skvaeense._training._threads import advance_together, n_at_once, suited_threads
from skvaeense.networks import Linear
from skvaeense.objectives import ELBO, NoiseVariance

X = np.random.default_rng(0).standard_normal((60, 5))


@pytest.fixture
def four_threads():
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


def count(n_steps, seen=None):
    for _ in range(n_steps):
        if seen is not None:
            seen.append((threading.get_ident(), torch.get_num_threads()))
        yield


def test_rounds_until_all_have_ended():
    rounds = list(advance_together([count(1), count(3), count(0), count(2)]))
    assert rounds == [[0, 1, 3], [1, 3], [1]]


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("n_walks", "share"), [(1, 4), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_threads_are_shared(n_walks, share):
    seen = [[] for _ in range(n_walks)]
    for _ in advance_together([count(2, place) for place in seen]):
        assert torch.get_num_threads() == 4
    assert {n for place in seen for _, n in place} == {share}
    here = {thread == threading.get_ident() for place in seen for thread, _ in place}
    assert here == {n_walks == 1}
    assert torch.get_num_threads() == 4


def fail():
    yield
    raise RuntimeError("in a thread")


@pytest.mark.usefixtures("four_threads")
def test_an_error_comes_through_and_leaves_nothing_behind():
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="in a thread"):
        list(advance_together([count(9), fail()]))
    assert threading.active_count() == before
    walk = advance_together([count(9), count(9)])
    next(walk)
    assert threading.active_count() > before
    walk.close()
    assert threading.active_count() == before
    # The number that threads to come will have.
    assert seen_by_a_new_thread() == 4


def seen_by_a_new_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_walks_do_move_at_once():
    barrier = threading.Barrier(2, timeout=60)

    def meet():
        barrier.wait()
        yield

    assert list(advance_together([meet(), meet()])) == [[0, 1]]


@pytest.mark.usefixtures("four_threads")
def test_how_many_at_once():
    assert n_at_once(torch.device("cpu")) == 4
    assert n_at_once(torch.device("cuda")) == 1


def test_starts_are_the_same_alone_and_at_once():
    model = VAEenseTransformer(3, n_init=3, max_iter=5, random_state=0)
    alone = fit_unwarned(model, X).history_
    torch.set_num_threads(3)
    try:
        at_once = fit_unwarned(model, X).history_
    finally:
        torch.set_num_threads(1)
    assert list(alone) == list(at_once)
    for start in range(3):
        losses = [h["loss"][(h["start"] == start) & (h["final"] == 0)] for h in (alone, at_once)]
        assert len(losses[0]) == 2
        assert_array_equal(*losses)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(
    ("n_weights", "batch_size", "wanted"),
    [(2**16, 256, 1), (2**18, 256, 3), (2**18, 1, 1), (2**20, 256, 4), (2**20, 64, 3)],
)
def test_small_steps_use_few_threads(n_weights, batch_size, wanted):
    module = torch.nn.Linear(256, n_weights // 256)
    with suited_threads(module, batch_size):
        assert torch.get_num_threads() == wanted
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_convolutions_are_not_limited():
    with suited_threads(torch.nn.Conv2d(1, 2, 3), 1):
        assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_threads_come_back_after_an_error():
    with pytest.raises(RuntimeError), suited_threads(torch.nn.Linear(2, 2), 1):
        raise RuntimeError
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_training_uses_them():
    seen = []

    class Spy(ELBO):
        def loss(self, *args, **kwargs):
            seen.append(torch.get_num_threads())
            return super().loss(*args, **kwargs)

    module = Linear().build(5, 3, n_heads=2, generator=torch.Generator())
    run = Run(module, Spy(NoiseVariance(0.1, floor=0.1)), LearningRate(0.1), torch.Generator())
    for _ in run.epochs(torch.zeros(8, 5), n_epochs=2, batch_size=4):
        assert torch.get_num_threads() == 4
    assert seen == [1] * 4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_search_in_processes_shares_the_threads():
    def n_threads(estimator, X, y=None):
        import torch

        return torch.get_num_threads()

    model = VAEenseTransformer(2, n_init=1, max_iter=2, random_state=0)
    search = GridSearchCV(
        model, {"n_components": [2, 3]}, cv=2, scoring=n_threads, n_jobs=2, refit=False
    )
    scores = search.fit(X).cv_results_["mean_test_score"]
    assert max(scores) <= max(1, cpu_count() // 2)
