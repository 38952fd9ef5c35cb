"""Settings that would change nothing, or do another thing than they seem to, say so."""

import numpy as np
import pytest

from skvaeense import VAEase, VAEenseTransformer


def test_error_for_network_lists_only_what_fit_takes():
    with pytest.raises(ValueError, match="must be a str among") as error:
        VAEenseTransformer(model=VAEase("deep")).fit(np.eye(5))
    assert "mlp" in str(error.value)
    assert "unrolled" not in str(error.value)
    with pytest.raises(ValueError, match="only works in SparseAutoencoder"):
        VAEenseTransformer(model=VAEase("unrolled")).fit(np.eye(5))


@pytest.mark.parametrize("target", [{"target_l0": 2}, {"target_explained_variance": 0.9}])
@pytest.mark.parametrize("model", ["mixture", "vaease", VAEase()], ids=str)
def test_error_for_a_target_that_a_model_cannot_meet(model, target):
    with pytest.raises(ValueError, match=r"sets a price on gates, which model=.* does not have"):
        VAEenseTransformer(model=model, **target).fit(np.eye(5))
