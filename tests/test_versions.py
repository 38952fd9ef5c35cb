"""Results agree between all versions of torch, NumPy and scikit-learn, up to rounding.

After an intended change of training, `python tests/test_versions.py` writes new numbers.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import fit_unwarned, quick_sae, with_net
from numpy.testing import assert_allclose

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.nets.networks import Linear
from skvaeense.nets.penalties import BatchTopK

REFERENCE = Path(__file__).parent / "data" / "reference.json"
# In double precision, other orders of sums change little, also after several epochs.
PRECISE = {"dtype": "float64", "random_state": 0, "max_iter": 12}
VAE = with_net(4, network=Linear((16,)), n_init=2, **PRECISE)
ESTIMATORS = {
    "vaeense": VAE,
    "vae": with_net(4, gated=False, network=Linear((16,)), n_init=1, **PRECISE),
    "l1": quick_sae("l1", **PRECISE),
    "batch_topk": quick_sae(BatchTopK(3), **PRECISE),
    "jump_relu": quick_sae("jump_relu", **PRECISE),
    "dimension": IntrinsicDimensionEstimator(VAE, random_state=0),
}


def numbers(name):
    """Return a few numbers that depend on the whole training of an estimator and on its outputs."""
    rng = np.random.default_rng(0)
    X = np.kron(np.eye(2), rng.normal(size=(100, 2))) @ rng.normal(size=(4, 6))
    X = X + 0.05 * rng.normal(size=X.shape)
    fitted = fit_unwarned(ESTIMATORS[name], X)
    answers = fitted.transform(X)
    found = [fitted.score(X), answers.mean(), np.abs(answers).mean(), answers[7].sum()]
    return [float(number) for number in found]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_are_those_of_other_versions(name):
    assert_allclose(numbers(name), json.loads(REFERENCE.read_text())[name], rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    REFERENCE.write_text(json.dumps({name: numbers(name) for name in ESTIMATORS}, indent=1) + "\n")
