"""Sparse autoencoders with each penalty, the same target and the same steps.

    python -m benchmarks penalties fits [--data DIR] [--only NAME ...] [--cells NAME ...]
    python -m benchmarks penalties auxiliary [--data DIR]

In cells "lm", samples are 15,000 random activations of a language model, and test samples are from
other documents. The number of latents is a multiple of the 576 features, the target is 32 active
latents or 16, and there are 3 or 20 epochs. In the cell "rare", samples have 256 known features in
64 dimensions, whose frequencies fall evenly in their logarithm from 0.1 to 0.001. There are 60,000
samples, 256 or 512 latents and 20 epochs, and the target is the mean number of active features.

"l0" and "fvu" are measured on test samples. "miss" is the difference between the number of active
latents and the target, as a share of the target, on samples of the same documents that were not
used in training. "dead" is the share of latents that none of the training samples uses. "found" is
the share of the features whose most similar atom has a cosine above 0.9, and "found_rare" the same
of the features with frequencies below 0.002.
"""

import warnings
from functools import partial
from typing import NamedTuple
from unittest import mock

import numpy as np

from benchmarks.common import fit, groups, make_parser, measure_missing, run_task, summarise
from benchmarks.data import add_data_option, read_activations
from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.metrics import dead_fraction, fvu, l0
from skvaeense.nets import losses

PENALTIES = ["batch_topk", "topk", "matryoshka", "l1", "log", "jump_relu", "gated"]
N_ROWS, N_ALIKE, N_RARE, N_TEST, IS_FEATURE = 15_000, 5_000, 60_000, 10_000, 0.9
N_FEATURES, N_DIMENSIONS = 256, 64
FREQUENCIES = np.geomspace(0.1, 1e-3, N_FEATURES)
# Weights of the auxiliary loss that are compared, and the activations and the planted features.
WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
WIDE = {"n_components": 4608, "target_l0": 32, "max_iter": 5}
PLANTED = {"n_components": 100, "target_l0": 5, "network": "unrolled"}
N_PLANTED = 20_000


class Cell(NamedTuple):
    """Data, and the sizes of a fit."""

    data: str
    n_latents: int
    target: float
    n_epochs: int


CELLS = {
    "lm 2x, 32, 3 epochs": Cell("lm", 1152, 32, 3),
    "lm 2x, 32, 20 epochs": Cell("lm", 1152, 32, 20),
    "lm 4x, 16, 20 epochs": Cell("lm", 2304, 16, 20),
    "lm 8x, 32, 20 epochs": Cell("lm", 4608, 32, 20),
    "rare, 256 latents": Cell("rare", N_FEATURES, float(FREQUENCIES.sum()), 20),
    "rare, 512 latents": Cell("rare", 2 * N_FEATURES, float(FREQUENCIES.sum()), 20),
}


def rare(seed):
    """Return training and test samples of features with known frequencies, and the features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(N_FEATURES, N_DIMENSIONS))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    is_active = rng.random((N_RARE + N_TEST, N_FEATURES)) < FREQUENCIES
    codes = is_active * (1 + 0.25 * rng.normal(size=is_active.shape)).clip(0.25)
    X = codes @ features + 0.02 * rng.normal(size=(len(codes), N_DIMENSIONS))
    return X[:N_RARE].astype(np.float32), X[N_RARE:].astype(np.float32), features


def measure(cell, method, seed, data):
    """Return the measures of one fit."""
    target, features = CELLS[cell].target, None
    if CELLS[cell].data == "rare":
        X, test, features = rare(seed)
        same = test
    else:
        X, test = read_activations(data)
        order = np.random.default_rng(0).permutation(len(X))
        X, same = X[order[:N_ROWS]], X[order[-N_ALIKE:]]
    seconds, coded, atoms = fitted(X, CELLS[cell], method, seed)
    codes, reconstruction = coded(test)
    found = {
        "target": target,
        "miss": l0(coded(same)[0]) / target - 1,
        "l0": l0(codes),
        "fvu": fvu(test, reconstruction),
        "dead": dead_fraction(coded(X)[0]),
        "cpu_seconds": seconds,
    }
    if features is not None:
        atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
        is_found = (features @ atoms.T).max(axis=1) > IS_FEATURE
        found |= {"found": float(is_found.mean())}
        found |= {"found_rare": float(is_found[FREQUENCIES < 2e-3].mean())}
    return found


def fitted(X, cell, method, seed):
    """Return CPU seconds, a function for codes and reconstructions, and atoms of our fit."""
    model = SparseAutoencoder(
        cell.n_latents,
        penalty=method,
        target_l0=cell.target,
        max_iter=cell.n_epochs,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = fit(model, X)

    def coded(rows):
        codes = model.transform(rows)
        return codes, model.inverse_transform(codes)

    return seconds, coded, model.components_


def summary(rows):
    """Return means over the seeds for each cell and method."""
    found = []
    for label, own in groups(rows, "cell", "method"):
        keys = ["target", "miss", "l0", "fvu", "dead", "cpu_seconds"]
        keys += ["found", "found_rare"] if "found" in own[0] else []
        numbers = summarise(own, *(f"{key}_mean" for key in keys))
        found.append(label | numbers)
    return found


def run_fits(arguments):
    """Fit the models whose rows the results lack."""
    orders = {"cell": list(CELLS), "method": PENALTIES}
    chosen = {"cell": arguments.cells, "method": arguments.only}
    one = partial(measure, data=arguments.data)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, one, summary)


def run_auxiliary(arguments):
    """Compare weights of the auxiliary loss."""
    path = arguments.out.with_name("auxiliary.json")
    orders = {"cell": ["lm 8x", "planted, unrolled"], "weight": list(WEIGHTS)}
    one = partial(weighed, data=arguments.data)
    measure_missing(path, orders, orders, arguments.seeds, one, weights_summary)


def weighed(cell, weight, seed, data):
    """Return the measures of one fit with a weight of the auxiliary loss."""
    if cell == "lm 8x":
        X, test = read_activations(data)
        X = X[np.random.default_rng(0).permutation(len(X))[:N_ROWS]]
    else:
        X, *_ = make_sparse_dictionary(
            N_PLANTED + N_TEST,
            n_atoms=100,
            n_active=5,
            n_features=40,
            signed=False,
            random_state=seed,
        )
        X, test = X[:N_PLANTED], X[N_PLANTED:]
    params = WIDE if cell == "lm 8x" else PLANTED
    auxiliary_loss = partial(losses.auxiliary_loss, weight=weight)
    with mock.patch.object(losses, "auxiliary_loss", auxiliary_loss):
        model = SparseAutoencoder(**params, random_state=seed)
        fit(model, X)
    codes = model.transform(test)
    return {
        "fvu": fvu(test, model.inverse_transform(codes)),
        "l0": l0(codes),
        "dead": dead_fraction(model.transform(X)),
    }


def weights_summary(rows):
    """Return means over the seeds for each cell and weight."""
    found = []
    for label, own in groups(rows, "cell", "weight"):
        numbers = summarise(own, "fvu_mean", "l0_mean", "dead_mean")
        found.append(label | numbers)
    return found


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=3, only=PENALTIES, out="penalties.json")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    add_data_option(parser)
    run_task(parser, run_fits, run_auxiliary)
