import math

import pytest
import torch
from skvaeense.training._phase import Selection

from skvaeense.samples._batches import TensorBatches

TRAIN = TensorBatches(torch.arange(20.0, dtype=torch.float64).reshape(10, 2))


@pytest.fixture
def train(make_trainer):
    """Return a function that makes and trains the trainer of an init."""

    def train(init):
        trainer = make_trainer(seed=init, init=init)
        trainer.fit(TRAIN, n_epochs=2 + init, batch_size=4)
        return trainer

    return train


def test_the_least_loss_is_kept(train, subtests):
    for losses, best in (
        ([3.0, 1.0, 2.0], 1),
        ([1.0, 1.0], 0),
        ([math.nan, math.inf, 5.0], 2),
        ([math.nan], None),
    ):
        with subtests.test(losses=losses, best=best):
            selection = Selection(None)
            trainers = [train(init) for init in range(len(losses))]
            for trainer, loss in zip(trainers, losses, strict=True):
                selection.offer(trainer, loss)
            assert selection.best is (None if best is None else trainers[best])
            assert selection.best_init == (best or 0)
            assert selection.logs == [trainer.log for trainer in trainers]
            if best is not None:
                others = [epoch["init"] for epoch in selection.choose().other_log]
                assert others == [i for i in range(len(losses)) for _ in range(2 + i) if i != best]


@pytest.mark.parametrize("n_before", [0, 1, 2])
def test_goes_on_from_its_state(train, make_trainer, n_before):
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
    assert made == [[], [0], [1]][n_before]
    assert after.best_init == 1
    assert torch.equal(after.best.model.weight, train(1).model.weight)
    assert after.logs == [train(init).log for init in range(3)]
