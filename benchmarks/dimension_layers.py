"""Dimension of the hidden states of networks whose input has a known dimension: ours and peers.

    python -m benchmarks dimension_layers errors [--peer-python PYTHON] [--seeds 5]
    python -m benchmarks dimension_layers spectra [--seeds 5]

Four places in photographs under 1, 2, 4 and 6 smooth transforms are the input of small networks of
ReLU units, trained anew for every seed: a classifier, which says the place, and autoencoders with
codes of 8 and of 3 numbers. The truth is measured, sample by sample: the numerical rank of the
Jacobian of a layer by the parameters of the transforms. It is at most the layer's width and the
number of units that are active. `spectra` says how far a layer extends in its directions: the
shortest as a share of the longest, and how many are longer than a tenth of that. The rest is as in
dimension_peers.py.
"""

import functools
import itertools
import warnings

import numpy as np
import torch
from torch import nn

from benchmarks.common import RESULTS, make_parser, run_task, save
from benchmarks.dimension_families import HELD_OUT
from benchmarks.dimension_peers import run
from benchmarks.generators.transformed_images import _View

DIMS, N_SAMPLES, SIDE = (1, 2, 4, 6), 6000 + HELD_OUT, 16
N_STEPS, BATCH_SIZE, LEARNING_RATE = 4000, 100, 1e-3
# Differences that derivatives are taken by, as a share of half a transform's range, and the least
# singular value that counts, as a share of a sample's largest.
STEP, LEAST_SINGULAR = 1e-4, 1e-5
# Directions of at least this share of the longest one are easy to see.
VISIBLE = 0.1


def mlp(*widths):
    """Return layers with ReLU between them."""
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# name: the layers of a network, and how many of them give the code of an autoencoder.
NETWORKS = {
    "classifier": ((SIDE**2, 128, 64, 32, len(DIMS)), None),
    "autoencoder 8": ((SIDE**2, 128, 64, 8, 64, 128, SIDE**2), 5),
    "autoencoder 3": ((SIDE**2, 128, 64, 3, 64, 128, SIDE**2), 5),
}
# name: which network, and up to which of its modules.
LAYERS = {
    "input": ("classifier", 0),
    "classifier, 128 units": ("classifier", 2),
    "classifier, 64 units": ("classifier", 4),
    "classifier, 32 units": ("classifier", 6),
    "autoencoder, 128 units": ("autoencoder 8", 2),
    "autoencoder, code of 8": ("autoencoder 8", 5),
    "autoencoder, code of 3": ("autoencoder 3", 5),
}


class Images:
    """Images of several places, with the parameters that they are made by."""

    def __init__(self, seed):
        rng = np.random.RandomState(seed)
        self.views = [_View.drawn(dim, "photographs", SIDE, rng) for dim in DIMS]
        self.place = rng.randint(len(DIMS), size=N_SAMPLES)
        self.parameters = rng.uniform(-1, 1, (N_SAMPLES, max(DIMS)))

    def drawn(self, change=0.0):
        """Return the images, as tensors around grey, with parameters changed by so much."""
        X = np.empty((N_SAMPLES, SIDE**2))
        for i, (view, dim) in enumerate(zip(self.views, DIMS, strict=True)):
            own = self.place == i
            X[own] = view.images((self.parameters + change)[own, :dim])
        return torch.from_numpy(X - 0.5)


@functools.lru_cache(maxsize=1)
def trained(name, seed):
    """Return the images of a seed, and a network that was trained on them."""
    images = Images(seed)
    widths, n_encoding = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = mlp(*widths)
        X = images.drawn()[HELD_OUT:].float()
        place = torch.from_numpy(images.place)[HELD_OUT:]
        loss_of = nn.CrossEntropyLoss() if n_encoding is None else nn.MSELoss()
        target = place if n_encoding is None else X
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
        for _ in range(N_STEPS):
            rows = torch.randint(len(X), (BATCH_SIZE,))
            optimizer.zero_grad()
            loss_of(network(X[rows]), target[rows]).backward()
            optimizer.step()
            schedule.step()
    return images, network.double()


def draw_states(layer, seed):
    """Return the states of a layer, and the dimension there at each of them."""
    states, singular, _ = spectra(layer, seed)
    return states, count(singular, LEAST_SINGULAR)


def count(singular, share):
    """Return how many singular values of each sample are above a share of its largest."""
    return (singular > share * singular[:, :1]).sum(axis=1)


def spectra(layer, seed):
    """Return the states of a layer, the singular values of its Jacobians, and input dimensions."""
    name, n_modules = LAYERS[layer]
    images, network = trained(name, seed)
    with torch.no_grad():
        states = network[:n_modules]
        derivatives = [
            (states(images.drawn(step)) - states(images.drawn(-step))) / (2 * STEP)
            for step in STEP * np.eye(max(DIMS))
        ]
        singular = torch.linalg.svdvals(torch.stack(derivatives, dim=1))
        states = states(images.drawn()).numpy()
    return states, singular.numpy(), np.array(DIMS)[images.place]


EXPERIMENTS = {name: (functools.partial(draw_states, name), HELD_OUT) for name in LAYERS}
OUT, SPECTRA = (RESULTS / f"dimension_{name}.json" for name in ("layers", "spectra"))


def run_errors(arguments):
    """Measure the package's estimator and the peers."""
    run(OUT, EXPERIMENTS, arguments)


def run_spectra(arguments):
    """Measure how far layers extend in their directions."""
    seeds = range(arguments.seeds)
    # One network after the other: the last one is kept.
    runs = {name: [] for name in arguments.only}
    for seed, name in itertools.product(seeds, arguments.only):
        _, singular, dimension = spectra(name, seed)
        rank = count(singular, LEAST_SINGULAR)
        last = np.take_along_axis(singular, np.maximum(rank - 1, 0)[:, None], axis=1)[:, 0]
        share = np.divide(last, singular[:, 0], out=np.zeros_like(last), where=rank > 0)
        shortest = {str(r): float(np.median(share[dimension == r])) for r in DIMS if r > 1}
        runs[name].append((shortest, rank.mean(), count(singular, VISIBLE).mean()))
    for name, of_seeds in runs.items():
        shortest, ranks, visible = zip(*of_seeds, strict=True)
        row = {
            "rank": float(np.mean(ranks)),
            "visible": float(np.mean(visible)),
            "shortest": {r: float(np.mean([s[r] for s in shortest])) for r in shortest[0]},
            "n_seeds": len(of_seeds),
        }
        save(SPECTRA, name, row)
        print(name, row, flush=True)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS)
    parser.add_argument("--peer-python", help="a Python that has the peers")
    warnings.simplefilter("ignore")
    run_task(parser, run_errors, run_spectra)
