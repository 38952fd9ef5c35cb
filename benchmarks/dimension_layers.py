"""Dimension of hidden states of networks with inputs of known dimension: our errors and peers'.

    python -m benchmarks dimension_layers errors [--peer-python PYTHON] [--seeds 5]
    python -m benchmarks dimension_layers spectra [--seeds 5]

The inputs are four places in photographs under 1, 2, 4 and 6 smooth transforms. Small networks of
ReLU units are trained anew for every seed: a classifier of the place, and autoencoders with codes
of 8 and of 3 numbers. The true dimension is measured for each sample: it is the numerical rank of
the Jacobian of a layer with respect to the parameters of the transforms. This rank is at most the
width of the layer and the number of its active units. `spectra` measures how far a layer extends in
its directions: the shortest extent as a share of the longest, and the number of directions longer
than a tenth of the longest. All else is as in dimension_peers.py.
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
# Step of the numerical derivatives, as a share of half the range of a transform, and the least
# singular value that counts for the rank, as a share of the largest one of the sample.
STEP, LEAST_SINGULAR = 1e-4, 1e-5
# Directions are easy to see if their length is at least this share of the longest.
VISIBLE = 0.1


def mlp(*widths):
    """Return linear layers of the given widths, with ReLU between them."""
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# name: (widths of the layers of a network, number of modules that compute the code, or None)
NETWORKS = {
    "classifier": ((SIDE**2, 128, 64, 32, len(DIMS)), None),
    "autoencoder 8": ((SIDE**2, 128, 64, 8, 64, 128, SIDE**2), 5),
    "autoencoder 3": ((SIDE**2, 128, 64, 3, 64, 128, SIDE**2), 5),
}
# name: (network, number of its modules that compute the layer)
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
    """Images of several places, with the parameters of their transforms."""

    def __init__(self, seed):
        rng = np.random.RandomState(seed)
        self.views = [_View.drawn(dim, "photographs", SIDE, rng) for dim in DIMS]
        self.place = rng.randint(len(DIMS), size=N_SAMPLES)
        self.parameters = rng.uniform(-1, 1, (N_SAMPLES, max(DIMS)))

    def drawn(self, change=0.0):
        """Return the images as a tensor, minus mid-grey, with `change` added to the parameters."""
        X = np.empty((N_SAMPLES, SIDE**2))
        for i, (view, dim) in enumerate(zip(self.views, DIMS, strict=True)):
            own = self.place == i
            X[own] = view.images((self.parameters + change)[own, :dim])
        return torch.from_numpy(X - 0.5)


@functools.lru_cache(maxsize=1)
def trained(name, seed):
    """Return the images of a seed, and a network trained on them."""
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
    """Return the hidden states of a layer, and the true dimension at each of them."""
    states, singular, _ = spectra(layer, seed)
    return states, count(singular, LEAST_SINGULAR)


def count(singular, share):
    """Return the number of singular values of each sample above a share of its largest one."""
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
    """Measure the errors of the package's estimator and of the peers."""
    run(OUT, EXPERIMENTS, arguments)


def run_spectra(arguments):
    """Measure how far layers extend in their directions."""
    seeds = range(arguments.seeds)
    # All layers of a network are measured in a row, since only the last network is cached.
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
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS)
    parser.add_argument("--peer-python", help="a Python that has the peers")
    warnings.simplefilter("ignore")
    run_task(parser, run_errors, run_spectra)
