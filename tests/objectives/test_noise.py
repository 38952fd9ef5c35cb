import pytest
import torch

from skvaeense.objectives import NoiseVariance


def test_holds_its_start():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.4, settle=0.8)
    assert [noise.at(progress) for progress in (0.0, 0.2, 0.4)] == [0.5] * 3


def test_falls_geometrically():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.4, settle=0.8)
    assert noise.at(0.6) == pytest.approx(0.05)
    ratios = [noise.at(p + 0.1) / noise.at(p) for p in (0.45, 0.55, 0.65)]
    assert ratios == pytest.approx([0.01 ** (0.1 / 0.4)] * 3)


def test_does_not_fall_far_under_the_error():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.4, settle=0.8)
    noise.observe(torch.tensor(0.4))
    assert float(noise.at(0.45)) == pytest.approx(0.5 * 0.01 ** (0.05 / 0.4))
    assert 0.05 < float(noise.at(0.6)) < 0.4
    assert float(noise.at(0.6)) == pytest.approx(float(noise.at(0.79)))


def test_does_not_rise_over_its_start():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.4, settle=0.8)
    noise.observe(torch.tensor(100.0))
    assert float(noise.at(0.6)) == pytest.approx(0.5)


def test_reaches_its_floor_without_any_error_seen():
    assert NoiseVariance(0.5, floor=0.005).at(0.95) == pytest.approx(0.005)


def test_then_follows_the_error():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.4, settle=0.8)
    noise.observe(torch.tensor(0.07))
    assert float(noise.at(0.9)) == pytest.approx(0.07)
    assert float(noise.at(0.6)) == pytest.approx(0.05)


def test_follows_a_fraction_of_the_error_that_rises_to_one():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.0, settle=0.0, follow=0.7)
    noise.observe(torch.tensor(0.1))
    values = [float(noise.at(progress)) for progress in (0.001, 0.5, 0.999)]
    assert values[0] == pytest.approx(0.07, rel=1e-2)
    assert values == sorted(values)
    assert values[2] <= 0.1 * 1.0001


def test_follows_the_error_from_settle_on():
    noise = NoiseVariance(0.5, floor=0.005, hold=0.4, settle=0.8)
    noise.observe(torch.tensor(1.0))
    assert float(noise.at(0.8)) == 1.0


def test_does_not_fall_under_its_floor():
    noise = NoiseVariance(0.5, floor=0.005)
    noise.observe(torch.tensor(1e-9))
    assert float(noise.at(0.99)) == pytest.approx(0.005)


def test_error_is_averaged_over_batches():
    noise = NoiseVariance(0.5, floor=1e-6)
    noise.observe(torch.tensor(1.0))
    first = float(noise.at(0.9))
    noise.observe(torch.tensor(0.0))
    second = float(noise.at(0.9))
    for _ in range(500):
        noise.observe(torch.tensor(0.0))
    assert first == pytest.approx(1.0)
    assert 0.9 < second < 1.0
    assert float(noise.at(0.9)) < 1e-3


def test_observed_errors_are_not_written_to():
    noise, error = NoiseVariance(0.5, floor=1e-6), torch.tensor(1.0)
    noise.observe(error)
    noise.observe(torch.tensor(0.0))
    assert float(error) == 1.0


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.6, 0.99])
def test_stays_where_it_is_if_not_learned(progress):
    noise = NoiseVariance(0.5, floor=0.005, learned=False)
    noise.observe(torch.tensor(0.01))
    assert noise.at(progress) == 0.5
