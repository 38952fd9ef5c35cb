"""Modules that a process loads when it imports the package, and during its first fits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Optional or heavy packages. The functions that need them import them, not the package itself.
LAZY = ["IPython", "huggingface_hub", "matplotlib", "pandas", "rich"]
LAZY += ["sae_lens", "skdim"]
# This module takes longer to load than a default fit of a small table.
SLOW = "torch._dynamo"
ESTIMATORS = [
    "SparseAutoencoder(max_iter=5)",
    "VAEenseTransformer(model='mixture')",
    "VAEenseTransformer()",
    "VAEenseTransformer(model=VAEase(max_iter=5))",
    "IntrinsicDimensionEstimator()",
]
# scikit-learn itself loads some of these modules, so the script records who imports each one.
SCRIPT = f"""
import builtins, importlib, json, pkgutil, sys, tempfile

real_import, lazy, slow = builtins.__import__, [], []

def spy(name, globals=None, *args, **kwargs):
    importer = (globals or {{}}).get("__name__") or ""
    if importer.split(".")[0] == "skvaeense" and name.split(".")[0] in {LAZY!r}:
        lazy.append(importer + " imports " + name)
    return real_import(name, globals, *args, **kwargs)

builtins.__import__ = spy
import skvaeense
for module in pkgutil.walk_packages(skvaeense.__path__, "skvaeense."):
    importlib.import_module(module.name)
builtins.__import__ = real_import

from sklearn.datasets import load_iris
from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder
from skvaeense import VAEase, VAEenseTransformer, load, save
X = load_iris().data[::5]
for estimator in [{", ".join(ESTIMATORS)}]:
    estimator.fit(X)
    if hasattr(estimator, "transform"):
        estimator.transform(X)
    with tempfile.TemporaryDirectory() as folder:
        save(estimator, folder + "/model.safetensors")
        load(folder + "/model.safetensors")
    if {SLOW!r} in sys.modules:
        slow.append(repr(estimator))
print(json.dumps({{"lazy": lazy, "slow": slow}}))
"""


@pytest.fixture(scope="module")
def loaded():
    """Return the lazy and slow imports, recorded in one process, since starting it takes long."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_imports_stay_light(loaded):
    assert loaded["lazy"] == []


def test_a_new_process_imports_neither_torch_nor_scikit_learn_and_loads_a_file():
    script = (
        "import sys, skvaeense; assert 'VAEenseTransformer' in dir(skvaeense); "
        "print(sorted({'sklearn', 'torch'} & set(sys.modules))); "
        "print(skvaeense.load(sys.argv[1]).n_features_in_)"
    )
    file = next((Path(__file__).parent / "data").glob("vaeense-*.safetensors"))
    command = [sys.executable, "-c", script, str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.split("\n")[0] == "[]"
    assert int(run.stdout.split("\n")[1]) > 0


def test_no_compiler_is_loaded(loaded):
    assert loaded["slow"] == []
