"""Hooks around the steps of sparse autoencoders."""

import math

import pytest
import torch
from helpers import draw, each_once, make_coder

from skvaeense.losses import PenalizedReconstruction
from skvaeense.networks import SingleLayer, Unrolled
from skvaeense.networks._base import normalize_columns
from skvaeense.penalties import L1, BatchTopK, Matryoshka, TopK
from skvaeense.samples._batches import TensorBatches
from skvaeense.training._hooks import (
    DEAD_AFTER,
    GAIN,
    LAST_GAIN,
    MOST_EXCESS,
    AnnealedLength,
    Coefficient,
    DeadLatents,
    UnitNorm,
)
from skvaeense.training._trainer import Hook, Step
from skvaeense.utils._kept import set_share
from skvaeense.utils._processes import Processes
from skvaeense.utils._torch import make_generator

N_SAMPLES, N_FEATURES, N_COMPONENTS = 8, 6, 10


@pytest.fixture
def make_training(make_trainer):
    """Return a function that makes the trainer of a sparse coder."""

    def make(penalty="l1", network=None, n_components=N_COMPONENTS, positive=True, **params):
        model = make_coder(penalty, network, N_FEATURES, n_components, positive=positive)
        return make_trainer(model, PenalizedReconstruction(), **params)

    return make


# --- coefficient ----------------------------------------------------------------------------


def observe(coefficient, n_active, fraction_done=0.5, times=1):
    for _ in range(times):
        coefficient.observe(torch.tensor(n_active, dtype=torch.float64), fraction_done)


def test_coefficient_rises_over_the_warmup(subtests):
    for warmup, fraction_done, share in (
        (0.4, 0.0, 0),
        (0.4, 0.1, 0.25),
        (0.4, 0.99, 1),
        (0, 0, 1),
    ):
        with subtests.test(warmup=warmup):
            assert Coefficient(2.0, warmup=warmup).at(fraction_done) == pytest.approx(2.0 * share)


def test_coefficient_without_a_target_is_fixed():
    coefficient = Coefficient(2.0, warmup=0.1)
    observe(coefficient, 55.0, times=9)
    assert coefficient.alpha == coefficient.at(0.95) == 2.0


def test_coefficient_follows_its_formula(subtests):
    """A batch without active latents has the logarithm of 0, which must not spread."""
    for n_active, fraction_done in each_once([256, 6, 4, 3, 1, 0], [0.0, 0.5, 1.0]):
        with subtests.test(n_active=n_active, fraction_done=fraction_done):
            coefficient = Coefficient(0.5, target_l0=4, warmup=0.0)
            observe(coefficient, n_active, fraction_done)
            excess = math.log(n_active / 4) if n_active else -math.inf
            gain = GAIN + (LAST_GAIN - GAIN) * fraction_done**2
            expected = 0.5 * math.exp(gain * min(max(excess, -MOST_EXCESS), MOST_EXCESS))
            assert float(coefficient.alpha) == pytest.approx(expected, rel=1e-9)
            assert float(coefficient.at(0.7)) == float(coefficient.alpha)
            # The value stays on the device, since reading it would wait for the device at every
            # step.
            assert isinstance(coefficient.at(0.7), torch.Tensor)


def test_coefficient_is_adapted_after_the_warmup(subtests):
    for fraction_done, moves in ((0.0, False), (0.29, False), (0.3, True)):
        with subtests.test(fraction_done=fraction_done, moves=moves):
            coefficient = Coefficient(0.5, target_l0=5, warmup=0.3)
            observe(coefficient, 20.0, fraction_done)
            assert (float(coefficient.alpha) != 0.5) == moves


def test_coefficient_finds_the_target():
    """Here the number of active latents falls as the coefficient rises: l0 = 10 / alpha."""
    coefficient = Coefficient(0.2, target_l0=5, warmup=0.0)
    for _ in range(round(20 / GAIN)):
        observe(coefficient, min(64, round(10 / float(coefficient.alpha))))
    assert float(coefficient.alpha) == pytest.approx(2.0, rel=0.15)


def test_coefficient_is_set_before_a_loss_and_adapted_after_it(make_training):
    coefficient = Coefficient(0.4, target_l0=1.0, warmup=0.0)
    trainer, x = make_training(hooks=[coefficient], learning_rate=0.0), draw(N_SAMPLES, N_FEATURES)
    l0 = torch.count_nonzero(trainer.model.code(x)) / N_SAMPLES
    twin = Coefficient(0.4, target_l0=1.0, warmup=0.0)
    trainer.fit(TensorBatches(x), n_epochs=2, batch_size=N_SAMPLES, span=(0.5, 0.5))
    observe(twin, float(l0))
    assert [epoch["alpha"] for epoch in trainer.log] == pytest.approx([0.4, float(twin.alpha)])
    assert float(trainer.model.alpha) == trainer.log[1]["alpha"] > 0.4
    for epoch in trainer.log:
        assert epoch["loss"] == pytest.approx(epoch["error"] + epoch["alpha"] * epoch["penalty"])


# --- annealed lengths -------------------------------------------------------------------------


class Lengths(Hook):
    """Record the number of entries that each step keeps, and the share that is kept afterwards."""

    def __init__(self):
        self.in_training, self.afterwards = [], []

    def after_step(self, trainer, step):
        self.in_training.append(float(step.terms["active_share"].sum()))
        self.afterwards.append(trainer.model.activation.share)


def test_lengths_fall_from_all_latents_to_k_by_a_factor(make_training, subtests):
    """Signed codes have no zeros: there are 8 entries, and then half as many in each step."""
    for penalty, network in (
        (TopK, SingleLayer()),
        (BatchTopK, Unrolled(n_active=2)),
        (Matryoshka, SingleLayer()),
    ):
        with subtests.test(penalty=penalty, network=network):
            trainer = make_training(penalty(2), network, n_components=8, positive=False)
            lengths = Lengths()
            trainer.hooks += [AnnealedLength(trainer.model, anneal=0.5), lengths]
            trainer.fit(
                TensorBatches(draw(N_SAMPLES, N_FEATURES)), n_epochs=4, batch_size=N_SAMPLES
            )
            assert lengths.in_training == [8, 4, 2, 2]
            # Held-out samples have codes of length k.
            assert lengths.afterwards == [1.0] * 4


def test_several_lengths_are_annealed_together(make_training):
    """Half of the samples have length 1 and half have length 4; both start four times as long."""
    trainer = make_training(TopK([1, 4]), n_components=16, positive=False)
    lengths = Lengths()
    trainer.hooks += [AnnealedLength(trainer.model, anneal=0.5), lengths]
    trainer.fit(TensorBatches(draw(N_SAMPLES, N_FEATURES)), n_epochs=4, batch_size=N_SAMPLES)
    assert lengths.in_training == [(16 + 4) / 2, (8 + 2) / 2, (4 + 1) / 2, (4 + 1) / 2]


def test_only_the_largest_are_decoded_of_an_annealed_length():
    """With many latents the loss decodes only the entries that are kept."""
    model, x = make_coder(TopK(2), n_features=N_FEATURES, n_components=512), draw(4, N_FEATURES)
    set_share(model, 20)
    terms = PenalizedReconstruction().terms(model, x, generator=None)
    code = model.code(x)
    torch.testing.assert_close(terms["error"], (x - model.decode(code)).square().mean())
    assert int(torch.count_nonzero(code, dim=1).max()) == 40


# --- columns of norm 1 ------------------------------------------------------------------------


def test_columns_are_brought_to_norm_1():
    model = make_coder(L1())
    with torch.no_grad():
        model.linear_decoder.weight *= torch.arange(8)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    normalize_columns(model.linear_decoder.weight)
    # The first column is 0 and has no direction.
    weight = before["network.decoder.weight"][:, 1:]
    weight = torch.cat([torch.zeros(5, 1).double(), weight / weight.norm(dim=0)], dim=1)
    after = {name: p.detach() for name, p in model.named_parameters()}
    torch.testing.assert_close(after, before | {"network.decoder.weight": weight})


def test_gradients_become_orthogonal_to_the_columns(make_training):
    trainer = make_training()
    normalize_columns(trainer.model.linear_decoder.weight)
    weight, gradient = trainer.model.linear_decoder.weight, draw(N_FEATURES, N_COMPONENTS, seed=1)
    trainer.parameters.values.grad.fill_(3.0)
    weight.grad.copy_(gradient)
    UnitNorm().before_step(trainer)
    columns = weight.detach().T, weight.grad.T, gradient.T
    for w, g, old in zip(*columns, strict=True):
        assert float(w @ g) == pytest.approx(0, abs=1e-14)
        torch.testing.assert_close(g, old - (w @ old) * w)
    others = [p for p in trainer.model.parameters() if p is not weight]
    assert all((p.grad == 3).all() for p in others)


def test_columns_keep_norm_1_during_training(make_training):
    trainer = make_training(hooks=[UnitNorm()])
    trainer.fit(TensorBatches(draw(N_SAMPLES, N_FEATURES)), n_epochs=3, batch_size=4)
    norms = trainer.model.linear_decoder.weight.detach().norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(N_COMPONENTS).double())


# --- counts of dead latents -------------------------------------------------------------------


def see(trainer, hook, fired, n_samples=1, fraction_done=0.0, x=None, seed=0):
    """Show a batch to the hook, in which one sample uses the `fired` latents."""
    x = torch.zeros(n_samples, N_FEATURES).double() if x is None else x
    share = torch.zeros(trainer.model.n_components).double()
    share[fired] = 1 / len(x)
    terms = {"active_share": share}
    hook.after_step(trainer, Step(x, terms, fraction_done, make_generator(seed)))


def test_counts_of_samples_since_a_latent_was_active(make_training):
    trainer = make_training(n_components=4)
    hook, counts = DeadLatents(trainer.model), []
    for fired, n_samples in (([0, 2], 2), ([1], 3), ([0], 1)):
        see(trainer, hook, fired, n_samples)
        counts.append(hook.silent_for.tolist())
    assert counts == [[0, 2, 0, 2], [3, 0, 3, 5], [0, 1, 4, 6]]


def test_samples_of_all_processes_count(make_training):
    trainer = make_training(n_components=2)
    trainer.processes = Processes(3)
    hook = DeadLatents(trainer.model)
    see(trainer, hook, [0], 5)
    assert hook.silent_for.tolist() == [0, 15]


def test_the_model_is_told_now_and_then_which_are_dead(make_training):
    """A look waits for the device, so it is rare; the counts are always right."""
    trainer = make_training("topk", n_components=3)
    hook, told = DeadLatents(trainer.model), []
    for i in range(13):
        # The second latent is dead from the fourth batch until it is used again in the sixth.
        see(trainer, hook, [0, 2] if i < 5 else [0, 1, 2], DEAD_AFTER // 4)
        hook.before_loss(trainer, 0.0)
        dead = trainer.model.dead_latents
        told.append(None if dead is None else dead.tolist())
    assert told == [None] * 3 + [[1]] * 4 + [None] * 6


def test_fraction_of_dead_latents(make_training):
    trainer = make_training(n_components=4)
    hook, fractions = DeadLatents(trainer.model), []
    assert hook.fraction == 0
    half = DEAD_AFTER // 2
    for fired, n_samples in (
        ([0, 1], 3),  # silent for 0, 0, 3, 3 of 3
        ([0], half),  # 0, half, more, more
        ([0, 2], half),  # 0, all, 0, more
        ([0], 2),  # 0, more, 2, more
    ):
        see(trainer, hook, fired, n_samples)
        fractions.append(hook.fraction)
    assert fractions == [0.5, 0.5, 0.5, 0.5]
    see(trainer, hook, [0, 1, 2, 3])
    assert hook.fraction == 0
