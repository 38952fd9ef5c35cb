"""Dimensions of flat and curved unions by the paper's model, with all defaults.

    python -m benchmarks paper.unions [--quick | --full] [--seeds 5] [--only NAME ...]

The model is `VAEase()` for flat unions, and `VAEase("mlp")` for curved ones: images of normal
latents under random networks. Each seed draws a new union. Seeds are even, since the defaults were
chosen on unions of odd seeds. The first samples of each are held out, and "exact" is the share of
them with as many active latents as their part has dimensions. "otsu" is this share by the rule of
the paper.
"""

import time

import numpy as np

from benchmarks.data import HELD_OUT, subspaces
from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from benchmarks.paper.common import at_once, run
from skvaeense import VAEase, VAEenseTransformer

SIZES = {"quick": {"n_samples": 20_000}, "full": {"n_samples": 100_000}}


def curved(n_samples, **parameters):
    """Return a function of a seed that draws samples and held-out samples of curved manifolds."""
    return lambda seed: make_mlp_manifolds(n_samples + HELD_OUT, random_state=seed, **parameters)


def families(n):
    """Return the unions by their names: the network, and a function of a seed."""
    return {
        "flat 4/4/4": ("linear", subspaces((4, 4, 4), 40, n)),
        "flat 2/4/8": ("linear", subspaces((2, 4, 8), 40, n)),
        "curved 2/4/8": ("mlp", curved(n)),
        "curved 3/6 in R^30": ("mlp", curved(n, dims=(3, 6), n_features=30)),
        "curved 1/2/3/5 in R^20, 2 % noise": (
            "mlp",
            curved(n, dims=(1, 2, 3, 5), n_features=20, noise=0.02),
        ),
        "curved 2/3/5/7 in R^50": ("mlp", curved(n, dims=(2, 3, 5, 7), n_features=50)),
        "curved 2/4/8, two hidden layers": ("mlp", curved(n, hidden_layer_sizes=(64, 64))),
    }


def fit_and_count(name, n_samples, seed):
    """Return the measures of one fit on held-out samples."""
    network, draw = families(n_samples)[name]
    X, _, dimension = draw(seed)
    X_test, dimension = X[:HELD_OUT], dimension[:HELD_OUT]
    model = VAEenseTransformer(model=VAEase(network), random_state=seed)
    begin = time.process_time()
    model.fit(X[HELD_OUT:])
    seconds = time.process_time() - begin
    count = model.active_dimensions(X_test).sum(axis=1)
    model.set_params(model__threshold="otsu")
    otsu = model.active_dimensions(X_test).sum(axis=1)
    return {
        "union": name,
        "seed": seed,
        "exact": float(np.mean(count == dimension)),
        "error": float(np.mean(np.abs(count - dimension))),
        "otsu": float(np.mean(otsu == dimension)),
        "by_dimension": {int(r): float(count[dimension == r].mean()) for r in np.unique(dimension)},
        "noise_variance": model.noise_variance_,
        "seconds": seconds,
    }


def measure(arguments):
    """Yield a row for each union and seed."""
    seeds = range(2, 2 * arguments.seeds + 1, 2)
    jobs = [(name, arguments.n_samples, seed) for name in arguments.only for seed in seeds]
    for row in at_once(fit_and_count, jobs, arguments.jobs):
        yield "fits", row


def add_arguments(parser):
    """Add the choice of unions and the number of seeds."""
    names = list(families(1))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=names, default=names[:3], metavar="NAME")


def main():
    """Run the benchmark with the options of the command line."""
    run("unions", __doc__, SIZES, measure, add_arguments)
