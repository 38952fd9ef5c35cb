import numpy as np
import pytest

from skvaeense.dimension._posterior import WEIGHTS, Evidence, probability_right


def evidence(**given):
    """Return measurements that agree on three dimensions without noise, with changes."""
    agreed = dict.fromkeys(Evidence._fields, 3.0) | {"error": 0.03, "clear": 1.0}
    agreed |= {"bound": np.inf, "fall": np.inf, "growth": [1.0, 1.0, 1.0, 2.0], "evenness": 1.0}
    agreed["small"] = given.get("ratio", 3.0)
    agreed["lowest"] = given.get("least", 3.0)
    return Evidence(**{name: np.array([value]) for name, value in (agreed | given).items()})


def test_agreement_is_certain():
    (dimension,), (std,) = evidence().posterior()
    assert dimension == 3
    assert probability_right(std) > 0.9


@pytest.mark.parametrize("given", [{"ratio": 4.2, "least": 4.2}, {"rank": 5.0}])
def test_disagreement_is_less_certain(given):
    assert evidence(**given).posterior()[1] > 2 * evidence().posterior()[1]


def test_a_bound_by_equations_is_taken():
    assert evidence(ratio=8.6, least=8.4, rank=9.0, bound=8.0).posterior()[0] == 8


def test_a_bound_that_distances_deny_is_not_certain():
    """Equations that were not found would leave fewer dimensions."""
    denied = evidence(ratio=3.2, least=3.2, rank=4.0, bound=4.0, fall=1.5)
    assert probability_right(denied.posterior()[1]) < 0.9


def test_no_more_dimensions_than_equations_leave():
    high = {"ratio": 5.4, "least": 5.4, "rank": 6.0}
    assert evidence(**high, bound=5.0).posterior()[0] < evidence(**high).posterior()[0]


def test_a_thinner_direction_is_possible_where_variances_fall_little():
    errors = [evidence(fall=fall).posterior()[1][0] for fall in (1.0, 3.0, 30.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.3 * errors[-1]


def test_a_rest_that_grows_less_than_curves_is_a_thinner_direction():
    errors = [evidence(rest=power).posterior()[1][0] for power in (0.0, 1.5, 3.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.3 * errors[-1]


@pytest.mark.parametrize(("clear", "factor"), [(0.0, 1.0), (1.0, 1.2)])
def test_noise_can_be_a_reason_for_a_rest(clear, factor):
    (rough,), (smooth,) = (evidence(rest=p, clear=clear).posterior()[1] for p in (0.0, 3.0))
    assert rough >= factor * smooth
    assert clear or rough == smooth


def test_noise_fills_all_directions_evenly():
    """If it is in one direction, this may be a thinner direction."""
    errors = [evidence(evenness=share, clear=0.0).posterior()[1][0] for share in (0.3, 0.6, 1.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.2 * errors[-1]


def test_a_thin_direction_is_possible_though_distances_deny_it():
    """Distances do not see a direction that is thinner than they are."""
    thin, smooth = (evidence(ratio=3.0, least=3.0, rank=3.0, rest=power) for power in (0.0, 3.0))
    above = [np.diff(own.features(own.candidates())["above"][0, 2:4])[0] for own in (thin, smooth)]
    assert above[0] == 0
    assert above[1] > 1


def test_equations_that_leave_a_thinner_direction_are_not_believed():
    surface = {"rank": 2.0, "bound": 2.0, "ratio": 2.4, "least": 2.2}
    thick, surface = (evidence(rest=power, **surface).posterior()[1][0] for power in (0.0, 3.0))
    assert thick > 1.3 * surface


def test_without_distances_ranks_decide():
    (dimension,), (std,) = evidence(ratio=np.nan, least=np.nan).posterior()
    assert dimension == 3
    assert std > 0


def test_fractals_are_not_rounded():
    (dimension,), _ = evidence(ratio=1.35, least=1.35, error=0.005, rank=9.0).posterior()
    assert dimension == 1.35


def test_every_weight_has_a_measurement():
    given = evidence()
    assert set(given.features(given.candidates())) == set(WEIGHTS)


def test_samples_do_not_affect_each_other():
    one, other = evidence(ratio=3.3), evidence(ratio=40.0, least=30.0, rank=23.0)
    both = Evidence(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))
    for joined, *alone in zip(both.posterior(), one.posterior(), other.posterior(), strict=True):
        np.testing.assert_allclose(joined, np.concatenate(alone))


def test_what_is_usual_decides_where_a_sample_leaves_it_open_and_makes_none_surer():
    some = Evidence(*(np.repeat(values, 50, axis=0) for values in evidence()))
    usual = some.usual()
    assert np.exp(usual).sum() == pytest.approx(1)
    assert np.exp(usual).argmax() == 3
    unsure = evidence(ratio=3.5, least=3.2, rank=4.0, error=0.2)
    (alone,), _ = unsure.posterior()
    (dimension,), (std,) = unsure.posterior(usual)
    assert dimension == 3
    assert alone > 3
    assert std >= unsure.posterior()[1]
    # A sample that is sure keeps its dimension.
    sure = evidence(ratio=5.0, least=5.0, rank=5.0, error=0.01)
    assert sure.posterior(usual)[0] == 5


def test_dimensions_that_no_sample_has_are_possible():
    usual = evidence().usual()
    assert np.isfinite(usual).all()
    assert evidence(ratio=40.0, least=40.0, rank=40.0).posterior(usual)[0] == 40
