import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from skvaeense._training._devices import draw_seed, make_generator, resolve_device
from skvaeense._training._loop import LearningRate, iterate_epochs, make_optimizer
from skvaeense._training._run import Run
from skvaeense._training._stopping import Plateau
from skvaeense.objectives._base import BatchLoss, Objective


class Distance(Objective):
    """Squared distance of the batch from a weight; notes what it is called with."""

    n_heads = 1
    trade_off = 1.0

    def __init__(self):
        self.progress, self.batches = [], []

    def loss(self, module, x, *, progress, generator):
        self.progress.append(progress)
        self.batches.append(x.clone())
        error = (x - module.weight).square().sum(dim=1).mean()
        return BatchLoss(error, error.detach(), error.detach() * 0 + 2)


class Point(nn.Module):
    def __init__(self, value=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value))


X = torch.arange(20.0).reshape(10, 2)


def run_epochs(objective, module=None, seed=0, **params):
    settings = {"n_epochs": 3, "batch_size": 4, "learning_rate": LearningRate(0.1)} | params
    module = Point() if module is None else module
    return list(iterate_epochs(module, objective, X, generator=make_generator(seed), **settings))


# --- learning rate --------------------------------------------------------------------------


def test_learning_rate_rises_then_falls():
    rate = LearningRate(0.5, warmup=0.1)
    assert rate.at(0.0) == pytest.approx(0.04 * 0.5)
    assert rate.at(0.1) == pytest.approx(0.5)
    assert rate.at(0.55) == pytest.approx(0.25)
    assert rate.at(1.0) == pytest.approx(0.0, abs=1e-12)
    values = [rate.at(p / 1000) for p in range(1001)]
    assert max(values) == pytest.approx(0.5)
    assert all(a <= b for a, b in pairwise(values[:100]))
    assert all(a >= b for a, b in pairwise(values[100:]))
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.01


def test_learning_rate_falls_to_its_floor():
    rate = LearningRate(0.5, floor=0.1)
    assert rate.at(1.0) == pytest.approx(0.05)
    assert rate.at(0.1) == pytest.approx(0.5)


# --- loop -----------------------------------------------------------------------------------


def test_each_epoch_yields_its_means():
    objective = Distance()
    losses = run_epochs(objective, learning_rate=LearningRate(0.0))
    assert len(losses) == 3
    for i, loss in enumerate(losses):
        batches = objective.batches[2 * i : 2 * i + 2]
        expected = sum(float(batch.square().sum(dim=1).mean()) for batch in batches) / 2
        assert loss.error == pytest.approx(expected)
        assert loss.cost == 2
        assert loss.trade_off == 1.0


def test_batches_are_disjoint_rows_in_a_new_order():
    objective = Distance()
    run_epochs(objective)
    assert [len(batch) for batch in objective.batches] == [4] * 6
    epochs = [torch.cat(objective.batches[2 * i : 2 * i + 2])[:, 0].tolist() for i in range(3)]
    rows = set(X[:, 0].tolist())
    for epoch in epochs:
        assert len(set(epoch)) == 8
        assert set(epoch) < rows
    assert epochs[0] != epochs[1] != epochs[2]


def test_progress_goes_from_0_towards_1():
    objective = Distance()
    run_epochs(objective)
    assert objective.progress == pytest.approx([i / 6 for i in range(6)])


def test_progress_of_a_part_of_a_longer_schedule():
    objective = Distance()
    run_epochs(objective, n_epochs=1, span=(0.5, 0.7))
    run_epochs(objective, n_epochs=1, span=(1.0, 1.0))
    assert objective.progress == pytest.approx([0.5, 0.6, 1.0, 1.0])


def test_training_goes_downhill():
    module = Point()
    losses = run_epochs(Distance(), module, n_epochs=200, learning_rate=LearningRate(0.5))
    assert losses[-1].error < losses[0].error
    torch.testing.assert_close(module.weight.data, X.mean(dim=0), rtol=0, atol=1.0)


def test_a_batch_larger_than_the_samples_is_all_of_them():
    objective = Distance()
    run_epochs(objective, batch_size=1000)
    assert [len(batch) for batch in objective.batches] == [10] * 3


def test_a_seed_fixes_the_order_and_the_global_generator_is_not_touched():
    before = torch.random.get_rng_state()
    objectives = [Distance(), Distance(), Distance()]
    for objective, seed in zip(objectives, (0, 0, 1), strict=True):
        run_epochs(objective, seed=seed)
    one, two, other = (torch.cat(objective.batches) for objective in objectives)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_state_of_the_optimizer_is_kept():
    """Two halves with one optimizer are the whole."""
    schedule = {"batch_size": 10, "learning_rate": LearningRate(0.1)}
    whole, halves = Point(), Point()
    run_epochs(Distance(), whole, n_epochs=6, **schedule)
    optimizer = make_optimizer(halves)
    run_epochs(Distance(), halves, n_epochs=3, optimizer=optimizer, span=(0.0, 0.5), **schedule)
    run_epochs(Distance(), halves, n_epochs=3, optimizer=optimizer, span=(0.5, 1.0), **schedule)
    torch.testing.assert_close(halves.weight, whole.weight)


def test_layers_with_many_inputs_take_smaller_steps():
    module = torch.nn.Sequential(torch.nn.Linear(1024, 8), torch.nn.Linear(8, 4))
    factors = [group["factor"] for group in make_optimizer(module).param_groups]
    assert factors == [0.125, 1.0, 1.0, 1.0]


# --- run ------------------------------------------------------------------------------------


def make_run(value=0.0):
    return Run(Point(value), Distance(), LearningRate(0.1), make_generator(0))


def test_run_keeps_count():
    run = make_run()
    assert len(list(run.epochs(X, n_epochs=3, batch_size=4))) == 3
    assert len(list(run.epochs(X, n_epochs=1, batch_size=100))) == 1
    assert len(run.losses) == 4
    assert run.n_steps == 7
    assert run.is_finite


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_run_ends_when_the_loss_is_not_finite(value):
    run = make_run(value)
    assert len(list(run.epochs(X, n_epochs=5, batch_size=4))) == 1
    assert not run.is_finite


# --- stopping -------------------------------------------------------------------------------


def test_plateau_waits():
    plateau, module = Plateau(tol=0.1, patience=2), Point()
    losses = [5.0, 4.0, 3.95, 3.97]
    assert [plateau.is_reached(loss, module) for loss in losses] == [False, False, False, True]


def test_plateau_counts_anew_after_a_gain():
    plateau, module = Plateau(tol=0.1, patience=2), Point()
    losses = [5.0, 4.95, 4.0, 3.99, 3.98]
    assert [plateau.is_reached(loss, module) for loss in losses] == [False] * 4 + [True]


def test_small_gains_add_up():
    """They are measured from the last loss that counted as a gain."""
    plateau, module = Plateau(tol=0.1, patience=3), Point()
    assert not any(plateau.is_reached(5 - 0.06 * i, module) for i in range(50))


def test_plateau_restores_the_best_state():
    plateau, module = Plateau(tol=1.0, patience=10), Point()
    for weight, loss in enumerate([3.0, 2.9, 4.0, math.nan]):
        nn.init.constant_(module.weight, weight)
        plateau.is_reached(loss, module)
    plateau.restore(module)
    assert module.weight.tolist() == [1.0, 1.0]
    assert plateau.best_loss == 2.9


def test_plateau_without_a_look_restores_nothing():
    module = Point(7.0)
    Plateau(tol=1.0, patience=10).restore(module)
    assert module.weight.tolist() == [7.0, 7.0]


def test_nan_counts_as_no_gain():
    plateau, module = Plateau(tol=0.0, patience=2), Point()
    assert [plateau.is_reached(math.nan, module) for _ in range(2)] == [False, True]


# --- devices --------------------------------------------------------------------------------


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["toaster", "", "cpu:x"])
def test_unknown_device(device):
    with pytest.raises(ValueError, match="device must be 'auto' or a torch device"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cuda(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device='{device}', but torch finds no CUDA device"):
        resolve_device(device)


def test_seeds_are_drawn_from_numpy():
    seeds = [draw_seed(np.random.RandomState(3)) for _ in range(2)]
    assert seeds[0] == seeds[1]
    draws = [torch.randn(3, generator=make_generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
