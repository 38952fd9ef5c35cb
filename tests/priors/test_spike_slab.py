import pytest
from helpers import SUBSPACES

from skvaeense import VAEenseTransformer
from skvaeense.priors import Mixture, Prior, SpikeSlab


def test_the_alias():
    assert type(Prior.resolve("spike_slab")) is SpikeSlab
    assert isinstance(SpikeSlab(), Mixture)


def test_bad_parameters(subtests):
    for params in (
        {"search": "few"},
        {"max_components": 0},
        {"n_components": "few"},
        {"lazy": 1},
    ):
        with subtests.test(params=params):
            (name,) = params
            vaeense = VAEenseTransformer(prior=SpikeSlab(**params))
            with pytest.raises(ValueError, match=f"The '{name}' parameter of SpikeSlab must be"):
                vaeense.fit(SUBSPACES.few)
