"""The choice among several inits, and what goes on from a checkpoint of them."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skvaeense.samples._scaling import Scaling, TensorBatches
from skvaeense.training._trainer import FitSession, Plan
from skvaeense.utils._processes import SINGLE_PROCESS

TRAIN = TensorBatches(torch.arange(20.0, dtype=torch.float64).reshape(10, 2))
DATA = SimpleNamespace(train=TRAIN, valid=None, batch_size=4, n_steps=2)
# Two epochs until inits are compared, and two more.
PLAN = Plan(4, 4)


@pytest.fixture
def train(make_trainer):
    """Return a function that trains inits with these losses, and goes on from a state."""

    def train(losses, state=None, validate=lambda: 1.0):
        seen, made = [], []

        def validation_loss(model, x):
            seen.append(model.weight.detach().clone())
            return validate()

        estimator = SimpleNamespace(
            random_state=0,
            _validation_loss=validation_loss,
            _init_loss=lambda trainer, x: losses[trainer.init],
        )
        rows = SimpleNamespace(
            samples=np.zeros((10, 2)), scaling=Scaling(np.zeros(2), 1.0), weights=None
        )
        progress = SimpleNamespace(begin=lambda *a: None, step=lambda attributes: False)
        session = FitSession(estimator, rows, progress=progress, processes=SINGLE_PROCESS)

        def make(seeds, init):
            made.append(init)
            return make_trainer(seed=init, init=init)

        session.state = state
        return session.train(DATA, make, len(losses), PLAN), session, made, seen

    return train


@pytest.mark.parametrize(
    ("losses", "best"), [([3.0, 1.0, 2.0], 1), ([1.0, 1.0], 0), ([math.nan, math.inf, 5.0], 2)]
)
def test_only_the_init_of_the_least_loss_is_trained_to_the_end(train, losses, best):
    kept, session, made, seen = train(losses)
    assert kept is session.best
    assert kept.init == best
    assert made == list(range(len(losses)))
    assert [epoch["init"] for epoch in kept.log] == [best] * 4
    others = [epoch["init"] for epoch in kept.other_log]
    assert others == [i for i in range(len(losses)) for _ in range(2) if i != best]
    assert len(seen) == 2 * len(losses) + 2


@pytest.mark.parametrize("n_inits", [1, 2])
def test_no_loss_that_is_a_number_leaves_nothing_to_keep(train, n_inits):
    with pytest.raises(FloatingPointError, match="The loss became NaN"):
        train([math.nan] * n_inits, validate=lambda: math.nan)


@pytest.mark.parametrize("stop_after", range(1, 9))
def test_inits_go_on_from_a_state(train, stop_after):
    losses, states = [3.0, 1.0, 2.0], []

    def keep(self, shown, begun):
        state = {"log": self.log, "best": self.best and self.best.state_dict()}
        states.append(copy.deepcopy(state | {"begun": begun and begun.state_dict()}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitSession, "_keep", keep)
        patch.setattr(FitSession, "_recorded", lambda self: keep(self, None, self.trainer) or False)
        whole, session, _, seen = train(losses)
    resumed, after, _, rest = train(losses, state=states[stop_after - 1])
    assert resumed.init == whole.init == 1
    assert len(seen) == len(states) == 8
    assert all(map(torch.equal, rest, seen[stop_after:]))
    assert len(rest) == 8 - stop_after
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert (resumed.log, after.log) == (whole.log, session.log)
