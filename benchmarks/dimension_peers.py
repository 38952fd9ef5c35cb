"""Dimension of each sample by every peer, on unions of manifolds and on images: ours beside them.

    python -m benchmarks dimension_peers [--peer-python PYTHON] [--only NAME ...] [--seeds 5]

Images are photographs and digits under 1 to 6 transforms, with and without noise; unions are those
of benchmarks/dimension.py, which has ours. The measure is the mean absolute error per sample: ours
on held-out samples, the peers' at 100 of the training samples of each seed, since they have no
values for others and some take long. Their neighbours are always those among all training samples.
What is in the file is not measured again; without a Python for the peers, they are left out.

The Python given has the peers: `pip install scikit-dimension==0.5.0 dadapy==0.3.4` and
`pip install torchid[cpu]==0.5.1`, which needs Python 3.13, or `--ignore-requires-python`. All have
their defaults, except for numbers of neighbours. One thread; times are CPU seconds.
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
# Training samples of each seed for which the peers are measured.
N_ASKED = 100


def union(name, seed):
    X, _, dimension = UNIONS[name](seed)
    return X, dimension


# name: samples and dimensions of a seed, and how many of them are held out.
EXPERIMENTS = {name: (functools.partial(union, name), HELD_OUT) for name in UNIONS}
EXPERIMENTS |= {name: (make, HELD_OUT_OF_FAMILIES) for name, make in IMAGES.items()}


def say(python, train, test, train_truth, truth, seed, methods):
    """Return what methods say: ours of held-out samples, and the peers of training samples."""
    said = {}
    if "auto" in methods:
        estimator = IntrinsicDimensionEstimator(random_state=seed)
        said["auto"] = measure(estimator, train, test, truth)
    peers = [name for name in methods if name != "auto"]
    return said | ask_peers(python, train, train_truth, peers) if peers else said


def ask_peers(python, train, truth, peers):
    """Return what peers say of the first training samples, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        np.savez(job, X=train, truth=truth, n_asked=N_ASKED)
        return apart("benchmarks.peers.dimension", "pointwise", job, *peers, python=python)


def run(out, experiments, arguments, measured_elsewhere=()):
    """Add what is not there yet to a file of results, and compare it."""
    # All data sets once, before any of them again.
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
    """Print in which rows the package's estimator is below every peer, and where it is not."""
    unions = load(RESULTS / "dimension_unions.json")
    for name, result in load(out).items():
        summary = {"auto": unions[name]["summary"]["auto"]} if name in unions else {}
        summary |= result["summary"]
        errors = {method: row["error_mean"] for method, row in summary.items()}
        ours = errors.pop("auto", np.nan)
        # A peer that has no answers has no error either.
        rivals = {method: error for method, error in errors.items() if np.isfinite(error)}
        if rivals:
            best = min(rivals, key=rivals.get)
            verdict = "below every peer" if ours < rivals[best] else "NOT below every peer"
            print(f"{name}: {ours:.3f}, {best} {rivals[best]:.3f}: {verdict}", flush=True)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS)
    parser.add_argument("--peer-python", help="a Python that has the peers")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run(OUT, EXPERIMENTS, parser.parse_args(), measured_elsewhere=UNIONS)
