"""Arguments that generators of the benchmarks refuse."""

import pytest

from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from benchmarks.generators.swiss_rolls import make_swiss_rolls
from benchmarks.generators.transformed_images import make_transformed_images

REFUSED = {
    make_mlp_manifolds: [
        ({"hidden_layer_sizes": (64, 4)}, "hidden layer of 4 units cannot carry"),
        ({"hidden_layer_sizes": ()}, "hidden_layer_sizes is empty"),
        ({"hidden_layer_sizes": 64}, "hidden_layer_sizes must be a sequence of int"),
        ({"n_features": 7}, "A manifold of dimension 8 needs at least 8 features"),
    ],
    make_swiss_rolls: [
        ({"n_features": 2}, "A swiss roll needs at least 3 features, got n_features=2"),
        ({"n_rolls": 0}, "n_rolls must be at least 1"),
        ({"offset_scale": -1.0}, "offset_scale must be 0 or positive"),
    ],
    make_transformed_images: [
        ({"images": "paintings"}, "images must be 'photographs' or 'digits', got 'paintings'"),
        ({"n_features": 50}, "n_features must be a square number such as 256, got 50"),
        ({"dims": (8,)}, "dims must be at most 7, got 8"),
        ({"dims": ()}, "dims is empty"),
        ({"dims": (5,), "n_features": 4}, "needs at least 5 features"),
    ],
}


@pytest.mark.parametrize("make", REFUSED)
def test_bad_arguments(make, subtests):
    for arguments, match in REFUSED[make]:
        error = TypeError if arguments == {"hidden_layer_sizes": 64} else ValueError
        with subtests.test(match=match), pytest.raises(error, match=match):
            make(10, **arguments)
