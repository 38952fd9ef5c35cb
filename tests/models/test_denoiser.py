import pytest
import torch

from skvaeense.networks._denoiser import Denoiser


def make_denoiser(sizes=(6, 4), n_features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Denoiser(n_features, list(sizes), (0.1, 0.4), generator=generator).double()


def make_samples(n_samples=5, n_features=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_samples, n_features, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("sizes", [(6,), (6, 4), (5, 4, 3)])
@pytest.mark.parametrize("n_features", [1, 3])
@torch.no_grad()
def test_one_prediction_for_each_entry(sizes, n_features):
    module, z = make_denoiser(sizes, n_features), make_samples(5, n_features)
    noise = module.noise(z, torch.full((1, 1), 0.2, dtype=torch.float64))
    assert noise.shape == z.shape
    # One level for all samples, or one for each.
    each = module.noise(z, torch.full((5, 1), 0.2, dtype=torch.float64))
    torch.testing.assert_close(each, noise)
    torch.testing.assert_close(module.noise(z[2:3], each.new_full((1, 1), 0.2)), noise[2:3])


@torch.no_grad()
def test_starts_from_what_is_best_for_a_gaussian():
    module, z = make_denoiser(), make_samples()
    module.output.weight.zero_()
    for level in (0.1, 0.3):
        noise = module.noise(z, z.new_full((1, 1), level))
        torch.testing.assert_close(noise, level * z / (1 + level**2))


@torch.no_grad()
def test_sees_the_level():
    module, z = make_denoiser(), make_samples()
    module.gains.weight.mul_(10)
    # Without its part for Gaussians, and without the input's scale, only the gains are left.
    outputs = []
    for level in (0.1, 0.25, 0.4):
        c = 1 / (1 + level**2)
        noise = module.noise(z / c**0.5, z.new_full((1, 1), level))
        outputs.append((level * c**0.5 * z - noise) / c**0.5)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert (outputs[a] - outputs[b]).abs().max() > 1e-3


def test_weights_come_from_the_generator():
    before = torch.get_rng_state()
    first, same, other = (make_denoiser(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c) or not a.any()
