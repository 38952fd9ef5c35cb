import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skvaeense.objectives import DenoisingScoreMatching

N_FEATURES = 3


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Best(torch.nn.Module):
    """The best prediction for Gaussian samples with these variances."""

    def __init__(self, variances):
        super().__init__()
        self.variances = torch.tensor(variances, dtype=torch.float64)
        self.seen = []

    def noise(self, z, level):
        self.seen.append((z, level))
        return level * z / (self.variances + level**2)


def make_samples(variances, n_samples):
    x = torch.randn(n_samples, len(variances), generator=make_generator(5), dtype=torch.float64)
    return x * torch.tensor(variances, dtype=torch.float64).sqrt()


@pytest.mark.parametrize("level", [0.1, 1.0])
@pytest.mark.parametrize("variances", [(1.0, 1.0, 1.0), (4.0, 1.0, 0.0)])
def test_least_loss_of_a_gaussian(variances, level):
    """What is left of the noise is its share along the data; without data it is all known."""
    objective = DenoisingScoreMatching((level, level * 1.0001))
    x = make_samples(variances, 40_000)
    loss = objective.loss(Best(variances), x, progress=0.0, generator=make_generator())
    expected = sum(v / (v + level**2) for v in variances)
    assert float(loss.total) == pytest.approx(expected, rel=0.03)
    assert loss.total == loss.error
    assert loss.cost == 0
    assert objective.trade_off == 0.0


def test_a_worse_prediction_has_a_greater_loss():
    objective = DenoisingScoreMatching((0.1, 1.0))
    x = make_samples((4.0, 1.0, 0.1), 2000)
    best, other = (
        float(objective.loss(Best(v), x, progress=0.0, generator=make_generator()).total)
        for v in ((4.0, 1.0, 0.1), (1.0, 1.0, 1.0))
    )
    assert best < other


def test_levels_are_even_on_a_logarithmic_scale():
    module, objective = Best((1.0,) * N_FEATURES), DenoisingScoreMatching((0.01, 1.0))
    x = torch.zeros(4000, N_FEATURES, dtype=torch.float64)
    objective.loss(module, x, progress=0.0, generator=make_generator())
    z, level = module.seen[0]
    assert level.shape == (4000, 1)
    position = (torch.log10(level) + 2) / 2
    assert_allclose(np.histogram(position, 4, (0, 1))[0], 1000, atol=150)
    # The noise in the samples has the level that the module is told.
    assert float((z / level).std()) == pytest.approx(1, abs=0.03)


def test_gradients_reach_the_module():
    module = torch.nn.Linear(N_FEATURES, N_FEATURES)
    module.noise = lambda z, level: module(z)
    loss = DenoisingScoreMatching((0.1, 1.0)).loss(
        module, torch.ones(5, N_FEATURES), progress=0.0, generator=make_generator()
    )
    loss.total.backward()
    assert module.weight.grad.abs().sum() > 0
    assert not loss.error.requires_grad


def test_losses_of_samples_follow_their_formula():
    objective, module = DenoisingScoreMatching((0.1, 0.8)), Best((2.0, 1.0, 0.5))
    x = make_samples((2.0, 1.0, 0.5), 4)
    noise = torch.randn(8, 3, generator=make_generator(1), dtype=torch.float64)
    losses = objective.sample_losses(module, x, noise)
    levels = [0.1, 0.2, 0.4, 0.8] * 2
    expected = np.mean(
        [
            (e - t * (x + t * e) / (module.variances + t**2)).square().sum(dim=1).numpy()
            for e, t in zip(noise, levels, strict=True)
        ],
        axis=0,
    )
    assert_allclose(losses, expected, rtol=1e-9)
    alone = [float(objective.sample_losses(module, row[None], noise)[0]) for row in x]
    assert_allclose(alone, losses, rtol=1e-12)


def test_noise_comes_from_the_generator():
    objective, x = DenoisingScoreMatching((0.1, 1.0)), make_samples((1.0, 1.0), 10)
    before = torch.get_rng_state()
    losses = [
        float(objective.loss(Best((1.0, 1.0)), x, progress=p, generator=make_generator(s)).total)
        for s, p in ((0, 0.0), (0, 0.9), (1, 0.0))
    ]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), before)
    assert math.isfinite(losses[0])
