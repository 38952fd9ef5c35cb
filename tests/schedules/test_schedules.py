from itertools import pairwise

import numpy as np
import pytest

from skvaeense.schedules import Constant, Cosine, Schedule

FRACTIONS = np.linspace(0, 1, 1001)


def test_constant():
    assert {Constant().factor(fraction) for fraction in FRACTIONS} == {1.0}


def test_cosine_rises_stays_and_falls(subtests):
    for warmup, hold in ((0.1, 0.1), (0.1, 0.6), (0.0, 0.5), (0.0, 0.0)):
        for floor in (0.0, 0.2):
            with subtests.test(floor=floor, warmup=warmup):
                schedule = Cosine(warmup, hold, floor)
                assert schedule.factor(0.0) == pytest.approx(0.04 if warmup else 1.0)
                assert (
                    schedule.factor(warmup)
                    == schedule.factor((warmup + hold) / 2)
                    == pytest.approx(1)
                )
                # Values of the cosine at quarters of the remaining way.
                for left, share in [
                    (0.25, 0.5 + 0.5**1.5),
                    (0.5, 0.5),
                    (0.75, 0.5 - 0.5**1.5),
                    (1.0, 0.0),
                ]:
                    factor = schedule.factor(hold + left * (1 - hold))
                    assert factor == pytest.approx(floor + (1 - floor) * share)
                factors = [schedule.factor(fraction) for fraction in FRACTIONS]
                assert max(factors) == pytest.approx(1)
                rise, fall = factors[: round(1000 * warmup) + 1], factors[round(1000 * hold) :]
                assert all(a <= b for a, b in pairwise(rise))
                assert all(a >= b for a, b in pairwise(fall))
                assert max(abs(a - b) for a, b in pairwise(factors)) < 0.02


def test_resolve_schedule():
    cosine = Cosine(hold=0.7)
    assert Schedule.resolve(cosine) is cosine
    assert isinstance(Schedule.resolve("cosine"), Cosine)
    assert isinstance(Schedule.resolve("constant"), Constant)
    with pytest.raises(ValueError, match=r"Schedule must be one of \['constant', 'cosine'\] or"):
        Schedule.resolve("linear")


def test_parameters_are_checked(subtests):
    for value in (-0.1, 1.0):
        for name in ("warmup", "hold", "floor"):
            with (
                subtests.test(name=name, value=value),
                pytest.raises(ValueError, match=f"The '{name}' parameter of Cosine"),
            ):
                Schedule.resolve(Cosine(**{name: value}))


def test_a_schedule_says_its_factor():
    with pytest.raises(TypeError, match="factor"):
        Schedule()
