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

    def loss(self, module, x, *, progress, generator, workspace):
        self.progress.append(progress)
        self.batches.append(x.clone())
        error = (x - module.weight).square().sum(dim=1).mean()
        return BatchLoss(error, error.detach(), error.detach() * 0 + 2)


class Point(nn.Module):
    def __init__(self, value=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value))


class Wide(nn.Module):
    """Its weight, which `Distance` sees, is made by a layer of many inputs that starts at 0."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Parameter(torch.zeros(1, 1024))

    @property
    def weight(self):
        return self.wide.sum()


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


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_learning_rate_rests_until_it_is_told_to_fall(floor):
    rate = LearningRate(0.5, floor=floor, warmup=0.1, hold=0.6)
    assert rate.at(0.0) == pytest.approx(0.04 * 0.5)
    assert [rate.at(p) for p in (0.1, 0.3, 0.599, 0.6)] == pytest.approx([0.5] * 4)
    # The cosine's shares of the way at a quarter, half and three quarters of what is left.
    for p, share in [(0.7, 0.5 + 0.5**1.5), (0.8, 0.5), (0.9, 0.5 - 0.5**1.5), (1.0, 0.0)]:
        assert rate.at(p) == pytest.approx(0.5 * (floor + (1 - floor) * share))
    values = [rate.at(p / 1000) for p in range(1001)]
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.01


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
    groups = make_optimizer(module).param_groups
    members = {group["factor"]: [tuple(p.shape) for p in group["params"]] for group in groups}
    assert members == {0.125: [(8, 1024)], 1.0: [(8,), (4, 8), (4,)]}


def test_inputs_of_a_convolution_are_all_that_its_window_sees():
    module = torch.nn.Sequential(torch.nn.Conv2d(16, 4, 8), torch.nn.Conv2d(4, 300, 8))
    groups = make_optimizer(module).param_groups
    members = {group["factor"]: [tuple(p.shape) for p in group["params"]] for group in groups}
    assert members == {0.125: [(4, 16, 8, 8)], 1.0: [(4,), (300, 4, 8, 8), (300,)]}


def test_all_layers_take_full_steps_if_asked_to():
    module = torch.nn.Sequential(torch.nn.Linear(1024, 8), torch.nn.Linear(8, 4))
    groups = make_optimizer(module, full_rate=True).param_groups
    assert [(group["factor"], len(group["params"])) for group in groups] == [(1.0, 4)]


@pytest.mark.parametrize(("full_rate", "step"), [(True, 0.1), (False, 0.0125)])
def test_first_step_is_the_learning_rate_times_its_factor(full_rate, step):
    """Adam's first step does not depend on the gradient's size."""
    module = Wide()
    optimizer = make_optimizer(module, full_rate=full_rate)
    learning_rate = LearningRate(0.1, warmup=0.0, hold=1.0)
    settings = {"n_epochs": 1, "batch_size": 10, "learning_rate": learning_rate}
    run_epochs(Distance(), module, optimizer=optimizer, **settings)
    torch.testing.assert_close(module.wide.data, torch.full((1, 1024), step))


# --- what an objective does before and after a step -----------------------------------------


class Watcher(Distance):
    """Notes the weight and its gradient at each call."""

    def __init__(self):
        super().__init__()
        self.events, self.arguments = [], []

    def note(self, name, module):
        gradient = module.weight.grad
        gradient = None if gradient is None else gradient.clone()
        self.events.append((name, module.weight.detach().clone(), gradient))

    def loss(self, module, x, *, progress, generator, workspace):
        self.note("loss", module)
        return super().loss(module, x, progress=progress, generator=generator, workspace=workspace)

    def before_step(self, module):
        self.note("before", module)

    def after_step(self, module, optimizer, *, progress, generator):
        self.note("after", module)
        self.arguments.append((optimizer, progress, generator))


def test_objective_is_called_before_and_after_each_step():
    objective, module = Watcher(), Point()
    generator, optimizer = make_generator(0), make_optimizer(module)
    settings = {"n_epochs": 2, "batch_size": 4, "learning_rate": LearningRate(0.1)}
    list(iterate_epochs(module, objective, X, generator=generator, optimizer=optimizer, **settings))
    names, weights, gradients = zip(*objective.events, strict=True)
    assert list(names) == ["loss", "before", "after"] * 4
    for i, batch in enumerate(objective.batches):
        loss, before, after = weights[3 * i : 3 * i + 3]
        # Gradients are there, and the weights move between the two calls.
        torch.testing.assert_close(gradients[3 * i + 1], 2 * (before - batch.mean(dim=0)))
        assert torch.equal(before, loss)
        assert (after != before).all()
        assert i == 3 or torch.equal(weights[3 * i + 3], after)
    assert [p for _, p, _ in objective.arguments] == objective.progress
    assert all(o is optimizer and g is generator for o, _, g in objective.arguments)


def test_objective_may_change_gradients_before_a_step():
    class OneWay(Distance):
        def before_step(self, module):
            module.weight.grad[1] = 0

    module = Point()
    run_epochs(OneWay(), module)
    assert module.weight[0] > 0
    assert module.weight[1] == 0


def test_objective_may_change_weights_after_a_step():
    class Unit(Distance):
        @torch.no_grad()
        def after_step(self, module, optimizer, *, progress, generator):
            module.weight /= module.weight.norm()

    module = Point()
    run_epochs(Unit(), module)
    assert float(module.weight.detach().norm()) == pytest.approx(1)


def test_an_objective_need_not_do_either():
    objective, module = Distance(), Point(1.0)
    module.weight.grad = torch.ones(2)
    objective.before_step(module)
    objective.after_step(module, None, progress=0.5, generator=None)
    assert module.weight.tolist() == module.weight.grad.tolist() == [1, 1]


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
    # One that is kept among others in training does not go on.
    assert list(run.epochs(X, n_epochs=5, batch_size=4)) == []


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
