import numpy as np
import pytest
import torch
from helpers import draw
from numpy.testing import assert_allclose

from skvaeense.losses import DenoisingScoreMatching
from skvaeense.models import Denoiser
from skvaeense.utils._seeding import make_generator


class Best(torch.nn.Module):
    """The best prediction for Gaussian samples with these variances."""

    def __init__(self, *variances):
        super().__init__()
        self.variances = torch.tensor(variances, dtype=torch.float64)
        self.seen = []

    def noise(self, z, level):
        self.seen.append((z, level))
        return level * z / (self.variances + level**2)


def make_samples(n_samples, *variances):
    return draw(n_samples, len(variances)) * torch.tensor(variances).double().sqrt()


def loss_of(model, x, levels=(0.1, 1.0), seed=1):
    terms = DenoisingScoreMatching(levels).terms(model, x, generator=make_generator(seed))
    assert list(terms) == ["loss"]
    return terms["loss"]


def test_least_loss_of_a_gaussian(subtests):
    """The residual noise is its share along the data. Without data, the noise is known."""
    for variances in ((1.0, 1.0, 1.0), (4.0, 1.0, 0.0)):
        for level in (0.1, 1.0):
            with subtests.test(level=level, variances=variances):
                loss = loss_of(
                    Best(*variances), make_samples(40_000, *variances), (level, level * 1.0001)
                )
                expected = sum(v / (v + level**2) for v in variances)
                assert float(loss) == pytest.approx(expected, rel=0.03)


def test_a_worse_prediction_has_a_greater_loss():
    x = make_samples(2000, 4.0, 1.0, 0.1)
    assert loss_of(Best(4.0, 1.0, 0.1), x) < loss_of(Best(1.0, 1.0, 1.0), x)


def test_levels_are_even_on_a_logarithmic_scale():
    model = Best(1.0, 1.0, 1.0)
    loss_of(model, torch.zeros(4000, 3, dtype=torch.float64), (0.01, 1.0))
    ((z, level),) = model.seen
    assert level.shape == (4000, 1)
    position = (torch.log10(level) + 2) / 2
    assert_allclose(np.histogram(position, 4, (0, 1))[0], 1000, atol=150)
    # The noise in the samples has the level that the model gets.
    assert float((z / level).std()) == pytest.approx(1, abs=0.03)


def test_gradients_reach_the_model():
    model = Denoiser(3, [4], (0.1, 1.0), generator=make_generator(0)).double()
    loss_of(model, draw(5, 3)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_losses_of_samples_follow_their_formula():
    loss, model = DenoisingScoreMatching((0.1, 0.8)), Best(2.0, 1.0, 0.5)
    x, noise = make_samples(4, 2.0, 1.0, 0.5), draw(8, 3, seed=1)
    losses = loss.sample_losses(model, x, noise)
    levels = np.geomspace(0.1, 0.8, 8)
    errors = [
        (e - t * (x + t * e) / (model.variances + t**2)).square().sum(dim=1)
        for e, t in zip(noise, levels, strict=True)
    ]
    torch.testing.assert_close(losses, torch.stack(errors).mean(dim=0))
    alone = torch.cat([loss.sample_losses(model, row[None], noise) for row in x])
    torch.testing.assert_close(alone, losses)


def test_noise_comes_from_the_generator():
    x, before = make_samples(10, 1.0, 1.0), torch.get_rng_state()
    first, again, other = (float(loss_of(Best(1.0, 1.0), x, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)
