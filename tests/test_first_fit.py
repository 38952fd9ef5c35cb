"""What the first fits of a process load."""

import subprocess
import sys

# It takes longer to load than a default fit of a small table.
SLOW = "torch._dynamo"
ESTIMATORS = [
    "SparseAutoencoder(max_iter=5)",
    "VAEenseTransformer(prior='mixture', max_iter=5)",
    "VAEenseTransformer(max_iter=5)",
    "IntrinsicDimensionEstimator(VAEenseTransformer(max_iter=5))",
]
SCRIPT = f"""
import sys, tempfile
from sklearn.datasets import load_iris
from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense import load, save
X = load_iris().data
for estimator in [{", ".join(ESTIMATORS)}]:
    estimator.fit(X)
    if hasattr(estimator, "transform"):
        estimator.transform(X)
    with tempfile.TemporaryDirectory() as folder:
        save(estimator, folder + "/model.safetensors")
        load(folder + "/model.safetensors")
    if {SLOW!r} in sys.modules:
        sys.exit(f"{{estimator}} has loaded it")
"""


def test_no_compiler_is_loaded():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
