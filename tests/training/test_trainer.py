"""The trainer: steps, epochs, hooks and state."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import draw
from numpy.testing import assert_allclose
from torch import nn

from skvaeense.nets.losses import ELBO, PenalizedReconstruction
from skvaeense.nets.models import VAE, SparseCoder
from skvaeense.nets.networks import MLP, SingleLayer
from skvaeense.nets.penalties import TopK
from skvaeense.samples._scaling import TensorBatches
from skvaeense.training._hooks import Coefficient, DeadLatents, annealed_noise
from skvaeense.training._trainer import Plan, Trainer, cosine, flat_weights, layer_rates
from skvaeense.utils._torch import make_generator

X = torch.arange(20.0, dtype=torch.float64).reshape(10, 2)
TRAIN = TensorBatches(X)


# --- flat parameters ------------------------------------------------------------------------


def test_parameters_are_views_of_one_tensor():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    flat = flat_weights(model)
    assert torch.equal(flat, before)
    with torch.no_grad():
        flat += 1
    flat.grad.copy_(torch.arange(26.0))
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()), before + 1)
    grads = torch.cat([parameter.grad.ravel() for parameter in model.parameters()])
    assert torch.equal(grads, torch.arange(26.0))


def test_layers_with_many_inputs_take_smaller_steps():
    model = nn.Sequential(nn.Linear(1024, 8), nn.Conv2d(16, 4, 8), nn.Linear(256, 8))
    wide, window = model[0].weight, model[1].weight
    assert layer_rates(model) == {wide: 0.125, window: 0.125}


@pytest.mark.parametrize("rate", [0.25, torch.tensor([0.25, 0.5])])
def test_a_rate_is_a_factor_on_the_steps_of_a_weight(make_point, make_trainer, rate):
    """Adam's first step does not depend on the size of the gradient."""
    model = make_point()
    trainer = make_trainer(model, rates={model.weight: rate})
    trainer.fit(TRAIN, Plan(1, 10))
    expected = 0.1 * torch.as_tensor(rate, dtype=torch.float64).expand(2)
    torch.testing.assert_close(model.weight.detach(), expected)


@pytest.mark.parametrize("bounded", [False, True])
def test_bounded_steps_are_short_if_gradients_grow(make_point, make_trainer, bounded):
    moves = []

    class Growth(make_point):
        def adjust(self, gradient):
            self.before = self.weight.detach().clone()
            gradient.mul_(1000.0 if trainer.n_steps >= 100 else 1.0)

        def renormalize(self):
            moves.append(float((self.weight.detach() - self.before).abs().max()))

    trainer = make_trainer(Growth(), learning_rate=0.01, bounded=bounded)
    trainer.fit(TRAIN, Plan(110, 10))
    assert (max(moves) < 0.0101) == bounded


# --- epochs ---------------------------------------------------------------------------------


def test_the_log_has_the_means_of_each_epoch(make_trainer):
    trainer = make_trainer(learning_rate=0.0, init=2)
    trainer.fit(TRAIN, Plan(3, 4))
    assert len(trainer.log) == 3
    batches = trainer.loss.batches
    for i, epoch in enumerate(trainer.log):
        assert list(epoch) == ["loss", "error", "init", "epoch", "step"]
        assert (epoch["epoch"], epoch["step"]) == (i + 1, 2 * i + 2)
        means = [float(batch.square().sum(dim=1).mean()) for batch in batches[2 * i : 2 * i + 2]]
        assert epoch["error"] == epoch["loss"] == pytest.approx(np.mean(means))
        assert epoch["init"] == 2


def test_batches_are_disjoint_rows_in_a_new_order(make_trainer):
    trainer = make_trainer()
    trainer.fit(TRAIN, Plan(3, 4))
    batches = trainer.loss.batches
    assert [len(batch) for batch in batches] == [4] * 6
    epochs = [torch.cat(batches[2 * i : 2 * i + 2])[:, 0].tolist() for i in range(3)]
    assert all(len(set(epoch)) == 8 and set(epoch) < set(X[:, 0].tolist()) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    # A batch larger than the samples is all of them.
    trainer = make_trainer()
    trainer.fit(TRAIN, Plan(3, 1000))
    assert [len(batch) for batch in trainer.loss.batches] == [10] * 3


def test_training_goes_downhill(make_point, make_trainer):
    model = make_point()
    make_trainer(model, schedule=cosine, learning_rate=0.5).fit(TRAIN, Plan(200, 10))
    torch.testing.assert_close(model.weight.detach(), X.mean(dim=0), rtol=1e-3, atol=0)


def test_a_seed_fixes_the_order_and_the_global_generator_is_not_touched(make_trainer):
    before = torch.random.get_rng_state()
    trainers = [make_trainer(seed=seed) for seed in (0, 0, 1)]
    for trainer in trainers:
        trainer.fit(TRAIN, Plan(3, 4))
    first, again, other = (torch.cat(trainer.loss.batches) for trainer in trainers)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_series_follow_one_another(make_trainer):
    """The optimizer's state and the counts continue, so two halves equal the whole."""
    whole, halves = (make_trainer(schedule=cosine) for _ in range(2))
    whole.fit(TRAIN, Plan(6, 4))
    halves.fit(TRAIN, Plan(3, 4, span=(0.0, 0.5)))
    halves.fit(TRAIN, Plan(3, 4, span=(0.5, 1.0)))
    torch.testing.assert_close(halves.model.weight, whole.model.weight)
    assert halves.n_steps == whole.n_steps == 12
    assert len(halves.log) == 6


def test_a_series_goes_on_where_it_paused(make_trainer):
    whole, paused = (make_trainer(schedule=cosine) for _ in range(2))
    whole.fit(TRAIN, Plan(6, 4))
    paused.fit(TRAIN, Plan(6, 4), until=2)
    assert (paused.epoch, paused.n_steps) == (2, 4)
    paused.fit(TRAIN, Plan(6, 4))
    assert torch.equal(paused.model.weight, whole.model.weight)
    assert paused.log == whole.log


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_a_series_ends_when_the_loss_is_not_finite(make_point, make_trainer, value):
    trainer = make_trainer(make_point(value))
    assert trainer.is_finite
    for _ in range(2):
        trainer.fit(TRAIN, Plan(5, 4))
        assert len(trainer.log) == 1
        assert not trainer.is_finite


def test_a_series_can_be_stopped(make_trainer):
    trainer = make_trainer()
    for length in (2, 5):
        trainer.fit(TRAIN, Plan(9, 4), on_record=lambda: len(trainer.log) == length)  # noqa: B023
        assert len(trainer.log) == length
        assert trainer.epoch == 0


def test_long_epochs_are_recorded_now_and_then(make_trainer):
    trainer, seen = make_trainer(), []

    def record():
        seen.append((trainer.epoch, trainer.step))
        return False

    rows = TensorBatches(torch.zeros(240, 2, dtype=torch.float64))
    trainer.fit(rows, Plan(2, 1), on_record=record)
    assert seen == [(0, 100), (0, 200), (1, 0), (1, 100), (1, 200), (2, 0)]
    assert [record["step"] for record in trainer.log] == [100, 200, 240, 340, 440, 480]
    assert_allclose([record["epoch"] for record in trainer.log][:4], [5 / 12, 5 / 6, 1, 17 / 12])


# --- held-out losses ------------------------------------------------------------------------


def watch(trainer, plan, losses, first=0):
    """Compare losses, of a model whose weight is the number of the loss; return what skips."""
    skipped = []
    for i, loss in enumerate(losses, start=first):
        nn.init.constant_(trainer.model.weight, i)
        trainer.epoch = 0
        trainer.compare(loss, plan)
        skipped.append(trainer.epoch > 0)
    return skipped


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
def test_training_skips_to_its_last_part_after_losses_without_a_gain(
    make_trainer, losses, patience, reached
):
    skipped = watch(make_trainer(), Plan(10, 4, 0.1, patience), losses)
    assert np.flatnonzero(skipped).tolist() == reached


def test_the_best_state_is_restored(make_trainer):
    trainer = make_trainer()
    trainer.restore_best()
    assert trainer.model.weight.tolist() == [0.0, 0.0]
    watch(trainer, Plan(10, 4, 1.0, 10), [3.0, 2.9, 4.0, math.nan])
    trainer.restore_best()
    assert trainer.model.weight.tolist() == [1.0, 1.0]
    assert trainer.best_loss == 2.9


@pytest.mark.parametrize(
    ("n_epochs", "unwatched", "watched", "turn"),
    [(8, 0.0, 1, 5), (8, 0.25, 3, 5), (8, 1.0, 6, 5), (1, 0.5, 1, 0)],
)
def test_losses_are_compared_from_an_epoch_on(make_trainer, n_epochs, unwatched, watched, turn):
    plan, seen = Plan(n_epochs, 4, unwatched=unwatched), []
    trainer = make_trainer()
    trainer.fit(TRAIN, plan, validate=lambda model: seen.append(trainer.epoch) or 1.0)
    assert seen == list(range(watched, n_epochs + 1))
    assert plan.turn == turn


def test_a_plateau_shortens_the_training_but_not_its_last_part(make_trainer):
    trainer, fractions = make_trainer(), []
    trainer.schedule = lambda done: fractions.append(done) or 1.0
    trainer.fit(TRAIN, Plan(10, 10, 0.1, 2), validate=lambda model: 1.0)
    # Two epochs without a gain after the first one, then the last 30 %, rounded up.
    assert trainer.n_epochs == 3 + 4
    assert fractions == pytest.approx([0.0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9])


# --- steps ----------------------------------------------------------------------------------


class Watch:
    """Record the order of events in a step, with the batch and its terms."""

    def __init__(self):
        self.events = []

    def __call__(self, fraction_done):
        self.events.append(("factor", fraction_done))
        return 1.0

    def before_loss(self, model, fraction_done):
        self.events.append(("before_loss", fraction_done))

    def after_step(self, x, terms, fraction_done):
        self.events.append(("after_step", fraction_done, x.clone(), terms))

    def values(self):
        self.events.append(("values",))
        return {"watched": 7.0}


def test_what_happens_in_a_step(make_trainer):
    watch = Watch()
    trainer = make_trainer(schedule=watch, hooks=[watch])
    trainer.fit(TRAIN, Plan(2, 4, span=(0.5, 0.7)))
    names = ["before_loss", "factor", "after_step"]
    assert [event[0] for event in watch.events] == [*names * 2, "values"] * 2
    fractions = [event[1] for event in watch.events if event[0] in ("before_loss", "factor")]
    assert fractions == pytest.approx(np.repeat([0.5, 0.55, 0.6, 0.65], 2).tolist())
    after = [event[2:] for event in watch.events if event[0] == "after_step"]
    for (x, terms), batch in zip(after, trainer.loss.batches, strict=True):
        assert torch.equal(x, batch)
        assert terms["size"].tolist() == [1, 1]
        assert not terms["loss"].requires_grad
    assert [epoch["watched"] for epoch in trainer.log] == [7.0, 7.0]


@pytest.mark.parametrize("least", [0.0, 0.6])
def test_the_schedule_sets_the_learning_rate(make_trainer, least):
    rates = []
    trainer = make_trainer(
        optimizer="sgd", schedule=lambda fraction_done: 1 - fraction_done, learning_rate=0.01
    )
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    trainer.least_factor = least
    trainer.fit(TRAIN, Plan(2, 5))
    factors = [max(factor, least) for factor in (1.0, 0.75, 0.5, 0.25)]
    assert rates == pytest.approx([0.01 * factor for factor in factors])


# --- state ----------------------------------------------------------------------------------


def make(kind, seed=0):
    """Return a trainer with noise, or with all hooks of sparse autoencoders."""
    generator = make_generator(seed)
    if kind == "sparse":
        model = SparseCoder(SingleLayer(), 5, 8, penalty=TopK(2), generator=generator).double()
        hooks = [Coefficient(0.1, target_l0=2.0), DeadLatents(model, 10)]
        model.has_unit_columns = True
        loss, rates = PenalizedReconstruction(), None
    else:
        # The decoder is not linear, so noise is drawn.
        model = VAE(MLP((6,), encoder_layer_sizes=(6,)), 5, 3, generator=generator).double()
        hooks = [annealed_noise(0.3, 1e-3, learned=True)]
        loss, rates = ELBO(), layer_rates(model)
    settings = {"optimizer": "adam", "learning_rate": 0.02, "schedule": cosine}
    return Trainer(model, loss, generator=generator, hooks=hooks, rates=rates, **settings)


@pytest.mark.parametrize("kind", ["vae", "sparse"])
def test_learning_falls(kind):
    trainer = make(kind)
    # Samples in three of five dimensions.
    x = draw(64, 3) @ draw(3, 5, seed=1)
    trainer.fit(TensorBatches(x), Plan(40, 16))
    errors = [epoch["error"] for epoch in trainer.log]
    assert errors[-1] < 0.7 * errors[0]


@pytest.mark.parametrize("kind", ["sparse", "vae"])
def test_training_that_is_broken_off_goes_on_to_the_bit(kind):
    x = TensorBatches(draw(30, 5))
    plan, kept = Plan(4, 4, span=(0.2, 0.9)), []
    whole, broken_off, other = make(kind), make(kind), make(kind, seed=1)
    whole.fit(x, plan)

    def stop():
        if broken_off.epoch == 2:
            kept.append(copy.deepcopy(broken_off.state_dict()))
        return bool(kept)

    broken_off.fit(x, plan, on_record=stop)
    for _ in range(2):
        # Load it twice, since a state can be used again.
        other.load_state_dict(kept[0])
        other.fit(x, plan)
        assert other.log == whole.log
        assert torch.equal(other.weights, whole.weights)
        states = [trainer.state_dict()["hooks"] for trainer in (other, whole)]
        torch.testing.assert_close(*states, rtol=0, atol=0)
        assert other.n_steps == whole.n_steps


def test_a_state_needs_the_same_hooks(make_trainer):
    with pytest.raises(ValueError, match="hooks does not fit"):
        make_trainer(hooks=[Watch()]).load_state_dict(make_trainer().state_dict())
