"""Settings that would change nothing, or do another thing than they seem to, say so."""

import numpy as np
import pytest
from helpers import APART, PAIRS, changed

from skvaeense import VAEenseTransformer
from skvaeense.metrics import l0


def test_error_for_network_lists_only_what_fit_takes():
    with pytest.raises(ValueError, match="must be a str among") as error:
        VAEenseTransformer(network="deep").fit(np.eye(5))
    assert "mlp" in str(error.value)
    assert "unrolled" not in str(error.value)
    with pytest.raises(ValueError, match="only works in SparseAutoencoder"):
        VAEenseTransformer(network="unrolled").fit(np.eye(5))


def test_a_threshold_without_effect_is_a_warning(pairs_fit):
    expected = pairs_fit.active_dimensions(PAIRS.new)
    with pytest.warns(UserWarning, match="threshold='otsu' has no effect") as caught:
        active = changed(pairs_fit, threshold="otsu").active_dimensions(PAIRS.new)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(active, expected)


def test_l0_of_codes_with_locations_is_a_warning(apart_fit):
    n_locations = len(apart_fit.locations_)
    codes, active = apart_fit.transform(APART.new), apart_fit.active_dimensions(APART.new)
    with pytest.warns(UserWarning, match=f"The last {n_locations} columns .* locations") as caught:
        assert l0(codes) == pytest.approx(l0(active) + 1)
    assert caught[0].filename == __file__
    # Latents alone are no locations, nor is a mask of single latents.
    assert l0(codes[:, :-n_locations]) == l0(active)
    assert l0(np.eye(3)) == 1
