"""Sparse autoencoders beside SAELens and dictionary_learning, on rows that no setting was tuned on.

    python -m benchmarks dictionaries fits --rows FOLDER [--cells NAME ...] [--only NAME ...]
        [--peer-python PYTHON] [--data DIR]

Cells "layer 5" and "layer 25" are activations of SmolLM2-135M-Instruct after these blocks, over the
first 70 words of the documents of the Brown corpus, without attention sinks; all settings of this
package were chosen on layer 15 and other text. FOLDER has a folder ``layer_5`` and a folder
``layer_25``, each written by ``python -m benchmarks lm_activations --tokens 20000 --context 128
--test-share 0.2``. Cell "images" has features of a convolutional network of 256 channels that is
trained here to read MNIST: the rows are its last feature map, at one random place of images not
seen. Test rows are from other documents, or from other images.

All methods get 15,000 training rows, or 12,500 different rows of images, 10 epochs of batches of
256, twice as many latents as features, and a target of 32 active latents. Our models have their
defaults. The peers get rows that are centred and divided by one number, as ours are. Their learning
rates fall to 0 over the last 30 % of the steps, and their latents are dead after 40 steps without
activity, which is 10,000 samples. Their learning rate is the best of 1e-3, 3e-3 and 1e-2, for each
cell and seed anew, by the FVU of 1,000 training rows that are left out, as many as our fit holds
out. The time is that of one fit. Peers choose the active latents of many test rows together, and
ours choose them by thresholds for each row alone, so L0 is reported. "dead" is the share of latents
that no test row uses.

SAELens is imported, and dictionary-learning 0.1.0 runs in PYTHON, which has it. Each row is saved
when it is done, and is not computed again, so a run can be stopped at any time.
"""

import json
import sys
import tempfile
import warnings
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.common import apart, fit, groups, make_parser, measure_missing, run_task, summarise
from benchmarks.data import add_data_option, read_activations, read_mnist
from benchmarks.peers import saelens
from skvaeense import SparseAutoencoder
from skvaeense.metrics import dead_fraction, fvu, l0

CELLS = ["layer 5", "layer 25", "images"]
RATES = (1e-3, 3e-3, 1e-2)
TARGET, BATCH, EPOCHS, N_ROWS, N_LEFT_OUT, DECAY, DEAD_STEPS = 32, 256, 10, 15_000, 1000, 0.3, 40
# Rows are attention sinks if they are this many times as far from the median as a typical row.
FAR = 3
# The network that reads MNIST: channels of its layers, and images, epochs, batch and rate of its
# training.
CHANNELS, N_IMAGES, READ_EPOCHS, READ_BATCH, READ_RATE = (1, 32, 64, 256), 20_000, 2, 256, 2e-3
N_TEST_IMAGES = 4000


@cache
def rows(cell, folder, data):
    """Return training and test rows of a cell."""
    if cell == "images":
        return image_features(data)
    X, test = read_activations(Path(folder) / cell.replace(" ", "_"))
    centre = np.median(X, axis=0)
    typical = np.median(np.linalg.norm(X - centre, axis=1))
    X, test = (own[np.linalg.norm(own - centre, axis=1) < FAR * typical] for own in (X, test))
    return X[:N_ROWS], test


def image_features(data):
    """Return features of a network that learns to read digits, of training and test images."""
    X, y, test, _ = read_mnist(data)
    torch.manual_seed(0)
    layers = [
        part
        for before, after in pairwise(CHANNELS)
        for part in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU())
    ]
    body = nn.Sequential(*layers)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], 10))
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, READ_RATE)
    images = torch.from_numpy(X[-N_IMAGES:]).view(-1, 1, 28, 28)
    labels = torch.from_numpy(y[-N_IMAGES:])
    for _ in range(READ_EPOCHS):
        for own in torch.randperm(len(images)).split(READ_BATCH):
            loss = nn.functional.cross_entropy(head(body(images[own])), labels[own])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    rng = np.random.default_rng(0)
    parts = (at_one_place(body, part, rng) for part in (X[:N_ROWS], test[:N_TEST_IMAGES]))
    # Empty places are equal in all images.
    return tuple(rng.permutation(np.unique(part, axis=0)) for part in parts)


@torch.no_grad()
def at_one_place(body, X, rng):
    """Return the feature vector of each image at a random place of the last map."""
    maps = [body(part).flatten(2) for part in torch.from_numpy(X).view(-1, 1, 28, 28).split(1000)]
    maps = torch.cat(maps).numpy()
    return maps[np.arange(len(maps)), :, rng.integers(maps.shape[2], size=len(maps))]


# --- methods: from rows, test rows, a seed and a Python to CPU seconds, codes and error -----------


def ours(X, test, seed, _, **params):
    """Return the measures of a model of this package."""
    model = SparseAutoencoder(
        2 * X.shape[1], target_l0=TARGET, max_iter=EPOCHS, random_state=seed, **params
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = fit(model, X)
    codes = model.transform(test)
    return measures(test, codes, model.inverse_transform(codes)) | {"cpu_seconds": seconds}


def measures(test, codes, reconstruction):
    """Return the measures of codes of test rows."""
    return {"fvu": fvu(test, reconstruction), "l0": l0(codes), "dead": dead_fraction(codes)}


def best_of_rates(one_fit):
    """Return a method that fits a peer at each learning rate, and keeps the best by left-out rows.

    `one_fit` is a function of training, left-out and test rows, which are centred and scaled, of
    the seed, the rate and a Python. It returns measures of the test rows, with the FVU of the
    left-out rows as "valid".
    """

    def method(X, test, seed, python):
        left_out = np.random.default_rng(seed).permutation(len(X))[:N_LEFT_OUT]
        train = np.delete(X, left_out, axis=0)
        mean, scale = train.mean(axis=0), float(train.std())
        scaled = [(part - mean) / scale for part in (train, X[left_out], test)]
        fits = [one_fit(*scaled, seed, rate, python) | {"rate": rate} for rate in RATES]
        return min(fits, key=lambda found: found["valid"])

    return method


def of_saelens(name, X, valid, test, seed, rate, _):
    """Train a model of SAELens."""
    seconds, coded = saelens.train(
        name,
        shuffled(X, seed),
        BATCH,
        EPOCHS * (len(X) + N_LEFT_OUT),
        (2 * X.shape[1], X.shape[1]),
        TARGET,
        seed,
        rate,
        dead_window=DEAD_STEPS,
        decay=DECAY,
    )
    found = measures(test, *coded(test)) | {"cpu_seconds": seconds}
    return found | {"valid": fvu(valid, coded(valid)[1])}


def shuffled(X, seed):
    """Yield batches of rows without end, in a new order in each pass."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(X))
        for start in range(0, len(X) - BATCH + 1, BATCH):
            yield torch.from_numpy(X[order[start : start + BATCH]])


def of_dictionary_learning(X, valid, test, seed, rate, python):
    """Train a model of dictionary_learning, in a process of its own."""
    job = {
        "n_components": 2 * X.shape[1],
        "n_steps": EPOCHS * (len(X) + N_LEFT_OUT) // BATCH,
        "batch_size": BATCH,
        "learning_rate": rate,
        "decay": DECAY,
        "dead_steps": DEAD_STEPS,
        "seed": seed,
        "k": TARGET,
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.savez(folder / "data.npz", X_train=X, X_valid=valid, X_test=test)
        (folder / "job.json").write_text(json.dumps(job | {"data": str(folder / "data.npz")}))
        return apart("benchmarks.peers.sae", folder / "job.json", python=python)


METHODS = {
    "BatchTopK": partial(ours, penalty="batch_topk"),
    "Matryoshka": partial(ours, penalty="matryoshka"),
    "unrolled BatchTopK": partial(ours, penalty="batch_topk", network="unrolled"),
    "unrolled Matryoshka": partial(ours, penalty="matryoshka", network="unrolled"),
    "SAELens BatchTopK": best_of_rates(partial(of_saelens, "BatchTopK")),
    "SAELens Matryoshka": best_of_rates(partial(of_saelens, "MatryoshkaBatchTopK")),
    "dictionary_learning BatchTopK": best_of_rates(of_dictionary_learning),
}


def summary(rows):
    """Return means over the seeds, and the worst FVU, for each cell and method."""
    found = []
    for label, own in groups(rows, "cell", "method"):
        keys = ["fvu_mean", "fvu_worst", "l0_mean", "dead_mean", "cpu_seconds_mean"]
        found.append(label | summarise(own, *keys))
    return found


def run_fits(arguments):
    """Fit the models whose rows the results lack."""

    def measure(cell, method, seed):
        X, test = rows(cell, arguments.rows, arguments.data)
        return METHODS[method](X, test, seed, arguments.peer_python)

    orders = {"cell": CELLS, "method": list(METHODS)}
    chosen = {"cell": arguments.cells, "method": arguments.only}
    measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=3, only=METHODS, out="dictionaries.json")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--rows", help="folder of layer_5 and layer_25")
    parser.add_argument("--peer-python", default=sys.executable)
    add_data_option(parser)
    run_task(parser, run_fits)
