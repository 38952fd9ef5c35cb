"""Hooks of a training: noise variance, coefficient, lengths, columns, dead latents, gradients."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import draw, make_coder, make_vae, quick_sae, quick_vaeense
from scipy.stats import norm
from torch import nn

from skvaeense.nets.losses import ELBO, PenalizedReconstruction
from skvaeense.nets.models import ELBOTerms, as_number
from skvaeense.nets.networks import Network, normalize_columns
from skvaeense.samples._scaling import TensorBatches
from skvaeense.training._hooks import (
    FINAL_NOISE,
    Coefficient,
    DeadLatents,
    NoiseSchedule,
    annealed_noise,
    followed_noise,
    validation_terms,
)
from skvaeense.training._trainer import Plan

N_SAMPLES, N_FEATURES, N_COMPONENTS = 8, 6, 10
ROWS = TensorBatches(draw(N_SAMPLES, N_FEATURES))


@pytest.fixture
def make_training(make_trainer):
    """Return a function that makes the trainer of a sparse coder."""

    def make(penalty="l1", network=None, n_components=N_COMPONENTS, positive=True, **params):
        model = make_coder(penalty, network, N_FEATURES, n_components, positive=positive)
        return make_trainer(model, PenalizedReconstruction(), **params)

    return make


# --- noise variance ---------------------------------------------------------------------------


def make_noise(**params):
    settings = {"floor": 0.005, "hold": 0.4, "settle": 0.8, "risen": 1.0, "follow": 0.3}
    return NoiseSchedule(0.5, **(settings | params))


def see_error(noise, error):
    """Show the hook a batch of two features with this error of each."""
    noise.after_step(torch.zeros(1, 2), {"error": torch.tensor(2 * error)}, 0.0)


def test_noise_holds_its_first_value_and_falls_geometrically():
    noise = make_noise()
    assert [noise.at(fraction) for fraction in (0.0, 0.2, 0.4)] == [0.5] * 3
    assert noise.at(0.6) == pytest.approx(0.05)
    ratios = [noise.at(p + 0.1) / noise.at(p) for p in (0.45, 0.55, 0.65)]
    assert ratios == pytest.approx([0.01 ** (0.1 / 0.4)] * 3)
    # No error was observed that the noise could follow.
    assert noise.at(0.95) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("error", "fraction", "expected"),
    [
        (0.4, 0.45, 0.5 * 0.01 ** (0.05 / 0.4)),
        (0.4, 0.6, 0.3 * 0.4),
        (0.4, 0.79, 0.3 * 0.4),
        (100.0, 0.6, 0.5),
        (0.07, 0.6, 0.05),
        (0.07, 0.8, 0.3 * 0.07),
        (0.07, 0.9, 0.65 * 0.07),
        (1.0, 0.8, 0.3),
        (1.0, 1.0, 1.0),
        (1e-9, 0.99, 0.005),
    ],
)
def test_noise_keeps_near_the_error(error, fraction, expected):
    noise, fixed = make_noise(), make_noise(learned=False)
    for hook in (noise, fixed):
        see_error(hook, error)
    assert float(noise.at(fraction)) == pytest.approx(expected)
    assert fixed.at(fraction) == 0.5


def test_noise_does_not_jump_where_it_begins_to_follow_the_error():
    noise = make_noise()
    see_error(noise, 0.4)
    assert float(noise.at(0.8)) == pytest.approx(float(noise.at(0.8 - 1e-9)))


def test_noise_follows_a_fraction_of_the_error_that_rises_to_one():
    noise = make_noise(hold=0.0, settle=0.0, follow=0.7)
    see_error(noise, 0.1)
    values = [float(noise.at(fraction)) for fraction in (0.001, 0.5, 1.0)]
    assert values == pytest.approx([0.07003, 0.085, 0.1])


def test_noise_is_the_error_once_it_has_risen():
    noise = make_noise(risen=0.9)
    see_error(noise, 0.4)
    values = [float(noise.at(fraction)) for fraction in (0.8, 0.85, 0.9, 1.0)]
    assert values == pytest.approx([0.12, 0.26, 0.4, 0.4])


def test_noise_of_a_continued_training_is_bounded_while_it_rises():
    noise = followed_noise(1e-3, 1e-5, learned=True, most=0.1)
    see_error(noise, 5.0)
    assert [float(noise.at(fraction)) for fraction in (0.0, 0.1, 0.5)] == pytest.approx(
        [1e-3, 0.1, 0.1]
    )
    assert float(noise.at(0.7)) == pytest.approx(5.0)
    # What it was is possible.
    noisy = followed_noise(0.4, 1e-5, learned=True, most=0.1)
    see_error(noisy, 5.0)
    assert float(noisy.at(0.1)) == pytest.approx(0.4)


def test_the_error_is_a_running_mean():
    noise = make_noise(floor=1e-9, follow=1.0)
    see_error(noise, 1.0)
    for n_seen in range(1, 500):
        see_error(noise, 0.0)
        assert float(noise.at(0.9)) == pytest.approx(0.98**n_seen, rel=1e-4)


def test_noise_of_the_model_is_set_and_follows_its_error(make_trainer):
    model, x = make_vae(), draw(10, 5)
    noise = NoiseSchedule(0.3, floor=1e-6, hold=0.0, settle=0.0, follow=1.0)
    trainer = make_trainer(model, ELBO(), hooks=[noise], learning_rate=0.0)
    trainer.fit(TensorBatches(x), Plan(2, 10))
    found = [epoch["noise_variance"] for epoch in trainer.log]
    assert found == pytest.approx([0.3, trainer.log[0]["error"] / 5])
    assert float(model.noise_variance) == pytest.approx(found[1])


@pytest.mark.parametrize("make", [annealed_noise, followed_noise])
@pytest.mark.parametrize("first", [1e-8, 1e-3, 1.0])
def test_levels_never_rise(make, first):
    """This also holds if the first level is below the usual last one."""
    for common in (1e-3, 9e-3):
        noise = make(first, common, learned=True)
        values = [float(noise.at(p / 100)) for p in range(100)]
        assert all(0 < b <= a * (1 + 1e-9) for a, b in pairwise(values))
        noise = make(first, common, learned=False)
        see_error(noise, 0.01)
        assert noise.at(0.99) == first


def test_inits_come_down_to_a_share_of_the_mean_eigenvalue():
    noise = annealed_noise(0.3, 30.0, learned=True)
    assert (noise.at(0.0), noise.at(0.999)) == (0.3, pytest.approx(30 * FINAL_NOISE))
    # A lower level is not raised.
    assert annealed_noise(1e-6, 1.0, learned=True).floor == 1e-6


def test_noise_stays_closer_to_the_error_of_deep_decoders():
    shares = [annealed_noise(0.3, 1.0, learned=True, depth=depth).follow for depth in (1, 4, 9)]
    assert shares == pytest.approx([0.3, 0.3 ** (1 / 2), 0.3 ** (1 / 3)])


def test_a_model_that_goes_on_follows_the_error_from_its_first_step():
    noise = followed_noise(1e-3, 1e-5, learned=True)
    see_error(noise, 5e-4)
    assert float(noise.at(0.01)) < 5e-4
    assert float(noise.at(1.0)) == pytest.approx(5e-4)
    assert noise.floor == 1e-5


@pytest.mark.parametrize("training", [True, False])
def test_validation_terms_are_means_of_the_terms_of_samples(training):
    """The model is in evaluation mode, which matters for networks with dropout."""
    model, x = make_vae(), draw(20, 5)
    model.network.encoder.append(nn.Dropout(0.5))
    model.train(training)
    terms = validation_terms(model, x)
    assert all(module.training is training for module in model.modules())
    with torch.no_grad():
        elbo = model.eval().elbo(x)
    assert terms == pytest.approx([float(t.double().mean()) for t in elbo])


@pytest.mark.parametrize("noise_variance", [0.01, 2.0])
def test_validation_loss_is_a_gaussian_density_and_the_divergence(noise_variance):
    residual = np.array([0.3, -1.0, 0.2])
    density = norm.logpdf(residual, scale=np.sqrt(noise_variance)).sum()
    terms = ELBOTerms(float(residual @ residual), 1.5)
    assert terms.loss(noise_variance, 3) == pytest.approx(1.5 - density)


# --- coefficient ----------------------------------------------------------------------------


def observe(coefficient, n_active, fraction_done=0.5):
    share = {"active_share": torch.tensor([n_active], dtype=torch.float64)}
    coefficient.after_step(torch.zeros(1, 1), share, fraction_done)


@pytest.mark.parametrize(
    ("warmup", "fraction_done", "share"),
    [(0.4, 0.0, 0), (0.4, 0.1, 0.25), (0.4, 0.99, 1), (0, 0, 1)],
)
def test_coefficient_rises_over_the_warmup(warmup, fraction_done, share):
    coefficient = Coefficient(2.0, warmup=warmup)
    observe(coefficient, 55.0, 0.9)
    # Without a target it is fixed.
    coefficient.before_loss(SimpleNamespace(), fraction_done)
    assert coefficient.values()["alpha"] == pytest.approx(2.0 * share)


@pytest.mark.parametrize("n_active", [256, 6, 4, 3, 1, 0])
def test_coefficient_follows_its_formula(n_active):
    """A batch without active latents has the logarithm of 0, which must not spread."""
    coefficient = Coefficient(0.5, target_l0=4, warmup=0.3)
    observe(coefficient, n_active, 0.29)
    assert float(coefficient.alpha) == 0.5
    observe(coefficient, n_active, 0.3)
    excess = math.log(n_active / 4) if n_active else -math.inf
    gain = 0.03 + (0.1 - 0.03) * 0.3**2
    expected = 0.5 * math.exp(gain * min(max(excess, -1), 1))
    assert float(coefficient.alpha) == pytest.approx(expected, rel=1e-9)
    # On target, the coefficient still moves against the last change, by 4 * (0.1 - 0.02) of it.
    observe(coefficient, 4, 0.3)
    expected *= math.exp(gain * min(max(-0.32 * max(excess, -10), -1), 1))
    assert float(coefficient.alpha) == pytest.approx(expected, rel=1e-9)
    # The value stays on the device, since reading it would wait for the device at every step.
    coefficient.before_loss(SimpleNamespace(), 0.7)
    assert isinstance(coefficient.value, torch.Tensor)


def test_coefficient_finds_the_target():
    """Here the number of active latents falls as the coefficient rises: l0 = 10 / alpha."""
    coefficient = Coefficient(0.2, target_l0=5, warmup=0.0)
    for _ in range(round(20 / coefficient.gain)):
        observe(coefficient, min(64, round(10 / float(coefficient.alpha))))
    assert float(coefficient.alpha) == pytest.approx(2.0, rel=0.15)


def test_coefficient_is_set_before_a_loss_and_adapted_after_it(make_training):
    coefficient, twin = (Coefficient(0.4, target_l0=1.0, warmup=0.0) for _ in range(2))
    trainer = make_training(hooks=[coefficient], learning_rate=0.0)
    l0 = torch.count_nonzero(trainer.model.code(ROWS.X)) / N_SAMPLES
    trainer.fit(ROWS, Plan(2, N_SAMPLES, span=(0.5, 0.5)))
    observe(twin, float(l0))
    assert [epoch["alpha"] for epoch in trainer.log] == pytest.approx([0.4, float(twin.alpha)])
    assert float(trainer.model.alpha) == trainer.log[1]["alpha"] > 0.4
    for epoch in trainer.log:
        assert epoch["loss"] == pytest.approx(epoch["error"] + epoch["alpha"] * epoch["penalty"])


# --- columns of norm 1 ------------------------------------------------------------------------


def test_columns_are_brought_to_norm_1():
    weight = draw(5, 3)
    weight[:, 0] = 0
    expected = weight / weight.norm(dim=0)
    normalize_columns(weight)
    torch.testing.assert_close(weight[:, 1:], expected[:, 1:])
    # A column that is 0 has no direction.
    assert (weight[:, 0] == 0).all()


def test_gradients_become_orthogonal_to_the_columns(make_training):
    trainer = make_training()
    normalize_columns(trainer.model.linear_decoder.weight)
    weight, gradient = trainer.model.linear_decoder.weight, draw(N_FEATURES, N_COMPONENTS, seed=1)
    trainer.weights.grad.fill_(3.0)
    weight.grad.copy_(gradient)
    trainer.model.has_unit_columns = True
    trainer.model.adjust(trainer.weights.grad)
    columns = weight.detach().T, weight.grad.T, gradient.T
    for w, g, old in zip(*columns, strict=True):
        assert float(w @ g) == pytest.approx(0, abs=1e-14)
        torch.testing.assert_close(g, old - (w @ old) * w)
    others = [p for p in trainer.model.parameters() if p is not weight]
    assert all((p.grad == 3).all() for p in others)


def test_columns_keep_norm_1_during_training(make_training):
    trainer = make_training()
    trainer.model.has_unit_columns = True
    trainer.fit(ROWS, Plan(3, 4))
    norms = trainer.model.linear_decoder.weight.detach().norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(N_COMPONENTS).double())


# --- counts of dead latents -------------------------------------------------------------------


def see(trainer, hook, fired, n_samples=1):
    """Show a batch to the hook, in which one sample uses the `fired` latents."""
    share = torch.zeros(trainer.model.n_components).double()
    share[fired] = 1 / n_samples
    hook.after_step(torch.zeros(n_samples, 1), {"active_share": share}, 0.0)


def test_counts_of_samples_since_a_latent_was_active(make_training):
    trainer = make_training(n_components=4)
    hook, counts = DeadLatents(trainer.model, 100), []
    for fired, n_samples in (([0, 2], 2), ([1], 3), ([0], 1)):
        see(trainer, hook, fired, n_samples)
        counts.append(hook.silent_for.tolist())
    assert counts == [[0, 2, 0, 2], [3, 0, 3, 5], [0, 1, 4, 6]]


def test_the_model_is_told_now_and_then_which_are_dead(make_training):
    """A look waits for the device, so it is rare; the counts are always right."""
    trainer = make_training("topk", n_components=3)
    hook, told = DeadLatents(trainer.model, 100), []
    for i in range(13):
        # The second latent is dead from the fourth batch until it is used again in the sixth.
        see(trainer, hook, [0, 2] if i < 5 else [0, 1, 2], 25)
        hook.before_loss(trainer.model, 0.0)
        dead = trainer.model.dead_latents
        told.append(None if dead is None else dead.tolist())
    assert told == [None] * 3 + [[1]] * 4 + [None] * 6


def test_fraction_of_dead_latents(make_training):
    trainer = make_training(n_components=4)
    hook, fractions = DeadLatents(trainer.model, 100), []
    assert hook.fraction == 0
    for fired, n_samples in (
        ([0, 1], 3),  # silent for 0, 0, 3, 3 of 3
        ([0], 50),  # 0, half, more, more
        ([0, 2], 50),  # 0, all, 0, more
        ([0], 2),  # 0, more, 2, more
        ([0, 1, 2, 3], 1),
    ):
        see(trainer, hook, fired, n_samples)
        fractions.append(hook.fraction)
    assert fractions == [0.5, 0.5, 0.5, 0.5, 0]


# --- what a network asks for ------------------------------------------------------------------


class AskingModule(nn.Module):
    """Linear encoder and decoder, with all hooks that a network can request."""

    def __init__(self, n_features, n_components, n_heads):
        super().__init__()
        self.encoder = nn.Linear(n_features, n_heads * n_components)
        self.decoder = nn.Linear(n_components, n_features)
        self.n_heads = n_heads
        self.calls = []
        self.max_gradient_norm = 0.1

    def encode(self, x):
        return self.encoder(x).chunk(self.n_heads, dim=1)

    def decode(self, code):
        return self.decoder(code)

    def initialize(self, x):
        self.calls.append(("initialize", tuple(x.shape)))

    def normalize(self):
        self.calls.append(("normalize",))

    def calibrate(self, x):
        assert not self.training
        self.calls.append(("calibrate",))


class Asking(Network):
    def build(self, n_features, n_components, *, n_heads, generator):
        return AskingModule(n_features, n_components, n_heads)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [quick_vaeense, quick_sae], ids=["vaeense", "sae"])
def test_what_a_network_of_ones_own_asks_for(estimator):
    X = draw(60, 5).numpy()
    fitted = estimator(network=Asking(), max_iter=2, batch_size=20).fit(X)
    first, *others, last = fitted.module_.network.calls
    assert first[0] == "initialize"
    assert first[1][1] == 5
    assert set(others) == {("normalize",)}
    assert last == ("calibrate",)


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_gradients_are_those_of_a_share_of_the_variance_and_clipped(make_trainer, size):
    """The loss of a VAE is the sum of squares divided by the noise variance."""
    model, limit = make_vae(), 0.12
    model.network.max_gradient_norm = limit
    model.noise_variance = as_number(0.5)
    trainer = make_trainer(model)
    grads = draw(len(trainer.weights.grad))
    trainer.weights.grad.copy_(size * grads)
    model.adjust(trainer.weights.grad)
    expected = size * grads * 0.5 / 5
    if expected.norm() > limit:
        expected *= limit / expected.norm()
    assert (size == 100.0) == bool(expected.norm() > 0.999 * limit)
    torch.testing.assert_close(trainer.weights.grad, expected)
