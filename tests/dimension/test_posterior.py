import numpy as np
import pytest

from skvaeense.dimension._posterior import WEIGHTS, Evidence, probability_right


def evidence(**given):
    """Return measurements that agree on three dimensions, with changes."""
    agreed = dict.fromkeys(Evidence._fields, 3.0)
    agreed |= {"error": 0.03, "thin_rank": 0.0, "bound": np.inf}
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


def test_without_distances_ranks_decide():
    (dimension,), (std,) = evidence(ratio=np.nan, least=np.nan).posterior()
    assert dimension == 3
    assert std > 0


def test_fractals_are_not_rounded():
    (dimension,), _ = evidence(ratio=1.5, least=1.5, error=0.005, rank=9.0).posterior()
    assert dimension == 1.5


def test_every_weight_has_a_measurement():
    given = evidence()
    assert set(given.features(given.candidates())) == set(WEIGHTS)


def test_samples_do_not_affect_each_other():
    one, other = evidence(ratio=3.3), evidence(ratio=40.0, least=30.0, rank=23.0)
    both = Evidence(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))
    for joined, *alone in zip(both.posterior(), one.posterior(), other.posterior(), strict=True):
        np.testing.assert_allclose(joined, np.concatenate(alone))
