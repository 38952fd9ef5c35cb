"""Dimension of each sample by every peer, on unions of manifolds and on images: ours beside them.

    python -m benchmarks dimension_peers own [--only NAME ...] [--seeds 5]
    python -m benchmarks dimension_peers peers --peer-python PYTHON [--only NAME ...] [--seeds 5]

`own` has images only, photographs and digits under 1 to 6 transforms, with and without noise; the
unions of benchmarks/dimension.py have a result of their own, by the same measure. It is the mean
absolute error per sample: ours on held-out samples, the peers' at 100 of the training samples of
each seed, since they have no values for others and some take long. Their neighbours are always
those among all training samples. Seeds that are in the file are not run again.

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

from benchmarks.common import RESULTS, apart, load, make_parser, run_task, save
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
# Training samples of each seed at which the peers are asked.
N_ASKED = 100


def union(name, seed):
    X, _, dimension = UNIONS[name](seed)
    return X, dimension


# name: samples and dimensions of a seed, and how many of them are held out.
EXPERIMENTS = {name: (functools.partial(union, name), HELD_OUT) for name in UNIONS}
EXPERIMENTS |= {name: (make, HELD_OUT_OF_FAMILIES) for name, make in IMAGES.items()}


def own(train, test, train_truth, truth, seed):
    """Return what IntrinsicDimensionEstimator says of held-out samples."""
    return {"auto": measure(IntrinsicDimensionEstimator(random_state=seed), train, test, truth)}


def peers(python, train, test, train_truth, truth, seed):
    """Return what the peers say of training samples, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        np.savez(job, X=train, truth=train_truth, n_asked=N_ASKED)
        return apart("benchmarks.peers.dimension", "pointwise", job, *PEERS, python=python)


def add(out, experiments, arguments, said, wanted):
    """Add what methods say of each seed's samples to a file of results, unless it is there."""
    # All data sets once, before any of them again.
    for seed, name in product(range(arguments.seeds), arguments.only):
        runs = load(out).get(name, {"runs": []})["runs"]
        run = next((run for run in runs if run["seed"] == seed), {"seed": seed, "methods": {}})
        if set(wanted) <= set(run["methods"]):
            continue
        make, n_held_out = experiments[name]
        X, dimension = make(seed)
        train, test = X[n_held_out:], X[:n_held_out]
        train_truth, truth = dimension[n_held_out:], dimension[:n_held_out]
        run["methods"] |= said(train, test, train_truth, truth, seed)
        runs = sorted([r for r in runs if r["seed"] != seed] + [run], key=lambda r: r["seed"])
        summary = summarise_methods(runs)
        save(out, name, {"summary": summary, "runs": runs})
        print(name, seed, {k: round(v["error_mean"], 3) for k, v in summary.items()}, flush=True)


def add_own(out, experiments, arguments):
    """Add the package's estimator to a file of results."""
    add(out, experiments, arguments, own, ["auto"])
    compare(out)


def add_peers(out, experiments, arguments):
    """Add the peers to a file of results."""
    add(out, experiments, arguments, functools.partial(peers, arguments.peer_python), PEERS)
    compare(out)


def compare(out):
    """Print in which rows the package's estimator is below every peer, and where it is not."""
    unions = load(RESULTS / "dimension_unions.json")
    for name, result in load(out).items():
        summary = {"auto": unions[name]["summary"]["auto"]} if name in unions else {}
        summary |= result["summary"]
        errors = {method: row["error_mean"] for method, row in summary.items()}
        ours, best = errors.pop("auto", np.nan), min(errors, key=errors.get, default=None)
        if best:
            verdict = "below every peer" if ours < errors[best] else "NOT below every peer"
            print(f"{name}: {ours:.3f}, {best} {errors[best]:.3f}: {verdict}", flush=True)


def run_own(arguments):
    """Measure the package's estimator."""
    arguments.only = [name for name in arguments.only if name in IMAGES]
    add_own(OUT, EXPERIMENTS, arguments)


def run_peers(arguments):
    """Measure the peers."""
    add_peers(OUT, EXPERIMENTS, arguments)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS)
    parser.add_argument("--peer-python", help="a Python that has the peers")
    warnings.simplefilter("ignore")
    run_task(parser, run_own, run_peers)
