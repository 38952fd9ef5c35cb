"""Fits of more rows than are held in one record, one search or one block."""

import pytest

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture

N_ROWS = 30_000


@pytest.fixture(scope="module")
def planes():
    return make_linear_subspaces(N_ROWS, dims=(1, 2), n_features=4, noise=0.05, random_state=0)[0]


@pytest.mark.parametrize(
    "estimator",
    [
        VAEenseTransformer(random_state=0),
        VAEenseTransformer(target_l0=1.5, random_state=0),
        SubspaceMixture(random_state=0),
        GateDictionary(random_state=0),
        IntrinsicDimensionEstimator(random_state=0),
    ],
    ids=lambda estimator: repr(estimator).split("(")[0],
)
def test_thirty_thousand_rows_are_fitted(estimator, planes):
    estimator.fit(planes)
    assert estimator.score(planes[:100]) > -10


def test_a_fit_of_many_rows_goes_on(planes):
    vaeense = VAEenseTransformer(warm_start=True, random_state=0).fit(planes)
    before = vaeense.score(planes)
    assert abs(vaeense.fit(planes).score(planes) - before) < 0.1
