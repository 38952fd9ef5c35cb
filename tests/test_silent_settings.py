"""Settings that would change nothing, or do another thing than they seem to, say so."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.datasets import make_affine_subspaces, make_sparse_dictionary
from skvaeense.metrics import l0
from skvaeense.penalties import TopK


def test_a_share_as_n_components_names_its_parameter():
    with pytest.raises(ValueError, match="set target_explained_variance for a share"):
        VAEenseTransformer(0.9).fit(np.eye(5))


def test_error_for_network_lists_only_what_fit_takes():
    with pytest.raises(ValueError, match="must be a str among") as error:
        VAEenseTransformer(network="deep").fit(np.eye(5))
    assert "mlp" in str(error.value)
    assert "unrolled" not in str(error.value)
    with pytest.raises(ValueError, match="only works in SparseAutoencoder"):
        VAEenseTransformer(network="unrolled").fit(np.eye(5))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_active_latents_than_there_are_is_a_warning():
    X = np.random.default_rng(0).standard_normal((100, 6))
    with pytest.warns(UserWarning, match=r"TopK\(k=32\) keeps k=32 latents, but there are only 5"):
        SparseAutoencoder(5, penalty=TopK(32), max_iter=2, random_state=0).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        SparseAutoencoder(5, penalty=TopK(5), max_iter=2, random_state=0).fit(X)


def test_a_threshold_without_effect_is_a_warning():
    X = make_sparse_dictionary(
        600, n_atoms=12, n_active=2, n_features=12, noise=0.05, random_state=0
    )[0]
    vaeense = VAEenseTransformer(random_state=0).fit(X)
    assert vaeense.explanation_ == "gates"
    expected = vaeense.active_dimensions(X)
    with pytest.warns(UserWarning, match="threshold='otsu' has no effect") as caught:
        active = vaeense.set_params(threshold="otsu").active_dimensions(X)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(active, expected)


def test_l0_of_codes_with_locations_is_a_warning():
    X = make_affine_subspaces(600, dims=(1, 2), n_features=8, random_state=0)[0]
    vaeense = VAEenseTransformer(random_state=0).fit(X)
    n_locations = len(vaeense.locations_)
    codes, active = vaeense.transform(X), vaeense.active_dimensions(X)
    with pytest.warns(UserWarning, match=f"The last {n_locations} columns .* locations") as caught:
        assert l0(codes) == pytest.approx(l0(active) + 1)
    assert caught[0].filename == __file__
    # Latents alone are no locations, nor is a mask of single latents.
    assert l0(codes[:, :-n_locations]) == l0(active)
    assert l0(np.eye(3)) == 1
