"""Trainings in phases, and the choice among several inits."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from skvaeense.samples._scaling import TensorBatches
from skvaeense.training._session import Phase, Selection

TRAIN = TensorBatches(torch.arange(20.0, dtype=torch.float64).reshape(10, 2))


@pytest.fixture
def make_phase(make_trainer):
    """Return a function that makes a phase of a point."""

    def make(n_epochs=10, tol=0.1, patience=1, **settings):
        return Phase(make_trainer(), n_epochs, tol, patience, **settings)

    return make


def watch(phase, losses, first=0):
    """Note losses, of a model whose weight is the number of the loss."""
    noted = []
    for weight, loss in enumerate(losses, start=first):
        nn.init.constant_(phase.trainer.model.weight, weight)
        noted.append(phase.note(loss))
    return noted


@pytest.mark.parametrize(
    ("losses", "patience", "reached"),
    [
        ([5.0, 4.0, 3.95, 3.97], 2, [3]),
        ([5.0, 4.95, 4.0, 3.99, 3.98], 2, [4]),
        ([5 - 0.06 * i for i in range(50)], 3, []),
        ([math.nan] * 2, 2, [1]),
        ([5.0] * 4, 2, [2, 3]),
    ],
    ids=["waits", "counts anew after a gain", "small gains", "nan is no gain", "stays reached"],
)
def test_a_plateau_is_so_many_losses_without_a_gain(make_phase, losses, patience, reached):
    noted = watch(make_phase(patience=patience), losses)
    assert np.flatnonzero(noted).tolist() == reached


def test_the_best_state_is_restored(make_phase):
    phase = make_phase(tol=1.0, patience=10)
    phase.restore()
    assert phase.trainer.model.weight.tolist() == [0.0, 0.0]
    watch(phase, [3.0, 2.9, 4.0, math.nan])
    phase.restore()
    assert phase.trainer.model.weight.tolist() == [1.0, 1.0]
    assert phase.best_loss == 2.9


def test_a_phase_goes_on_from_its_state(make_phase):
    losses = [3.0, 2.9, 2.95, 2.5, 2.6, 2.7]
    whole, first, second = (make_phase(tol=0.2, patience=3) for _ in range(3))
    watch(whole, losses)
    watch(first, losses[:3])
    second.load_state_dict(first.state_dict())
    watch(second, losses[3:], first=3)
    torch.testing.assert_close(second.state_dict(), whole.state_dict())
    assert whole.n_waited == 2


@pytest.mark.parametrize(
    ("n_epochs", "unwatched", "expected"),
    [(8, 0.0, (0, 5, 3)), (8, 0.25, (2, 3, 3)), (8, 1.0, (5, 0, 3)), (1, 0.5, (0, 0, 1))],
)
def test_stages_are_all_epochs_in_their_order(make_phase, n_epochs, unwatched, expected):
    stages = list(make_phase(n_epochs, unwatched=unwatched).stages())
    assert tuple(stage.n_epochs for stage in stages) == expected
    ends = np.cumsum([0, *expected]) / n_epochs
    assert [stage.span for stage in stages] == list(pairwise(ends))
    assert [stage.may_end for stage in stages] == [False, True, False]


def test_unwatched_phases_have_one_stage_and_keep_the_last_model(make_phase):
    phase = make_phase(is_watched=False)
    (stage,) = phase.stages()
    assert stage[1:] == (10, (0.0, 1.0), False, False)
    assert phase.result() is phase.trainer


def test_losses_that_are_no_numbers_leave_nothing_to_keep(make_phase):
    phase = make_phase()
    assert not phase.is_lost
    phase.note(math.nan)
    with pytest.raises(FloatingPointError, match="became NaN or infinite"):
        phase.result()


# --- several inits --------------------------------------------------------------------------


@pytest.fixture
def train(make_trainer):
    """Return a function that makes and trains the trainer of an init."""

    def train(init):
        trainer = make_trainer(seed=init, init=init)
        trainer.fit(TRAIN, n_epochs=2 + init, batch_size=4)
        return trainer

    return train


@pytest.mark.parametrize(
    ("losses", "best"), [([3.0, 1.0, 2.0], 1), ([1.0, 1.0], 0), ([math.nan, math.inf, 5.0], 2)]
)
def test_the_least_loss_is_kept(train, losses, best):
    selection = Selection(None)
    trainers = [train(init) for init in range(len(losses))]
    for trainer, loss in zip(trainers, losses, strict=True):
        selection.offer(trainer, loss)
    kept = selection.choose()
    assert kept is trainers[best]
    others = [epoch["init"] for epoch in kept.other_log]
    assert others == [i for i in range(len(losses)) for _ in range(2 + i) if i != best]


def test_no_loss_that_is_a_number_leaves_nothing_to_keep(train):
    selection = Selection(None)
    selection.offer(train(0), math.nan)
    with pytest.raises(FloatingPointError, match="The loss of every init became NaN"):
        selection.choose()


@pytest.mark.parametrize(("n_before", "remade"), [(0, []), (1, [0]), (2, [1])])
def test_a_selection_goes_on_from_its_state(train, make_trainer, n_before, remade):
    losses, made = [3.0, 1.0, 2.0], []

    def make(init):
        made.append(init)
        return make_trainer(init=init)

    before, after = Selection(make), Selection(make)
    for init in range(n_before):
        before.offer(train(init), losses[init])
    after.load_state_dict(before.state_dict())
    for init in range(n_before, 3):
        after.offer(train(init), losses[init])
    assert made == remade
    assert after.best_init == 1
    assert torch.equal(after.choose().model.weight, train(1).model.weight)
    assert after.logs == [train(init).log for init in range(3)]
