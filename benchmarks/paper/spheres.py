"""Dimensions of spheres and of a thin torus by the paper's model, and by neighbours.

    python -m benchmarks paper.spheres [--quick | --full]

A sphere of dimension r has no code with r numbers, but its span has r + 1 dimensions. The torus has
the radii 1, .3 and .1, and dimension 3. The model is `VAEase("mlp")` with all other defaults. Each
seed draws new samples, the first of which are held out. "exact" is the share of them with as many
active latents as their part has dimensions, and "neighbours" the share whose dimension by
`IntrinsicDimensionEstimator()` has the right nearest integer.
"""

import numpy as np

from benchmarks.data import HELD_OUT
from benchmarks.dimension_families import flat_torus
from benchmarks.paper.common import at_once, run
from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer
from skvaeense.datasets import make_spheres

SIZES = {
    "quick": {"n_samples": 20_000, "n_seeds": 3},
    "full": {"n_samples": 100_000, "n_seeds": 10},
}
RADII, N_FEATURES = (1.0, 0.3, 0.1), 20


def spheres(n, seed):
    """Return samples of spheres, and their dimensions."""
    X, _, dimension = make_spheres(n, random_state=seed)
    return X, dimension


def torus(n, seed):
    """Return samples of a torus, and their dimensions."""
    rng = np.random.default_rng(seed)
    circles = flat_torus(len(RADII), n, rng) * (2 * RADII)
    frame = np.linalg.qr(rng.normal(size=(N_FEATURES, 2 * len(RADII))))[0]
    return circles @ frame.T, np.full(n, len(RADII))


DATA = {"spheres 2/5/10 in R^60": spheres, "thin torus of 3 in R^20": torus}


def fit(name, n_samples, seed):
    """Return a row for each dimension of the data, from one fit."""
    X, dimension = DATA[name](n_samples + HELD_OUT, seed)
    train, test, dimension = X[HELD_OUT:], X[:HELD_OUT], dimension[:HELD_OUT]
    model = VAEenseTransformer(model=VAEase("mlp"), random_state=seed).fit(train)
    count = model.active_dimensions(test).sum(axis=1)
    found = IntrinsicDimensionEstimator(random_state=seed).fit(train).predict(test)
    return [
        {
            "data": name,
            "dimension": int(r),
            "seed": seed,
            "active": float(count[dimension == r].mean()),
            "exact": float((count == r)[dimension == r].mean()),
            "neighbours": float((np.round(found) == r)[dimension == r].mean()),
        }
        for r in np.unique(dimension)
    ]


def measure(arguments):
    """Yield the rows of each fit."""
    jobs = [(name, arguments.n_samples, s) for name in DATA for s in range(arguments.n_seeds)]
    for rows in at_once(fit, jobs, arguments.jobs):
        for row in rows:
            yield "fits", row


def main():
    """Run the benchmark with the options of the command line."""
    run("spheres", __doc__, SIZES, measure)
