import math
from itertools import pairwise

import pytest
import torch

from skvaeense.networks import Linear
from skvaeense.objectives import ELBO, NoiseVariance
from skvaeense.objectives._phases import (
    COMMON_NOISE,
    FINAL_NOISE,
    HeldOutMeans,
    final_noise,
    held_out_means,
    loss_at_common_noise,
    start_noise,
)


def test_starts_come_down_to_the_common_level():
    noise = start_noise(0.3, learned=True)
    assert noise.at(0.0) == 0.3
    assert noise.at(0.999) == pytest.approx(COMMON_NOISE, rel=0.05)


def test_final_phase_begins_under_the_error():
    noise = final_noise(1e-3, learned=True)
    assert noise.at(0.0) == 1e-3
    noise.observe(torch.tensor(1e-3))
    assert FINAL_NOISE < float(noise.at(0.01)) < 1e-3


@pytest.mark.parametrize("make", [start_noise, final_noise])
@pytest.mark.parametrize("level", [1e-8, 1e-5, 1e-3, 1.0])
def test_levels_never_rise(make, level):
    """Also where the first level is under the usual last one."""
    noise = make(level, learned=True)
    values = [float(noise.at(p / 100)) for p in range(100)]
    assert all(0 < b <= a * (1 + 1e-9) for a, b in pairwise(values))


@pytest.mark.parametrize("make", [start_noise, final_noise])
def test_a_level_that_is_not_learned_is_kept(make):
    noise = make(0.2, learned=False)
    noise.observe(torch.tensor(0.01))
    assert noise.at(0.99) == 0.2


@torch.no_grad()
def test_held_out_means_are_means_of_the_terms():
    generator = torch.Generator().manual_seed(0)
    module = Linear((4,)).build(5, 3, n_heads=2, generator=generator)
    elbo, x = ELBO(NoiseVariance(0.1, floor=0.1)), torch.randn(20, 5, generator=generator)
    mean, log_variance = elbo.posterior(module, x)
    terms = elbo.expected_terms(module, x, mean, log_variance)
    means = held_out_means(elbo, module, x)
    assert means.error == pytest.approx(float(terms.error.mean()))
    assert means.kl == pytest.approx(float(terms.kl.mean()))
    assert means.n_active == pytest.approx(
        float((log_variance.exp() < 0.5).sum(dim=1).double().mean())
    )


def test_loss_at_the_common_level_is_the_bound_there():
    means = HeldOutMeans(error=0.02, kl=7.0, n_active=3.0)
    g = COMMON_NOISE
    expected = 0.02 / g + 5 * math.log(2 * math.pi * g) + 2 * 7.0
    assert loss_at_common_noise(means, g, 5) == pytest.approx(expected)
    # A run that is further down already is not charged, nor paid.
    assert loss_at_common_noise(means, g / 10, 5) == pytest.approx(expected)


def test_loss_charges_for_the_way_down():
    """Each active latent costs log(g / g_common) more of twice the divergence."""
    means = HeldOutMeans(error=0.02, kl=7.0, n_active=3.0)
    extra = loss_at_common_noise(means, 100 * COMMON_NOISE, 5) - loss_at_common_noise(
        means, COMMON_NOISE, 5
    )
    assert extra == pytest.approx(3 * math.log(100))


def test_loss_prefers_fewer_dimensions_at_equal_error():
    few, many = HeldOutMeans(0.02, 7.0, 3.0), HeldOutMeans(0.02, 7.0, 8.0)
    assert loss_at_common_noise(few, 0.01, 5) < loss_at_common_noise(many, 0.01, 5)
