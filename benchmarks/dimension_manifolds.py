"""The dimension of whole sets: scikit-dimension's BenchmarkManifolds, 2,500 samples each.

    python -m benchmarks dimension_manifolds --peer-python PYTHON [--only METHOD ...] [--seeds 5]

The methods are `auto`, which is IntrinsicDimensionEstimator, `rival` and the peers.
The peers are methods of scikit-dimension 0.5.0; the given Python must have this package and pandas.
The rival is a trivial method that knows the true dimensions: PCA to 99 % of the variance, FastICA,
and the mean number of codes above one level, which is chosen by the true dimensions of all
manifolds. All other methods have their defaults. An error is the absolute difference from the true
dimension, divided by the true dimension. For methods with standard errors, `auto` and GRIDE, the
share of true dimensions within two standard errors is also measured. Each seed draws the samples
anew. Methods can be added to a file of results one at a time. All run on one thread; times are CPU
seconds.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning

from benchmarks.common import apart, fit, load, make_parser, save
from skvaeense import IntrinsicDimensionEstimator

NAME = "BenchmarkManifolds"
PEERS = ("DANCo", "GRIDE", "TwoNN", "MLE", "lPCA FO", "global PCA")


def draw_manifolds(python, seed, peers=()):
    """Return the sets of a seed, and a row for each with its true and estimated dimensions."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        job = ("manifolds", data, seed, *peers)
        said = apart("benchmarks.peers.dimension", *job, python=python)
        with np.load(data) as file:
            return dict(file), said


def ours(sets, truth, seed):
    """Return the dimension of each set by IntrinsicDimensionEstimator."""
    rows = {}
    for name, X in sets.items():
        model = IntrinsicDimensionEstimator(random_state=seed)
        seconds = fit(model, X)
        std = model.dimension_std_
        rows[name] = {"auto": model.dimension_, "auto std": std, "auto seconds": seconds}
    return rows


def rival(sets, truth, seed):
    """Return the mean number of independent components above the level that suits all sets best."""
    codes = {}
    for name, X in sets.items():
        ica = FastICA(random_state=seed, whiten="unit-variance", max_iter=500)
        codes[name] = np.abs(ica.fit_transform(PCA(0.99, svd_solver="full").fit_transform(X)))

    def counts(level):
        return {name: float((c > level).sum(axis=1).mean()) for name, c in codes.items()}

    def error(level):
        return np.mean([abs(count / truth[name] - 1) for name, count in counts(level).items()])

    best = counts(min(np.linspace(0, 2, 201), key=error))
    return {name: {"PCA and ICA": count} for name, count in best.items()}


METHODS = {"auto": ours, "rival": rival}


def measure(methods, python, seed):
    """Return a row for each manifold: its true dimension, and the estimate of each method."""
    sets, rows = draw_manifolds(python, seed, [name for name in PEERS if name in methods])
    truth = {name: row["truth"] for name, row in rows.items()}
    for method, run in METHODS.items():
        if method in methods:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                for name, row in run(sets, truth, seed).items():
                    rows[name] |= row
    return rows


def summarise(runs):
    """Return the mean error of each method, the error of its worst seed, and its worst manifold."""
    said = {method for run in runs.values() for row in run.values() for method in row}
    summary = {}
    for method in sorted(said - {"truth"}):
        if method.endswith((" std", " seconds")):
            continue
        errors = [
            {name: abs(row[method] / row["truth"] - 1) for name, row in run.items()}
            for run in runs.values()
            if all(method in row for row in run.values())
        ]
        of_seeds = [np.mean(list(e.values())) for e in errors]
        of_manifolds = {name: float(np.mean([e[name] for e in errors])) for name in errors[0]}
        worst = max(of_manifolds, key=of_manifolds.get)
        summary[method] = {
            "error_mean": float(np.mean(of_seeds)),
            "error_worst": float(max(of_seeds)),
            "n_seeds": len(errors),
            "worst_manifold": worst,
            "error_of_worst_manifold": of_manifolds[worst],
        }
        covered = [
            abs(row[method] - row["truth"]) <= 2 * row[f"{method} std"]
            for run in runs.values()
            for row in run.values()
            if f"{method} std" in row
        ]
        if covered:
            summary[method]["covered"] = float(np.mean(covered))
    return summary


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=[*METHODS, *PEERS], out="dimension_manifolds.json")
    parser.add_argument(
        "--peer-python", required=True, help="a Python that has scikit-dimension and pandas"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = load(arguments.out).get(NAME, {"runs": {}})["runs"]
    for seed in range(arguments.seeds):
        rows = measure(arguments.only, arguments.peer_python, seed)
        before = runs.get(str(seed), {})
        runs[str(seed)] = {name: before.get(name, {}) | row for name, row in rows.items()}
        summary = summarise(runs)
        save(arguments.out, NAME, {"summary": summary, "runs": runs})
        print(seed, {method: round(row["error_mean"], 4) for method, row in summary.items()})
