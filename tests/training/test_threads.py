"""Trainings use no more threads than they need, and restore the number of threads."""

import re
import threading

import pytest
import torch
from helpers import PAIRS

from skvaeense import VAEenseTransformer
from skvaeense.explanations import Gates
from skvaeense.samples._scaling import TensorBatches
from skvaeense.training._trainer import Plan
from skvaeense.utils._torch import suited_threads, threads_of_all


@pytest.fixture(autouse=True)
def four_threads():
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("n_weights", "batch_size", "wanted"),
    [
        (2**16, 256, 1),
        (2**18, 256, 3),
        (2**18, 1, 1),
        (2**20, 256, 4),
        (2**20, 64, 3),
    ],
)
def test_small_steps_use_few_threads(n_weights, batch_size, wanted):
    module = torch.nn.Linear(256, n_weights // 256)
    with suited_threads(module, batch_size):
        assert torch.get_num_threads() == wanted
    assert torch.get_num_threads() == 4


def test_convolutions_are_not_limited():
    with suited_threads(torch.nn.Conv2d(1, 2, 3), 1):
        assert torch.get_num_threads() == 4


def test_threads_come_back_after_an_error():
    with pytest.raises(RuntimeError), suited_threads(torch.nn.Linear(2, 2), 1):
        raise RuntimeError
    assert torch.get_num_threads() == 4


def test_trainings_that_overlap_give_back_what_there_was():
    """New threads get the number that was set last, by any thread."""
    inside, leave = threading.Barrier(2, timeout=60), threading.Event()

    def train():
        with suited_threads(torch.nn.Linear(2, 2), 1):
            inside.wait()
            leave.wait(60)

    other = threading.Thread(target=train)
    other.start()
    inside.wait()
    with suited_threads(torch.nn.Linear(2, 2), 1):
        leave.set()
        other.join()
    seen = []
    new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert seen == [4]


def test_the_trainer_uses_few_threads(make_point, make_trainer):
    seen = []

    class Spy(make_point):
        def renormalize(self):
            seen.append(torch.get_num_threads())

    trainer, x = make_trainer(Spy()), torch.zeros(8, 2, dtype=torch.float64)
    trainer.fit(TensorBatches(x), Plan(2, 4), on_record=trainer.model.renormalize)
    assert seen == [1, 1, 4] * 2


def test_small_samples_are_fitted_and_coded_by_one_thread(monkeypatch):
    """With more threads, waiting has taken ten times as long as all the rest."""
    seen, infer = [], Gates.infer

    def spy(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return infer(*args, **kwargs)

    monkeypatch.setattr(Gates, "infer", spy)
    X = PAIRS.train
    model = VAEenseTransformer(random_state=0).fit(X)
    assert model.density_ is model.coder_
    n_in_fit = len(seen)
    methods = "transform", "posterior", "active_dimensions", "elbo_samples", "score_samples"
    for name in (*methods, "partial_fit"):
        n_before = len(seen)
        getattr(model, name)(X)
        assert len(seen) > n_before, name
    assert n_in_fit > 10
    assert set(seen) == {1}
    assert torch.get_num_threads() == 4


def test_little_work_takes_one_thread_of_each_library():
    """Products of torch ask a library of their own, which only torch's number reaches."""
    torch.set_num_threads(4)
    with threads_of_all((1000, 50)):
        numbers = re.findall(r"get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
        assert set(numbers) == {"1"}
    numbers = re.findall(r"get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())
    assert set(numbers) == {"4"}
