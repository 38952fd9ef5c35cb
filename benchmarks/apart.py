"""Default fits to parts that lie apart, to data with a few far rows, and to parts of uneven size.

    python -m benchmarks apart [--seeds 5] [--only NAME ...] [--out FILE]

Manifolds and samples are drawn anew for every seed. The number of active latents of each held-out
sample is compared with its dimension. Subspaces have variance 1 in each of their directions, and
distances between their centres are in the same unit. Noise is a share of the spread within
subspaces. Times are CPU seconds of the fit on one thread.
"""

import warnings
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, make_parser, save, summarise
from benchmarks.data import HELD_OUT
from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary

N_FEATURES = 40
# The seeds of other benchmarks start at 0.
FIRST_SEED = 1000


def with_noise(X, dims, noise, seed):
    """Add noise whose level is a share of the root mean square within unit-variance subspaces."""
    scale = noise * np.sqrt(np.mean(dims) / N_FEATURES)
    return X + scale * np.random.default_rng(seed).standard_normal(X.shape)


def affine(offset, noise, seed, dims=(1, 3, 5), n_samples=5000):
    """Draw affine subspaces whose centres are drawn from N(0, I / d) and multiplied by `offset`."""
    X, _, dimension = make_linear_subspaces(
        n_samples + HELD_OUT,
        dims=dims,
        offset_scale=offset / np.sqrt(N_FEATURES),
        random_state=seed,
    )
    return with_noise(X, dims, noise, seed), dimension


def linear(dims, seed, n_samples=5000):
    """Draw subspaces through the origin."""
    X, _, dimension = make_linear_subspaces(n_samples + HELD_OUT, dims=dims, random_state=seed)
    return X, dimension


def dictionary(seed):
    """Draw sums of 4 of 20 atoms."""
    X, _, dimension = make_sparse_dictionary(10_000 + HELD_OUT, random_state=seed)
    return X, dimension


def two_dictionaries(offset, seed):
    """Draw sums of 2 of 10 atoms around one centre, and of 4 of 15 other atoms around another."""
    rng = np.random.default_rng(seed)
    parts = []
    for n_atoms, n_active, part_seed in ((10, 2, seed), (15, 4, seed + 500)):
        X, _, dimension = make_sparse_dictionary(
            5000, n_atoms=n_atoms, n_active=n_active, random_state=part_seed
        )
        X /= np.sqrt(np.square(X).sum(axis=1).mean() / n_active)
        parts.append((X + offset * rng.standard_normal(N_FEATURES) / N_FEATURES**0.5, dimension))
    X, dimension = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = rng.permutation(len(X))
    return X[order], dimension[order]


def with_far_rows(distance, seed):
    """Draw subspaces of dimensions 2/4/8, and move 1 % of the training samples far away."""
    X, dimension = linear((2, 4, 8), seed)
    rng = np.random.default_rng(seed)
    rows = HELD_OUT + rng.choice(len(X) - HELD_OUT, (len(X) - HELD_OUT) // 100, replace=False)
    spread = np.sqrt(np.square(X).mean())
    X[rows] = distance * spread * rng.standard_normal((len(rows), N_FEATURES))
    return X, dimension


def uneven(offset, seed):
    """Draw dimensions 2/4/8 with 90, 9 and 1 % of the samples, and 1,780 training samples."""
    n_samples = HELD_OUT + 1780
    X, dimension = affine(offset, 0.0, seed, dims=(2, 4, 8), n_samples=3 * n_samples)
    rng = np.random.default_rng(seed)
    rows = [
        np.flatnonzero(dimension == k)[: round(share * n_samples)]
        for k, share in ((2, 0.9), (4, 0.09), (8, 0.01))
    ]
    order = rng.permutation(np.concatenate(rows))
    return X[order], dimension[order]


EXPERIMENTS = {
    f"affine 1/3/5, {offset} apart, noise {noise:.0%}": partial(affine, offset, noise)
    for offset in (0, 1, 3, 10, 30)
    for noise in (0.0, 0.05)
} | {
    "eight affine, 3 apart, noise 10 %": partial(affine, 3, 0.1, dims=(1, 2, 3, 1, 2, 3, 2, 2)),
    "affine 1/3/5, 10 apart, n = 600": partial(affine, 10, 0.0, n_samples=600),
    "two dictionaries, 5 apart": partial(two_dictionaries, 5),
    "2/4/8": partial(linear, (2, 4, 8)),
    "2/4/8, 1 % of rows 20 away": partial(with_far_rows, 20),
    "2/4/8, 1 % of rows 6 away": partial(with_far_rows, 6),
    "2/4/8, 90/9/1 %": partial(uneven, 0),
    "2/4/8, 90/9/1 %, 10 apart": partial(uneven, 10),
    "4/4/4": partial(linear, (4, 4, 4)),
    "4 of 20 atoms": dictionary,
}
ESTIMATORS = {"count": VAEenseTransformer, "estimator": IntrinsicDimensionEstimator}


def measure(make, seed):
    """Return the held-out errors of both estimators, and the CPU seconds of their fits."""
    X, dimension = make(seed)
    row = {}
    for name, cls in ESTIMATORS.items():
        model = cls(random_state=seed)
        row[f"{name}_seconds"] = fit(model, X[HELD_OUT:])
        if name == "count":
            row["n_locations"] = len(getattr(model, "locations_", X[:1]))
            found = model.active_dimensions(X[:HELD_OUT]).sum(axis=1)
        else:
            found = model.predict(X[:HELD_OUT])
        row[f"{name}_error"] = float(np.abs(found - dimension[:HELD_OUT]).mean())
    return row


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS, out="apart.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name in arguments.only:
            seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
            rows = [measure(EXPERIMENTS[name], seed) for seed in seeds]
            keys = [f"{kind}_{of}" for kind in ESTIMATORS for of in ("error", "seconds")]
            summary = summarise(rows, *(f"{key}_{of}" for key in keys for of in ("mean", "worst")))
            print(name, {key: round(value, 3) for key, value in summary.items()}, flush=True)
            save(arguments.out, name, {"summary": summary, "per_seed": rows})


if __name__ == "__main__":
    main()
