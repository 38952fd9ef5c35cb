"""What the first fit of a process loads."""

import subprocess
import sys

import pytest

# It takes longer to load than a default fit of a small table.
SLOW = "torch._dynamo"
SCRIPT = """
import sys, tempfile
import numpy as np
from sklearn.datasets import load_iris
import skvaeense
X = load_iris().data
fitted = skvaeense.{estimator}.fit(X)
if hasattr(fitted, "transform"):
    fitted.transform(X)
with tempfile.TemporaryDirectory() as folder:
    skvaeense.save(fitted, folder + "/model.safetensors")
    skvaeense.load(folder + "/model.safetensors")
sys.exit({slow!r} in sys.modules)
"""


@pytest.mark.parametrize(
    "estimator",
    [
        "VAEenseTransformer(max_iter=5)",
        "VAEenseTransformer(prior='mixture', max_iter=5)",
        "SparseAutoencoder(max_iter=5)",
        "IntrinsicDimensionEstimator()",
    ],
)
def test_no_compiler_is_loaded(estimator):
    script = SCRIPT.format(estimator=estimator, slow=SLOW)
    command = [sys.executable, "-W", "ignore", "-c", script]
    assert subprocess.run(command, check=False, timeout=120).returncode == 0
