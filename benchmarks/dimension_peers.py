"""Dimension of each sample on unions of manifolds and on images: our errors beside every peer's.

    python -m benchmarks dimension_peers [--peer-python PYTHON] [--only NAME ...] [--seeds 5]

Images are photographs and digits under 1 to 6 transforms, with and without noise. The unions are
those of benchmarks/dimension.py, which measures our errors on unions. The measure is the mean
absolute error per sample. Our errors are measured on held-out samples. The errors of the peers are
measured at 100 training samples of each seed, since peers have no values for other samples and some
take long. Peers find the neighbours of a sample among all training samples. Rows that the file has
are not measured again. Without a Python for the peers, the peers are left out.

The given Python must have the peers: `pip install scikit-dimension==0.5.0 dadapy==0.3.4` and
`pip install torchid[cpu]==0.5.1`, which needs Python 3.13, or `--ignore-requires-python`. Peers
have their defaults, except for numbers of neighbours. All run on one thread; times are CPU seconds.
"""

import functools
import tempfile
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import RESULTS, apart, load, make_parser, save
from benchmarks.data import HELD_OUT
from benchmarks.dimension import UNIONS, measure, summarise_methods
from benchmarks.dimension_families import HELD_OUT as HELD_OUT_OF_FAMILIES
from benchmarks.dimension_families import IMAGES
from skvaeense import IntrinsicDimensionEstimator

OUT = RESULTS / "dimension_peers.json"
PEERS = (
    "lPCA FO",
    "lPCA maxgap",
    "lPCA Minka",
    "lPCA KN",
    "lPCA MP",
    "lPCA GD",
    "lPCA participation ratio",
    "MLE",
    "TwoNN",
    "GRIDE",
    "CorrInt",
    "FisherS",
    "torchid ESS",
    "DADApy GRIDE",
    "L2N2",
)
# Number of training samples of each seed at which the peers are measured.
N_ASKED = 100


def union(name, seed):
    X, _, dimension = UNIONS[name](seed)
    return X, dimension


# name: (function of a seed that draws samples and dimensions, number of held-out samples)
EXPERIMENTS = {name: (functools.partial(union, name), HELD_OUT) for name in UNIONS}
EXPERIMENTS |= {name: (make, HELD_OUT_OF_FAMILIES) for name, make in IMAGES.items()}


def say(python, train, test, train_truth, truth, seed, methods):
    """Return the errors of methods: ours at held-out samples, the peers' at training samples."""
    said = {}
    if "auto" in methods:
        estimator = IntrinsicDimensionEstimator(random_state=seed)
        said["auto"] = measure(estimator, train, test, truth)
    peers = [name for name in methods if name != "auto"]
    return said | ask_peers(python, train, train_truth, peers) if peers else said


def ask_peers(python, train, truth, peers):
    """Return the errors of peers at the first training samples, computed in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        np.savez(job, X=train, truth=truth, n_asked=N_ASKED)
        return apart("benchmarks.peers.dimension", "pointwise", job, *peers, python=python)


def run(out, experiments, arguments, measured_elsewhere=()):
    """Measure the errors that a file of results lacks, and compare the methods."""
    # Measure all data sets with one seed before the next seed.
    for seed, name in product(range(arguments.seeds), arguments.only):
        runs = load(out).get(name, {"runs": []})["runs"]
        row = next((row for row in runs if row["seed"] == seed), {"seed": seed, "methods": {}})
        wanted = [] if name in measured_elsewhere else ["auto"]
        wanted += PEERS if arguments.peer_python else ()
        missing = [method for method in wanted if method not in row["methods"]]
        if not missing:
            continue
        make, n_held_out = experiments[name]
        X, dimension = make(seed)
        train, test = X[n_held_out:], X[:n_held_out]
        train_truth, truth = dimension[n_held_out:], dimension[:n_held_out]
        python = arguments.peer_python
        row["methods"] |= say(python, train, test, train_truth, truth, seed, missing)
        runs = sorted([r for r in runs if r["seed"] != seed] + [row], key=lambda r: r["seed"])
        summary = summarise_methods(runs)
        save(out, name, {"summary": summary, "runs": runs})
        print(name, seed, {k: round(v["error_mean"], 3) for k, v in summary.items()}, flush=True)
    compare(out)


def compare(out):
    """Print for each data set whether the error of our estimator is below that of every peer."""
    unions = load(RESULTS / "dimension_unions.json")
    for name, result in load(out).items():
        summary = {"auto": unions[name]["summary"]["auto"]} if name in unions else {}
        summary |= result["summary"]
        errors = {method: row["error_mean"] for method, row in summary.items()}
        ours = errors.pop("auto", np.nan)
        # The error of a peer without answers is NaN.
        rivals = {method: error for method, error in errors.items() if np.isfinite(error)}
        if rivals:
            best = min(rivals, key=rivals.get)
            verdict = "below every peer" if ours < rivals[best] else "NOT below every peer"
            print(f"{name}: {ours:.3f}, {best} {rivals[best]:.3f}: {verdict}", flush=True)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS)
    parser.add_argument("--peer-python", help="a Python that has the peers")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run(OUT, EXPERIMENTS, parser.parse_args(), measured_elsewhere=UNIONS)
