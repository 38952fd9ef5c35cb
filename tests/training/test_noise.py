"""The noise variance during training, and its effect on losses."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import draw, make_vae
from scipy.stats import norm
from torch import nn

from skvaeense.losses import ELBO
from skvaeense.samples._batches import TensorBatches
from skvaeense.training._hooks import (
    FINAL_NOISE,
    LEAST_NOISE,
    NoiseSchedule,
    ValidationTerms,
    annealed_noise,
    best_noise,
    followed_noise,
    validation_loss,
    validation_terms,
)


def make_noise(**params):
    return NoiseSchedule(0.5, **({"floor": 0.005, "hold": 0.4, "settle": 0.8} | params))


# --- schedule -------------------------------------------------------------------------------


def test_holds_its_first_value_and_falls_geometrically():
    noise = make_noise()
    assert [noise.at(fraction) for fraction in (0.0, 0.2, 0.4)] == [0.5] * 3
    assert noise.at(0.6) == pytest.approx(0.05)
    ratios = [noise.at(p + 0.1) / noise.at(p) for p in (0.45, 0.55, 0.65)]
    assert ratios == pytest.approx([0.01 ** (0.1 / 0.4)] * 3)
    # No error was observed that the noise could follow.
    assert noise.at(0.95) == pytest.approx(0.005)


def test_keeps_near_the_error(subtests):
    for error, fraction, expected in (
        (0.4, 0.45, 0.5 * 0.01 ** (0.05 / 0.4)),
        (0.4, 0.6, 0.3 * 0.4),
        (0.4, 0.79, 0.3 * 0.4),
        (100.0, 0.6, 0.5),
        (0.07, 0.6, 0.05),
        (0.07, 0.8, 0.07),
        (1.0, 0.8, 1.0),
        (1e-9, 0.99, 0.005),
    ):
        with subtests.test(error=error):
            noise = make_noise()
            noise.observe(torch.tensor(error))
            assert float(noise.at(fraction)) == pytest.approx(expected)


def test_follows_a_fraction_of_the_error_that_rises_to_one():
    noise = make_noise(hold=0.0, settle=0.0, follow=0.7)
    noise.observe(torch.tensor(0.1))
    values = [float(noise.at(fraction)) for fraction in (0.001, 0.5, 1.0)]
    assert values == pytest.approx([0.07003, 0.085, 0.1])


def test_the_error_is_a_running_mean():
    noise, error = make_noise(floor=1e-9), torch.tensor(1.0)
    noise.observe(error)
    for n_seen in range(1, 500):
        noise.observe(torch.tensor(0.0))
        assert float(noise.at(0.9)) == pytest.approx(0.98**n_seen, rel=1e-4)
    # The observed tensor is not changed.
    assert float(error) == 1.0


def test_stays_where_it_is_if_not_learned():
    noise = make_noise(learned=False)
    noise.observe(torch.tensor(0.01))
    assert [noise.at(fraction) for fraction in (0.0, 0.3, 0.6, 0.99)] == [0.5] * 4


def test_sets_the_noise_of_the_model_and_follows_its_error(make_trainer):
    model, x = make_vae(), draw(10, 5)
    noise = NoiseSchedule(0.3, floor=1e-6, hold=0.0, settle=0.0)
    trainer = make_trainer(model, ELBO(), hooks=[noise], learning_rate=0.0)
    trainer.fit(TensorBatches(x), n_epochs=2, batch_size=10)
    assert [epoch["noise_variance"] for epoch in trainer.log] == pytest.approx(
        [0.3, trainer.log[0]["error"] / 5]
    )
    assert float(model.noise_variance) == pytest.approx(trainer.log[1]["noise_variance"])


# --- levels ---------------------------------------------------------------------------------

MAKERS = pytest.mark.parametrize("make", [annealed_noise, followed_noise])


@MAKERS
def test_levels_never_rise(make, subtests):
    """This also holds if the first level is below the usual last one."""
    for first in (1e-8, 1e-3, 1.0):
        with subtests.test(first=first):
            for common in (1e-3, 9e-3):
                noise = make(first, common, learned=True)
                values = [float(noise.at(p / 100)) for p in range(100)]
                assert all(0 < b <= a * (1 + 1e-9) for a, b in pairwise(values))


@MAKERS
def test_a_level_that_is_not_learned_is_kept(make):
    noise = make(0.2, 1e-3, learned=False)
    noise.observe(torch.tensor(0.01))
    assert noise.at(0.99) == 0.2


def test_inits_come_down_to_a_share_of_the_mean_eigenvalue():
    noise = annealed_noise(0.3, 30.0, learned=True)
    assert (noise.at(0.0), noise.at(0.999)) == (0.3, pytest.approx(30 * FINAL_NOISE))
    # A lower level is not raised.
    assert annealed_noise(1e-6, 1.0, learned=True).floor == 1e-6


def test_a_model_that_goes_on_follows_the_error_from_its_first_step():
    noise = followed_noise(1e-3, 1e-5, learned=True)
    noise.observe(torch.tensor(5e-4))
    assert float(noise.at(0.01)) < 5e-4
    assert float(noise.at(1.0)) == pytest.approx(5e-4)
    assert noise.floor == 1e-5


# --- losses of samples that do not train ------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_validation_terms_are_means_of_the_terms_of_samples(training):
    """The model is in evaluation mode, which matters for networks with dropout."""
    model, x = make_vae(), draw(20, 5)
    model.network.encoder.append(nn.Dropout(0.5))
    model.train(training)
    terms = validation_terms(model, x)
    assert all(module.training is training for module in model.modules())
    model.eval()
    with torch.no_grad():
        elbo = model.elbo(x)
    assert list(terms) == pytest.approx([float(t.double().mean()) for t in elbo])
    assert best_noise(terms, 5) == pytest.approx(terms.error / 5)
    assert best_noise(ValidationTerms(0.0, 1.0), 5) == LEAST_NOISE


@pytest.mark.parametrize("noise_variance", [0.01, 2.0])
def test_validation_loss_is_a_gaussian_density_and_the_divergence(noise_variance):
    residual = np.array([0.3, -1.0, 0.2])
    terms = ValidationTerms(float(residual @ residual), 1.5)
    density = norm.logpdf(residual, scale=np.sqrt(noise_variance)).sum()
    assert validation_loss(terms, noise_variance, 3) == pytest.approx(1.5 - density)
