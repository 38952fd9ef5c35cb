import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from skvaeense.training._phase import Phase, Plateau
from torch import nn


def test_a_plateau_is_so_many_looks_without_a_gain(make_point, subtests):
    for name, (losses, patience, reached) in {
        "waits": ([5.0, 4.0, 3.95, 3.97], 2, [3]),
        "counts anew after a gain": ([5.0, 4.95, 4.0, 3.99, 3.98], 2, [4]),
        "small gains": ([5 - 0.06 * i for i in range(50)], 3, []),
        "nan is no gain": ([math.nan] * 2, 2, [1]),
        "stays reached": ([5.0] * 4, 2, [2, 3]),
    }.items():
        with subtests.test(name):
            plateau, model = Plateau(tol=0.1, patience=patience), make_point()
            looks = [plateau.is_reached(loss, model) for loss in losses]
            assert [i for i, look in enumerate(looks) if look] == reached


def watch(plateau, model, losses, first=0):
    for weight, loss in enumerate(losses, start=first):
        nn.init.constant_(model.weight, weight)
        plateau.is_reached(loss, model)


def test_the_best_state_is_restored(make_point):
    plateau, model = Plateau(tol=1.0, patience=10), make_point()
    watch(plateau, model, [3.0, 2.9, 4.0, math.nan])
    plateau.restore(model)
    assert model.weight.tolist() == [1.0, 1.0]
    assert plateau.best_loss == 2.9


def test_without_a_look_nothing_is_restored(make_point):
    model = make_point(7.0)
    Plateau(tol=1.0, patience=10).restore(model)
    assert model.weight.tolist() == [7.0, 7.0]


def test_goes_on_from_its_state(make_point):
    losses, model = [3.0, 2.9, 2.95, 2.5, 2.6, 2.7], make_point()
    whole, first, second = (Plateau(tol=0.2, patience=3) for _ in range(3))
    watch(whole, model, losses)
    watch(first, model, losses[:3])
    second.load_state_dict(first.state_dict())
    watch(second, model, losses[3:], first=3)
    torch.testing.assert_close(second.state_dict(), whole.state_dict())
    assert whole.n_waited == 2


def make_phase(make_trainer, n_epochs=10, **settings):
    return Phase(make_trainer(), n_epochs, Plateau(tol=0.1, patience=1), **settings)


def test_stages_are_all_epochs_in_their_order(make_trainer, subtests):
    for n_epochs, unwatched, expected in [
        (8, 0.0, (0, 5, 3)),
        (8, 0.25, (2, 3, 3)),
        (8, 1.0, (5, 0, 3)),
        (1, 0.5, (0, 0, 1)),
    ]:
        with subtests.test(n_epochs=n_epochs, unwatched=unwatched):
            stages = list(make_phase(make_trainer, n_epochs, unwatched=unwatched).stages())
            assert tuple(stage.n_epochs for stage in stages) == expected
            ends = np.cumsum([0, *expected]) / n_epochs
            assert [stage.span for stage in stages] == list(pairwise(ends))


def test_only_the_search_ends_at_a_plateau(make_trainer):
    phase = make_phase(make_trainer)
    _, search, last = phase.stages()
    assert [phase.note(loss, search) for loss in (1.0, 0.5, 0.5)] == [False, False, True]
    assert not phase.note(0.5, last)
    assert phase.plateau.n_waited == 2
    assert phase.result() is phase.trainer


def test_unwatched_phases_have_one_stage_and_keep_the_last_model(make_trainer):
    phase = make_phase(make_trainer, is_watched=False)
    (stage,) = phase.stages()
    assert (stage.n_epochs, stage.span, stage.is_watched, stage.may_end) == (
        10,
        (0.0, 1.0),
        False,
        False,
    )
    assert not phase.is_lost
    assert phase.result() is phase.trainer


def test_losses_that_are_no_numbers_leave_nothing_to_keep(make_trainer):
    phase = make_phase(make_trainer)
    assert not phase.is_lost
    phase.note(math.nan, next(phase.stages()))
    assert phase.is_lost
    with pytest.raises(FloatingPointError, match="became NaN or infinite"):
        phase.result()
