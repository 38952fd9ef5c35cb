"""The dimension of photographs and digits under known transforms, with and without noise.

    python -m benchmarks dimension_patches [--only NAME ...] [--seeds 3] [--out FILE]

The images are those of make_transformed_images, with 256 pixels. Noise is a share of the root mean
square within images, so that it does not grow with their differences. Mean absolute errors are
those on held-out samples.
"""

import warnings
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, make_parser, save, summarise
from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_transformed_images

N_TRAIN, N_HELD_OUT = 6000, 1000
# Benchmarks of other pages have seeds from 0.
FIRST_SEED = 300


def draw(dims, noise, seed, images="photographs", n_samples=N_TRAIN + N_HELD_OUT):
    """Draw images, and their dimensions."""
    X, image, dimension = make_transformed_images(
        n_samples, dims=dims, images=images, random_state=seed
    )
    within = np.sqrt(np.mean([X[image == i].var(axis=0).mean() for i in np.unique(image)]))
    return X + noise * within * np.random.default_rng(seed).standard_normal(X.shape), dimension


EXPERIMENTS = {
    f"{'/'.join(map(str, dims))} transforms, noise {noise:.0%}": partial(draw, dims, noise)
    for dims in ((1, 3, 5), (1, 2, 6), (2, 4))
    for noise in (0.0, 0.05)
} | {
    f"digits, 1/3/5 transforms, noise {noise:.0%}": partial(draw, (1, 3, 5), noise, images="digits")
    for noise in (0.0, 0.05)
}


def measure(make, seed):
    """Return the error on held-out samples, and the mean for each true dimension."""
    X, truth = make(seed)
    model = IntrinsicDimensionEstimator(random_state=seed)
    seconds = fit(model, X[N_HELD_OUT:])
    found, truth = model.predict(X[:N_HELD_OUT]), truth[:N_HELD_OUT]
    return {
        "error": float(np.abs(found - truth).mean()),
        "mean": {str(r): float(found[truth == r].mean()) for r in np.unique(truth)},
        "largest": float(found.max()),
        "fit_seconds": seconds,
    }


def main():
    """Measure what the command line asks for."""
    parser = make_parser(__doc__, seeds=3, only=EXPERIMENTS, out="dimension_patches.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name in arguments.only:
            seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
            rows = [measure(EXPERIMENTS[name], seed) for seed in seeds]
            summary = summarise(rows, "error_mean", "error_worst", "fit_seconds_mean")
            print(name, {key: round(value, 3) for key, value in summary.items()}, flush=True)
            save(arguments.out, name, {"summary": summary, "per_seed": rows})
