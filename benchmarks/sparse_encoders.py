"""Sparse codes of one length by several encoders and other packages: error, time, stability.

    python -m benchmarks sparse_encoders [--only NAME ...] [--seeds 3] [--data FOLDER]
        [--peer-python PYTHON]

Our models all have the penalty TopK and the same number of steps. Codes are non-negative, except in
the row "unrolled, both signs". Models of MNIST have 256 latents, and models of activations of a
language model 300. Both data sets have 10,000 training rows, and the error is measured on other
rows. Dictionaries of two seeds are matched atom by atom. `stability` is the mean cosine of matched
atoms, and `chance` is the same for random atoms that use the same directions.

The given Python must have the other packages: `pip install dictlearn[numba]==1.0.0 encdr==1.2.0`,
of which encdr needs Python 3.12, and scikit-learn. Their settings are in `benchmarks.peers.codes`.
Their codes have both signs. Without this Python the other packages are left out.

All run on one thread; times are CPU seconds. Each row is saved when it is done, and is not computed
again. The activations need a folder with lm_activations.npz; see `lm_activations`. Without the
folder they are left out.
"""

import tempfile
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import apart, fit, in_short, load, make_parser, write
from benchmarks.data import add_data_option, read_activations, read_mnist
from benchmarks.latent_stability import stability
from benchmarks.peers.codes import METHODS as PEERS
from skvaeense import SparseAutoencoder
from skvaeense.metrics import dead_fraction, fvu, l0
from skvaeense.nets.networks import SingleLayer, Unrolled
from skvaeense.nets.penalties import TopK

N_TRAIN, N_TEST = 10_000, 4000
MAX_EPOCHS, BATCH_SIZE = 40, 256
# name: (number of latents, number of active latents)
DATA = {"mnist": (256, 20), "lm_activations": (300, 30)}
# name: (network, penalty, whether codes are non-negative)
ENCODERS = {
    "one layer": (SingleLayer(), TopK, True),
    "unrolled": (Unrolled(), TopK, True),
    "unrolled, both signs": (Unrolled(), TopK, False),
}


def read(name, folder):
    """Return training and test rows, or None if activations have no folder."""
    if name == "mnist":
        X, _, X_test, _ = read_mnist(folder)
    elif folder is None:
        return None
    else:
        X, X_test = read_activations(folder)
    return X[:N_TRAIN], X_test[:N_TEST]


def code(encoder, sizes, seed, train, test):
    """Return codes and reconstructions of test rows, the dictionary, and the CPU seconds."""
    network, penalty, positive = ENCODERS[encoder]
    n_components, k = sizes
    model = SparseAutoencoder(
        n_components,
        penalty=penalty(k),
        network=network,
        positive_code=positive,
        max_iter=MAX_EPOCHS,
        batch_size=BATCH_SIZE,
        random_state=seed,
    )
    seconds = fit(model, train)
    codes = model.transform(test)
    return codes, model.inverse_transform(codes), model.components_, {"cpu_seconds": seconds}


def code_by_peer(method, sizes, seed, train, test, python):
    """Return the same as `code` for another package, with None if the decoder has no dictionary.

    The package gets centred rows, divided by one number.
    """
    mean = train.mean(axis=0)
    scale = np.sqrt(np.square(train - mean).mean())
    train, test = (train - mean) / scale, (test - mean) / scale
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.npz"
        np.savez(job, train=train, test=test, sizes=[*sizes, MAX_EPOCHS, seed])
        told = apart("benchmarks.peers.codes", job, method, python=python)
        with np.load(job.with_name("answer.npz")) as answer:
            codes, components = answer["codes"], answer.get("components")
            reconstruction = answer["reconstruction"] * scale + mean
    return codes, reconstruction, components, told


def measure(coder, sizes, n_seeds, train, test, *, signed):
    """Return the row of a method: its measures for each seed, and the agreement of dictionaries."""
    row, dictionaries = {"k": sizes[1]}, []
    for seed in range(n_seeds):
        codes, reconstruction, components, told = coder(sizes, seed, train, test)
        numbers = {
            "fvu": fvu(test, reconstruction),
            "l0": l0(codes),
            "dead": dead_fraction(codes),
            "cpu_seconds": told.pop("cpu_seconds"),
        }
        for name, value in numbers.items():
            row.setdefault(name, []).append(value)
        row |= {"n_components": codes.shape[1]} | told
        dictionaries.append(components)
    if dictionaries[0] is not None:
        matched, chance, _ = stability(dictionaries, signed=signed)
        row["stability"] = [float(matched[pair]) for pair in combinations(range(n_seeds), 2)]
        row["chance"] = chance.tolist()
    return row


def run(arguments):
    """Measure the rows that the results lack."""
    coders = {name: partial(code, name) for name in ENCODERS}
    if arguments.peer_python:
        coders |= {
            name: partial(code_by_peer, name, python=arguments.peer_python) for name in PEERS
        }
    orders = [f"{data}, {name}" for data in DATA for name in (*ENCODERS, *PEERS)]
    for data in arguments.only:
        rows = read(data, arguments.data)
        if rows is None:
            continue
        for name, coder in coders.items():
            key = f"{data}, {name}"
            if len(load(arguments.out).get(key, {}).get("fvu", [])) >= arguments.seeds:
                continue
            signed = name in ENCODERS and ENCODERS[name][2]
            row = measure(coder, DATA[data], arguments.seeds, *rows, signed=signed)
            results = load(arguments.out) | {key: row}
            write(arguments.out, dict(sorted(results.items(), key=lambda r: orders.index(r[0]))))
            means = {name: np.mean(row[name]) for name in ("fvu", "l0", "dead", "cpu_seconds")}
            print(f"{key}: {in_short(means)}", flush=True)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=3, only=DATA, out="sparse_encoders.json")
    add_data_option(parser)
    parser.add_argument("--peer-python", help="a Python that has the other packages")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run(parser.parse_args())
