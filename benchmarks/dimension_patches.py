"""The dimension of textured photograph patches under known transforms, with and without noise.

    python -m benchmarks dimension_patches [--only NAME ...] [--seeds 3] [--out FILE]

Patches of 16 x 16 pixels of one of scikit-learn's sample photographs are shifted, turned, scaled,
and changed in brightness and contrast, around several centres, with different transforms free at
each. A centre is drawn again unless every tangent direction has a clear variance: flat sky has no
dimension. Noise is a share of the root mean square within centres. Mean absolute errors are those
on held-out samples.
"""

import warnings
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from sklearn.datasets import load_sample_image
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, make_parser, save, summarise
from skvaeense import IntrinsicDimensionEstimator

N_TRAIN, N_HELD_OUT, SIZE = 6000, 1000, 16
# Pixels between those of a patch, and the standard deviation that photographs are smoothed by.
STEP, SMOOTHING = 2.0, 2.0
# Ranges of shifts in pixels, angle, log scale, brightness and log contrast.
RANGES = np.array([6.0, 6.0, 0.4, 0.25, 0.15, 0.3])
# Least variance of a patch in any tangent direction.
LEAST_TANGENT = 0.04
# Benchmarks of other pages have seeds from 0.
FIRST_SEED = 300


def photograph():
    """Return a photograph in shades of grey from 0 to 1."""
    return ndimage.gaussian_filter(load_sample_image("china.jpg").mean(axis=2) / 255, SMOOTHING)


def patches(photo, center, transforms):
    """Return one patch as a row for each row of transforms."""
    down, right, angle, log_scale, brightness, log_contrast = transforms.T[:, :, None]
    grid = (np.arange(SIZE) - (SIZE - 1) / 2) * STEP
    y, x = (axis.ravel()[None] for axis in np.meshgrid(grid, grid, indexing="ij"))
    scale = np.exp(log_scale)
    where = [
        center[0] + down + scale * (np.cos(angle) * y - np.sin(angle) * x),
        center[1] + right + scale * (np.sin(angle) * y + np.cos(angle) * x),
    ]
    values = ndimage.map_coordinates(photo, where, order=1, mode="reflect")
    return (values - 0.5) * np.exp(log_contrast) + 0.5 + brightness


def tangent_variances(photo, center, free, step=0.15):
    """Return the variances that transforms give a patch, of the free ones, falling."""
    transforms = np.zeros((len(free), len(RANGES)))
    transforms[np.arange(len(free)), free] = step * RANGES[free]
    change = patches(photo, center, transforms) - patches(photo, center, -transforms)
    # A uniform distribution on [-1, 1] has the variance 1 / 3.
    return np.linalg.svd(change / (2 * step), compute_uv=False) ** 2 / 3


def draw(dims, noise, seed):
    """Draw patches around one centre for each dimension, and their dimensions."""
    rng, photo = np.random.default_rng(seed), photograph()
    n_samples = N_TRAIN + N_HELD_OUT
    parts = []
    for rows in np.array_split(np.arange(n_samples), len(dims)):
        dimension, variances = dims[len(parts)], np.zeros(1)
        while variances[-1] < LEAST_TANGENT:
            center = rng.uniform([80, 80], [340, 560])
            free = rng.permutation(len(RANGES))[:dimension]
            variances = tangent_variances(photo, center, free)
        transforms = np.zeros((len(rows), len(RANGES)))
        transforms[:, free] = rng.uniform(-1, 1, (len(rows), dimension)) * RANGES[free]
        parts.append(patches(photo, center, transforms))
    dimension = np.repeat(dims, [len(part) for part in parts])
    within = np.sqrt(np.mean([part.var(axis=0).mean() for part in parts]))
    order = rng.permutation(n_samples)
    X = np.concatenate(parts)[order]
    return X + noise * within * rng.standard_normal(X.shape), dimension[order]


EXPERIMENTS = {
    f"{'/'.join(map(str, dims))} transforms, noise {noise:.0%}": partial(draw, dims, noise)
    for dims in ((1, 3, 5), (1, 2, 6), (2, 4))
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
