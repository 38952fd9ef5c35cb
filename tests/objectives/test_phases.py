"""The noise levels of the phases, and the judge of the starts."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import norm

from skvaeense.networks import Linear
from skvaeense.objectives import ELBO
from skvaeense.objectives._penalised import penalised_terms
from skvaeense.objectives._phases import (
    COMMON_NOISE,
    FINAL_NOISE,
    HeldOutMeans,
    bound_terms,
    error_at_noise,
    final_noise,
    held_out_means,
    loss_at_common_noise,
    start_noise,
)

MAKERS = [
    partial(start_noise, mean_eigenvalue=1.0),
    partial(start_noise, mean_eigenvalue=30.0),
    partial(final_noise, common=COMMON_NOISE),
]


def test_a_start_comes_down_to_the_common_level():
    noise = start_noise(0.3, 3.0, learned=True)
    assert noise.at(0.0) == 0.3
    assert noise.at(0.999) == pytest.approx(COMMON_NOISE, rel=0.05)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("level", [1e-8, 1e-5, 1e-3, 1.0])
def test_levels_never_rise(make, level):
    """Also where the first level is under the usual last one."""
    noise = make(level, learned=True)
    values = [float(noise.at(p / 100)) for p in range(100)]
    assert all(0 < b <= a * (1 + 1e-9) for a, b in pairwise(values))


@pytest.mark.parametrize("make", MAKERS)
def test_a_level_that_is_not_learned_is_kept(make):
    noise = make(0.2, learned=False)
    noise.observe(torch.tensor(0.01))
    assert noise.at(0.99) == 0.2


def test_the_common_level_rises_where_data_varies_in_few_directions():
    assert start_noise(2.0, 30.0, learned=True).floor == pytest.approx(9e-3)


def test_a_low_start_is_not_raised_to_the_common_level():
    assert start_noise(1e-5, 1.0, learned=True).floor == 1e-5


def test_fixed_noise_is_compared_at_its_own_level():
    noise = start_noise(0.2, 1.0, learned=False)
    noise.observe(torch.tensor(0.9))
    assert noise.floor == noise.at(0.9) == 0.2


def test_the_last_phase_follows_the_error_from_its_first_step():
    noise = final_noise(1e-3, 1e-3, learned=True)
    noise.observe(torch.tensor(5e-4))
    assert float(noise.at(0.01)) < 5e-4
    assert float(noise.at(1.0)) == pytest.approx(5e-4)
    assert noise.floor == FINAL_NOISE * 1e-3


def test_the_judge_charges_for_latents_that_are_still_cheap():
    means = HeldOutMeans(error=0.02, kl=5.0, n_active=3.0)
    there = loss_at_common_noise(means, 1e-3, 1e-3, 10)
    above = loss_at_common_noise(means, 1e-2, 1e-3, 10)
    assert there == pytest.approx(error_at_noise(0.02, 1e-3, 10) + 10.0)
    assert above - there == pytest.approx(3.0 * math.log(10))
    # A run that is further down already is not charged, nor paid.
    assert loss_at_common_noise(means, 1e-4, 1e-3, 10) == pytest.approx(there)


def test_the_judge_prefers_fewer_dimensions_at_equal_error():
    few, many = HeldOutMeans(0.02, 7.0, 3.0), HeldOutMeans(0.02, 7.0, 8.0)
    assert loss_at_common_noise(few, 0.01, 1e-3, 5) < loss_at_common_noise(many, 0.01, 1e-3, 5)


def test_held_out_means_are_those_of_the_terms():
    generator = torch.Generator().manual_seed(0)
    module = Linear((8,)).build(5, 3, n_heads=2, generator=generator)
    x = torch.randn(20, 5, generator=generator)
    objective = ELBO(start_noise(0.1, 1.0, learned=True))
    means = held_out_means(objective, module, x)
    mean, log_variance = objective.posterior(module, x)
    terms = objective.exact_terms(module, x, mean, log_variance)
    assert means.error == pytest.approx(float(terms.error.mean().detach()), rel=1e-5)
    assert means.kl == pytest.approx(float(terms.kl.mean().detach()), rel=1e-5)
    assert means.n_active == pytest.approx(
        float((log_variance.exp() < 0.5).sum(dim=1).double().mean())
    )


@pytest.mark.parametrize("noise_variance", [0.01, 2.0])
def test_error_at_noise_is_a_gaussian_density(noise_variance):
    residual = np.array([0.3, -1.0, 0.2])
    density = norm.logpdf(residual, scale=np.sqrt(noise_variance)).sum()
    assert error_at_noise(float(residual @ residual), noise_variance, 3) == pytest.approx(
        -2 * density
    )


def test_terms_of_the_bound_are_in_the_units_of_the_samples():
    """Lengths are 10 times those of the scaled data, squares 100 times."""
    losses = [(0.5, 6.0, 0.1), (0.2, 8.0, 0.05)]
    terms = bound_terms(losses, 4, 10.0)
    assert_allclose(terms.error, [50.0, 20.0])
    assert_allclose(terms.kl, [3.0, 4.0])
    assert_allclose(terms.noise_variance, [10.0, 5.0])
    for i in range(2):
        density = error_at_noise(terms.error[i], terms.noise_variance[i], 4)
        assert terms.loss[i] == pytest.approx(0.5 * density + terms.kl[i])


def test_terms_of_the_penalised_error():
    terms = penalised_terms([(6.0, 2.0, 0.5), (3.0, 1.0, 0.25)], 3)
    assert terms.error.tolist() == [2.0, 1.0]
    assert terms.penalty.tolist() == [2.0, 1.0]
    assert terms.price.tolist() == [0.5, 0.25]
    assert terms.loss.tolist() == [3.0, 1.25]
