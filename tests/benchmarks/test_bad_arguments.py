"""Arguments that generators of the benchmarks refuse."""

import pytest

from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from benchmarks.generators.swiss_rolls import make_swiss_rolls
from benchmarks.generators.transformed_images import make_transformed_images

REFUSED = {
    make_mlp_manifolds: [
        ({"hidden_layer_sizes": (64, 4)}, "hidden layer of 4 units cannot carry"),
        (
            {"hidden_layer_sizes": ()},
            "'hidden_layer_sizes' parameter of make_mlp_manifolds must be a list",
        ),
        ({"hidden_layer_sizes": 64}, "must be a list such as"),
        ({"n_features": 7}, "A manifold of dimension 8 needs at least 8 features"),
    ],
    make_swiss_rolls: [
        ({"n_features": 2}, "A swiss roll needs at least 3 features, got n_features=2"),
        ({"n_rolls": 0}, "'n_rolls' parameter of make_swiss_rolls must be an int"),
        ({"offset_scale": -1.0}, "'offset_scale' parameter of make_swiss_rolls must be a float"),
    ],
    make_transformed_images: [
        (
            {"images": "paintings"},
            "'images' parameter of make_transformed_images must be a str among",
        ),
        ({"n_features": 50}, "n_features must be a square number such as 256, got 50"),
        ({"dims": (8,)}, "dims must be at most 7, got 8"),
        ({"dims": ()}, "'dims' parameter of make_transformed_images must be a list"),
        ({"dims": (5,), "n_features": 4}, "needs at least 5 features"),
    ],
}


@pytest.mark.parametrize("make", REFUSED)
def test_bad_arguments(make, subtests):
    for arguments, match in REFUSED[make]:
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            make(10, **arguments)
