import torch
from helpers import draw

from skvaeense.models import Denoiser
from skvaeense.utils._seeding import make_generator


def make_denoiser(sizes=(6, 4), n_features=3, seed=0):
    model = Denoiser(n_features, list(sizes), (0.1, 0.4), generator=make_generator(seed))
    return model.double()


@torch.no_grad()
def test_one_prediction_for_each_entry(subtests):
    for n_features in (1, 3):
        for sizes in ((6,), (6, 4), (5, 4, 3)):
            with subtests.test(sizes=sizes, n_features=n_features):
                model, z = make_denoiser(sizes, n_features), draw(5, n_features)
                noise = model.noise(z, torch.full((1, 1), 0.2, dtype=torch.float64))
                assert noise.shape == z.shape
                # The level can be one number for all samples, or one for each sample.
                each = model.noise(z, torch.full((5, 1), 0.2, dtype=torch.float64))
                torch.testing.assert_close(each, noise)
                torch.testing.assert_close(
                    model.noise(z[2:3], each.new_full((1, 1), 0.2)), noise[2:3]
                )


@torch.no_grad()
def test_starts_from_what_is_best_for_a_gaussian():
    model, z = make_denoiser(), draw(5, 3)
    model.output.weight.zero_()
    for level in (0.1, 0.3):
        noise = model.noise(z, z.new_full((1, 1), level))
        torch.testing.assert_close(noise, level * z / (1 + level**2))


@torch.no_grad()
def test_sees_the_level():
    model, z = make_denoiser(), draw(5, 3)

    def rest(level):
        """Return the output minus the term for Gaussian samples, without the scale of the input."""
        c = 1 / (1 + level**2)
        noise = model.noise(z / c**0.5, z.new_full((1, 1), level))
        return (level * c**0.5 * z - noise) / c**0.5

    for level, other in ((0.1, 0.25), (0.25, 0.4), (0.1, 0.4)):
        assert (rest(level) - rest(other)).abs().max() > 1e-6
    model.gains.weight.zero_()
    torch.testing.assert_close(rest(0.1), rest(0.4))
