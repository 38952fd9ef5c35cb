import math

import pytest
import torch

from skvaeense.objectives import Price
from skvaeense.objectives._price import GAIN, LAST_GAIN, MOST_EXCESS


def l0_of(*n_active):
    """Return the mean number of active latents of some samples."""
    return torch.tensor(n_active, dtype=torch.float64).mean()


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 0.0), (0.1, 0.25), (0.3, 0.75), (0.4, 1.0), (0.99, 1.0)]
)
def test_price_rises_over_the_warmup(progress, share):
    assert Price(2.0, warmup=0.4).at(progress) == pytest.approx(2.0 * share)


@pytest.mark.parametrize("progress", [0.0, 0.01, 0.9])
def test_price_without_warmup(progress):
    assert Price(2.0, warmup=0).at(progress) == 2.0


def test_price_without_a_target_is_fixed():
    price = Price(2.0, warmup=0.1)
    for progress in (0.0, 0.2, 0.5, 0.9):
        price.observe(l0_of(50, 60), progress)
    assert price.alpha == 2.0
    assert price.at(0.95) == 2.0


def test_price_follows_its_formula():
    """Twice: 6 active latents on average where 4 are wanted, then 3."""
    price = Price(0.5, target_l0=4, warmup=0.1)
    price.observe(l0_of(4, 8), 0.5)
    gains = [GAIN + (LAST_GAIN - GAIN) * p**2 for p in (0.5, 0.6)]
    first = 0.5 * 1.5 ** gains[0]
    assert float(price.alpha) == pytest.approx(first, rel=1e-9)
    price.observe(l0_of(3, 2, 4), 0.6)
    assert float(price.alpha) == pytest.approx(first * 0.75 ** gains[1], rel=1e-9)
    assert float(price.at(0.7)) == float(price.alpha)


@pytest.mark.parametrize("n_active", [64, 4, 2, 1, 0])
def test_excess_is_clipped(n_active):
    """A batch without active latents has the logarithm of 0, which must not get through."""
    price = Price(0.5, target_l0=1, warmup=0.0)
    price.observe(l0_of(n_active, n_active), 0.0)
    excess = -MOST_EXCESS if n_active == 0 else min(math.log(n_active), MOST_EXCESS)
    assert MOST_EXCESS < math.log(64)
    assert float(price.alpha) == pytest.approx(0.5 * math.exp(GAIN * excess), rel=1e-9)


def test_silence_does_not_break_the_price():
    price = Price(0.5, target_l0=3, warmup=0.0)
    for _ in range(100):
        price.observe(l0_of(0, 0), 0.5)
    assert 0 < float(price.alpha) < 0.5
    assert math.isfinite(float(price.at(0.5)))


def test_too_many_active_latents_raise_the_price_and_too_few_lower_it():
    high, low, right = (Price(0.5, target_l0=5, warmup=0.0) for _ in range(3))
    high.observe(l0_of(6), 0.1)
    low.observe(l0_of(4), 0.1)
    right.observe(l0_of(3, 7), 0.1)
    assert float(low.alpha) < 0.5 < float(high.alpha)
    assert float(right.alpha) == 0.5


@pytest.mark.parametrize(("progress", "moves"), [(0.0, False), (0.29, False), (0.3, True)])
def test_price_is_adapted_after_the_warmup(progress, moves):
    price = Price(0.5, target_l0=5, warmup=0.3)
    price.observe(l0_of(20), progress)
    assert (float(price.alpha) != 0.5) == moves


def test_adapted_price_stays_where_it_is_computed():
    """Reading it would wait for the device at every step."""
    price = Price(0.5, target_l0=5, warmup=0.1)
    price.observe(l0_of(20), 0.5)
    assert isinstance(price.at(0.5), torch.Tensor)
    assert not price.at(0.5).requires_grad


def test_price_finds_the_target():
    """Where the number of active latents falls as the price rises: l0 = 10 / alpha."""
    price = Price(0.2, target_l0=5, warmup=0.0)
    for _ in range(round(8 / GAIN)):
        n_active = min(64, round(10 / float(price.alpha)))
        price.observe(l0_of(n_active), 0.5)
    assert float(price.alpha) == pytest.approx(2.0, rel=0.15)
