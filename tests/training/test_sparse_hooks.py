"""Hooks around the steps of sparse autoencoders."""

import math

import numpy as np
import pytest
import torch
from helpers import draw, each_once, make_coder

from skvaeense.losses import PenalizedReconstruction
from skvaeense.networks import MLP, Linear, SingleLayer, Unrolled
from skvaeense.networks._base import normalize_columns
from skvaeense.penalties import L1, BatchTopK, Gated, JumpReLU, Matryoshka, TopK
from skvaeense.samples._batches import TensorBatches
from skvaeense.training._sparse_hooks import (
    DEAD_AFTER,
    GAIN,
    LAST_GAIN,
    MOST_EXCESS,
    RESAMPLE_AT,
    RESAMPLED_NORM,
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


# --- resampling -------------------------------------------------------------------------------

DEAD = [1, 4, 9]
LIVING = [i for i in range(N_COMPONENTS) if i not in DEAD]
NETWORKS = [
    SingleLayer(),
    SingleLayer(subtract_bias=False),
    Linear((7,)),
    Linear((7, 5), skip=False),
]
# Penalties with codes of one or both signs. Thresholds are low, so all latents get gradients.
PENALTIES = [
    (L1(), False),
    (JumpReLU(threshold=1e-3, bandwidth=9.0), False),
    (Gated(), True),
]


@pytest.fixture
def make_dead(make_training):
    """Return a function that makes a trainer after several steps, its hook, and samples.

    All latents have state in the optimizer before some of them die.
    """

    def make(dead=DEAD, **params):
        trainer, x = make_training(**params), 2 + draw(N_SAMPLES, N_FEATURES, seed=1)
        hook = DeadLatents(trainer.model)
        # Each latent is active for some samples.
        torch.nn.init.ones_(trainer.model.network.output_layer(x).others[0])
        trainer.fit(TensorBatches(x), n_epochs=2, batch_size=N_SAMPLES)
        hook.silent_for[dead] = DEAD_AFTER
        return trainer, hook, x

    return make


def resample(trainer, hook, x, seed=0):
    """Trigger resampling, and return the residuals before it."""
    with torch.no_grad():
        residual = x - trainer.model.decode(trainer.model.code(x))
    living = torch.nonzero(hook.silent_for < DEAD_AFTER).ravel()
    see(trainer, hook, living, fraction_done=RESAMPLE_AT[0], x=x, seed=seed)
    return residual


def leave(trainer, x, residual):
    """Replace the decoder so that this residual remains."""
    trainer.model.decode = lambda code: x - residual


def snapshot(trainer):
    """Return copies of all weights and of their state in the optimizer."""
    memory = trainer.optimizer.state[trainer.parameters.values]
    return {
        name + kind: trainer.parameters.part(flat, parameter).detach().clone()
        for name, parameter in trainer.model.named_parameters()
        for kind, flat in {"": trainer.parameters.values, **memory}.items()
        if flat.ndim
    }


def drawn_samples(trainer, residual, dead=DEAD):
    """Return the index of the sample whose residual each column has."""
    directions = torch.nn.functional.normalize(residual, dim=1)
    cosine = directions @ trainer.model.linear_decoder.weight.detach()[:, dead]
    assert cosine.max(dim=0).values.tolist() == pytest.approx([1] * len(dead))
    return cosine.argmax(dim=0)


def test_dead_latents_point_at_samples(make_dead, subtests):
    for network in NETWORKS:
        with subtests.test(network=network):
            trainer, hook, x = make_dead(network=network)
            layer = trainer.model.network.output_layer(x)
            norm = layer.weight.detach()[LIVING].norm(dim=1).mean()
            drawn = drawn_samples(trainer, resample(trainer, hook, x))
            columns = trainer.model.linear_decoder.weight.detach()[:, DEAD]
            torch.testing.assert_close(columns.norm(dim=0), torch.ones(3).double())
            inputs = torch.nn.functional.normalize(layer.inputs[drawn], dim=1)
            torch.testing.assert_close(layer.weight[DEAD], RESAMPLED_NORM * norm * inputs)
            for parameter in layer.others:
                assert not parameter[DEAD].any()
            # Each latent is therefore active for its sample.
            h = inputs @ layer.weight[DEAD].T
            assert (h.diagonal() > 0).all()


def test_memory_of_dead_latents_is_cleared_and_the_rest_is_untouched(make_dead, subtests):
    for network, constraint in each_once(NETWORKS, PENALTIES):
        with subtests.test(network=network, constraint=constraint):
            penalty, positive = constraint
            trainer, hook, x = make_dead(network=network, penalty=penalty, positive=positive)
            layer = trainer.model.network.output_layer(x)
            # The parameters that have rows for the latents.
            own = {id(p) for p in (layer.weight, *layer.others)}
            own |= {id(p) for p in trainer.model.activation.parameters()}
            own.add(id(trainer.model.linear_decoder.weight))
            before = snapshot(trainer)
            resample(trainer, hook, x)
            after = snapshot(trainer)
            for name, parameter in trainer.model.named_parameters():
                for kind in ("", "exp_avg", "exp_avg_sq"):
                    value, old = after[name + kind], before[name + kind]
                    if name == "network.decoder.weight":
                        value, old = value.T, old.T
                    rows = torch.zeros(len(old), dtype=torch.bool)
                    if id(parameter) in own:
                        rows[DEAD] = True
                    assert torch.equal(value[~rows], old[~rows]), name + kind
                    if kind and rows.any():
                        assert old[rows].any(), name + kind
                        assert not value[rows].any(), name + kind


def test_activation_goes_back_to_its_first_values(make_dead, subtests):
    for penalty, positive in PENALTIES:
        with subtests.test(penalty=penalty, positive=positive):
            trainer, hook, x = make_dead(penalty=penalty, positive=positive)
            fresh = make_coder(penalty, None, N_FEATURES, N_COMPONENTS, positive=positive)
            first = dict(fresh.activation.named_parameters())
            learned = {
                n: p.detach().clone() for n, p in trainer.model.activation.named_parameters()
            }
            resample(trainer, hook, x)
            assert first.keys() == learned.keys()
            for name, parameter in trainer.model.activation.named_parameters():
                assert not torch.equal(first[name], learned[name])
                assert torch.equal(parameter[DEAD], first[name][DEAD])
                assert torch.equal(parameter[LIVING], learned[name][LIVING])


def test_counts_begin_anew(make_dead):
    trainer, hook, x = make_dead()
    resample(trainer, hook, x)
    assert not hook.silent_for.any()
    # The counts for the dead fraction continue.
    assert hook.inactive_for[DEAD].tolist() == [N_SAMPLES] * 3


def test_samples_without_error_are_never_drawn(make_dead):
    found = set()
    for seed in range(30):
        trainer, hook, x = make_dead()
        residual = torch.zeros_like(x)
        residual[[1, 4, 7]] = draw(3, N_FEATURES)
        leave(trainer, x, residual)
        found |= set(drawn_samples(trainer, resample(trainer, hook, x, seed)).tolist())
    assert found == {1, 4, 7}


def test_samples_are_drawn_by_their_squared_error(make_dead):
    """Residuals with norms 1 and 2 are drawn with the ratio 1 : 4."""
    n_components = 3000
    dead = list(range(n_components))
    trainer, hook, _ = make_dead(dead=dead, n_components=n_components)
    x = torch.eye(2, N_FEATURES).double()
    leave(trainer, x, torch.tensor([[1.0], [2.0]]) * x)
    drawn = drawn_samples(trainer, resample(trainer, hook, x), dead)
    assert float(drawn.double().mean()) == pytest.approx(0.8, abs=0.03)


def test_nothing_to_resample(make_dead, subtests):
    for case in ("none dead", "no error", "diverged"):
        with subtests.test(case=case):
            trainer, hook, x = make_dead(dead=[] if case == "none dead" else DEAD)
            if case == "no error":
                leave(trainer, x, torch.zeros_like(x))
            if case == "diverged":
                x[0, 0] = torch.nan
            before = snapshot(trainer)
            resample(trainer, hook, x)
            torch.testing.assert_close(snapshot(trainer), before, rtol=0, atol=0)


def test_all_latents_dead(make_dead):
    trainer, hook, x = make_dead(dead=list(range(N_COMPONENTS)))
    resample(trainer, hook, x)
    norms = trainer.model.network.encoder.weight.detach().norm(dim=1)
    assert norms.tolist() == pytest.approx([RESAMPLED_NORM] * N_COMPONENTS)


def test_resampling_draws_from_its_generator_alone(make_dead):
    before, weights = torch.random.get_rng_state(), []
    for seed in (0, 0, 1):
        trainer, hook, x = make_dead()
        resample(trainer, hook, x, seed)
        weights.append(trainer.parameters.values.detach())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def n_resampled(trainer, hook, fractions):
    """Return the times at which weights changed, with one latent that is always dead."""
    changed = []
    for seed, fraction_done in enumerate(fractions):
        hook.silent_for[3] = DEAD_AFTER
        before = trainer.parameters.values.detach().clone()
        living = [i for i in range(N_COMPONENTS) if i != 3]
        x = draw(N_SAMPLES, N_FEATURES, seed=seed)
        see(trainer, hook, living, fraction_done=fraction_done, x=x)
        if not torch.equal(trainer.parameters.values, before):
            changed.append(fraction_done)
    return changed


@pytest.mark.parametrize("network", [SingleLayer(), Linear((6,))], ids=["single layer", "linear"])
def test_latents_are_resampled_at_their_times_once_each(make_training, network):
    trainer = make_training(network=network)
    fractions = np.arange(0, 1, 0.025).tolist()
    at = n_resampled(trainer, DeadLatents(trainer.model), fractions)
    assert at == [next(p for p in fractions if p >= time) for time in RESAMPLE_AT]


@pytest.mark.parametrize(
    ("penalty", "network"),
    [(TopK(2), SingleLayer()), (L1(), MLP((6,)))],
    ids=["auxiliary loss instead", "decoder not linear"],
)
def test_no_resampling(make_training, penalty, network):
    trainer = make_training(penalty, network)
    assert n_resampled(trainer, DeadLatents(trainer.model), np.arange(0, 1, 0.05).tolist()) == []
