"""Files of earlier versions can be loaded, and give the same outputs."""

from pathlib import Path

import numpy as np
import pytest
from helpers import outputs

from skvaeense import load

FILES = sorted(Path(__file__).parents[1].joinpath("data").glob("*-*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_old_file(path):
    estimator = load(path)
    with np.load(path.with_suffix(".npz")) as expected:
        found = outputs(estimator, expected["X"])
        assert found.keys() == set(expected.files) - {"X"}
        for name, value in found.items():
            # On another machine the order of sums differs.
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-8, err_msg=name)
    if hasattr(estimator, "partial_fit"):
        estimator.partial_fit(np.random.default_rng(0).normal(size=(40, estimator.n_features_in_)))


def test_there_is_a_file_of_every_estimator():
    kinds = {path.stem.split("-")[0] for path in FILES}
    assert kinds >= {
        "vaeense",
        "vaeense_of_flats",
        "vaeense_of_gates",
        "subspace_mixture",
        "gate_dictionary",
        "sparse_autoencoder",
        "intrinsic_dimension",
    }
