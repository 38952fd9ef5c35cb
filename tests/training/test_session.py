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
PLAN = Plan(2, 4)


@pytest.fixture
def train(make_trainer):
    """Return a function that trains inits with these held-out losses, one of each epoch."""

    def train(losses, stop_after=None, state=None):
        seen, made = iter(losses), []
        if state is not None:
            seen = iter(losses[len(state["losses"]) :])
        noted = [] if state is None else list(state["losses"])

        def validate(model, x):
            noted.append(next(seen))
            return noted[-1]

        estimator = SimpleNamespace(random_state=0, _validation_loss=validate)
        rows = SimpleNamespace(
            samples=np.zeros((10, 2)), scaling=Scaling(np.zeros(2), 1.0), weights=None
        )
        count = iter(range(1, 100))
        progress = SimpleNamespace(
            begin=lambda *a: None, step=lambda attributes: next(count) == stop_after
        )
        session = FitSession(estimator, rows, progress=progress, processes=SINGLE_PROCESS)

        def make(seeds, init):
            made.append(init)
            return make_trainer(seed=init, init=init)

        session.state = None if state is None else state["fit"]
        kept = session.train(DATA, make, len(losses) // 2, PLAN)
        return kept, session, made, noted

    return train


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 3.0, 1.0, 5.0, 2.0, 2.0], 1),
        ([1.0, 1.0, 1.0, 1.0], 0),
        ([math.nan, math.nan, math.inf, math.inf, 5.0, 5.0], 2),
    ],
)
def test_the_least_loss_is_kept(train, losses, best):
    kept, session, made, _ = train(losses)
    assert kept is session.best
    assert kept.init == best
    assert made == list(range(len(losses) // 2))
    others = [epoch["init"] for epoch in kept.other_log]
    assert others == [i for i in range(len(losses) // 2) for _ in range(2) if i != best]


def test_no_loss_that_is_a_number_leaves_nothing_to_keep(train):
    with pytest.raises(FloatingPointError, match="The loss of every init became NaN"):
        train([math.nan] * 4)
    with pytest.raises(FloatingPointError, match="The loss became NaN"):
        train([math.nan] * 2)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_inits_go_on_from_a_state(train, stop_after):
    losses = [3.0, 2.5, 1.0, 1.5, 2.0, 2.0]
    whole, session, *_ = train(losses)
    states = []

    def keep(self, shown, begun):
        state = {"log": self.log, "best": self.best and self.best.state_dict()}
        states.append(copy.deepcopy(state | {"begun": begun and begun.state_dict()}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitSession, "_keep", keep)
        patch.setattr(FitSession, "_recorded", lambda self: keep(self, None, self.trainer) or False)
        train(losses)
    state = {"fit": states[stop_after - 1], "losses": losses[:stop_after]}
    resumed, after, made, noted = train(losses, state=state)
    assert noted == losses
    assert made[-1] == 2
    assert resumed.init == whole.init == 1
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert after.log == session.log
