"""CPU seconds of the first fit in a fresh process, with and without its imports.

    python -m benchmarks first_fits [--quick] [--repeats 5] [--only NAME ...] [--release FOLDER]

Every fit runs in a separate process, on one thread, like the first call of a user. Estimators have
their defaults, except that PCA, FactorAnalysis and dictionary learning have as many components as
PCA needs for 95 % of the variance. Estimators take turns, and the medians are saved in
results/first_fits.json. ``--release`` names a checkout of an earlier release, whose default
VAEenseTransformer is timed too. ``--quick`` runs each estimator once on tables, and only prints the
times, in less than three minutes. UMAP is timed if it is installed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from benchmarks.common import RESULTS, ROOT, make_parser, save
from benchmarks.data import read_mnist, subspaces

FILE = RESULTS / "first_fits.json"
# name: (module to import, expression of the estimator, with k components)
ESTIMATORS = {
    "VAEenseTransformer": ("skvaeense", "skvaeense.VAEenseTransformer(random_state=0)"),
    "PCA": ("sklearn.decomposition", "sklearn.decomposition.PCA(k)"),
    "FactorAnalysis": ("sklearn.decomposition", "sklearn.decomposition.FactorAnalysis(k)"),
    "GaussianMixture": ("sklearn.mixture", "sklearn.mixture.GaussianMixture(3, random_state=0)"),
    "MiniBatchDictionaryLearning": (
        "sklearn.decomposition",
        "sklearn.decomposition.MiniBatchDictionaryLearning(k, random_state=0)",
    ),
    "MLPRegressor": (
        "sklearn.neural_network",
        "sklearn.neural_network.MLPRegressor(random_state=0)",
    ),
}
if find_spec("umap"):
    ESTIMATORS["UMAP"] = ("umap", "umap.UMAP(random_state=0, n_jobs=1)")
SCRIPT = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
k, begin = {k}, time.process_time()
import {module}
# The package imports an estimator when it is first named.
estimator = {estimator}
imported = time.process_time()
import numpy as np
X = np.load({path!r})
before = time.process_time()
estimator.fit(X, {target})
print(json.dumps({{"import": imported - begin, "fit": time.process_time() - before}}))
"""
DATA = {
    "iris": lambda: load_iris().data,
    "wine": lambda: load_wine().data,
    "digits": lambda: load_digits().data,
    "union of 2/4/8 in R^50, n = 20,000": lambda: subspaces((2, 4, 8), 50, 20_000)(0)[0],
    "MNIST, n = 10,000": lambda: read_mnist(os.environ.get("SKVAEENSE_DATA"))[0][:10_000],
}
QUICK = ["iris", "wine", "digits"]
# Largest number of rows for these estimators. With more rows they take minutes.
MOST_ROWS = {"MiniBatchDictionaryLearning": 2_000, "MLPRegressor": 2_000, "UMAP": 2_000}


def measure(path, k, name, variables):
    """Return the CPU seconds of the import and of the fit of an estimator."""
    module, estimator = ESTIMATORS[name]
    target = "X" if name == "MLPRegressor" else "None"
    script = SCRIPT.format(module=module, estimator=estimator, path=path, k=k, target=target)
    command, paths = [sys.executable, "-c", script], {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command,
        # Python looks for modules in the working directory first, so start outside the repository.
        cwd=Path(path).parent,
        env=os.environ | paths | variables,
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(run.stdout)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, only=DATA)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--release", type=Path)
    arguments = parser.parse_args()
    chosen = QUICK if arguments.quick else arguments.only
    with tempfile.TemporaryDirectory() as folder:
        # Keep compiled files between processes, as an installed package does.
        variables = {"OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": folder}
        variables["PYTHONDONTWRITEBYTECODE"] = ""
        for data in chosen:
            X, path = np.asarray(DATA[data](), dtype=float), f"{folder}/X.npy"
            np.save(path, X)
            k = PCA(0.95).fit(X[:4096]).n_components_
            names = [name for name in ESTIMATORS if len(X) <= MOST_ROWS.get(name, len(X))]
            runs = {name: (name, variables) for name in names}
            if arguments.release is not None:
                own = variables | {"PYTHONPATH": str(arguments.release)}
                runs["earlier release"] = ("VAEenseTransformer", own)
            taken = {name: [] for name in runs}
            # The first turn compiles the modules and is not counted.
            for _ in range(1 + (1 if arguments.quick else arguments.repeats)):
                for name, run in runs.items():
                    taken[name].append(measure(path, k, *run))
            row = {
                name: {part: statistics.median(t[part] for t in turns[1:]) for part in turns[0]}
                for name, turns in taken.items()
            }
            for name, seconds in row.items():
                print(f"{data:36}{name:30}", *(f"{s:8.2f}" for s in seconds.values()), flush=True)
            if not arguments.quick:
                save(FILE, data, row)


if __name__ == "__main__":
    main()
