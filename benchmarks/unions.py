"""Ranks of SubspaceMixture and counts of a default fit, on flat parts that nothing was tuned on.

    python -m benchmarks unions [--seeds 5] [--only NAME ...] [--out FILE]

Subspaces and samples are drawn anew for every seed. The dimension of a held-out sample is compared
with the rank of its component and with its number of active latents. Log-densities are in nats.
Noise is a share of the root mean square; for affine parts, of the root mean square within parts. No
other benchmark has these seeds. Times are CPU seconds of a fit on one thread.
"""

import time
import warnings

import numpy as np
import torch
from sklearn.metrics import mean_absolute_error
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, make_parser, save, summarise
from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
from benchmarks.generators.swiss_rolls import make_swiss_rolls
from skvaeense import VAEenseTransformer
from skvaeense.datasets import (
    make_linear_subspaces,
    make_sparse_dictionary,
    make_spheres,
)
from skvaeense.mixture import SubspaceMixture

N_HELD_OUT = 1000
FIRST_SEED = 3000


def linear(dims, n_features, n_samples, noise=0.0):
    """Return a function that draws subspaces through the origin."""

    def draw(seed):
        X, _, dimension = make_linear_subspaces(
            n_samples + N_HELD_OUT,
            dims=dims,
            n_features=n_features,
            noise=noise,
            random_state=seed,
        )
        return X, dimension

    return draw


def affine(dims, n_samples, offset, noise=0.0, n_features=40):
    """Return a function that draws affine parts with centres N(0, I / d) times `offset`."""

    def draw(seed):
        X, _, dimension = make_linear_subspaces(
            n_samples + N_HELD_OUT,
            dims=dims,
            n_features=n_features,
            offset_scale=offset / np.sqrt(n_features),
            random_state=seed,
        )
        scale = noise * np.sqrt(np.mean(dims) / n_features)
        return X + scale * np.random.default_rng(seed).standard_normal(X.shape), dimension

    return draw


def far_rows(share):
    """Return a function that draws dimensions 2/4/8, with a share of far training samples."""

    def draw(seed):
        X, dimension = linear((2, 4, 8), 40, 5000)(seed)
        rng = np.random.default_rng(seed)
        n_far = int(share * (len(X) - N_HELD_OUT))
        rows = N_HELD_OUT + rng.choice(len(X) - N_HELD_OUT, n_far, replace=False)
        X[rows] = 30 * np.sqrt(np.square(X).mean()) * rng.standard_normal((n_far, X.shape[1]))
        return X, dimension

    return draw


def duplicated(seed):
    """Draw dimensions 3/5/9, with every training sample twice."""
    X, dimension = linear((3, 5, 9), 50, 1500, 0.05)(seed)
    rows = np.r_[: len(X), N_HELD_OUT : len(X)]
    return X[rows], dimension[rows]


def uneven(noise):
    """Return a function that draws dimensions 2/4/8 with 90, 9 and 1 % of the samples.

    There are 1,800 training samples.
    """

    def draw(seed):
        X, dimension = linear((2, 4, 8), 40, 9000, noise)(seed)
        sizes = {2: 0.9, 4: 0.09, 8: 0.01}
        n = 1800 + N_HELD_OUT
        rows = [np.flatnonzero(dimension == r)[: round(n * p)] for r, p in sizes.items()]
        rows = np.random.default_rng(seed).permutation(np.concatenate(rows))
        return X[rows], dimension[rows]

    return draw


def dictionary(n_atoms, n_active, n_features=40, noise=0.0):
    """Return a function that draws sums of `n_active` of `n_atoms` atoms."""

    def draw(seed):
        X, _, dimension = make_sparse_dictionary(
            10_000 + N_HELD_OUT,
            n_atoms=n_atoms,
            n_active=n_active,
            n_features=n_features,
            random_state=seed,
        )
        size = noise * np.sqrt(np.square(X).mean())
        return X + size * np.random.default_rng(seed).standard_normal(X.shape), dimension

    return draw


def other(make, **parameters):
    """Return a function that draws samples by another generator, `make`."""

    def draw(seed):
        X, _, dimension = make(5000 + N_HELD_OUT, random_state=seed, **parameters)
        return X, dimension

    return draw


ROWS = {
    "3/5/9 in R^50, 5 % noise": linear((3, 5, 9), 50, 1500, 0.05),
    "3/5/9 in R^50, no noise": linear((3, 5, 9), 50, 1500),
    "3/5/9 in R^50, 5 % noise, n = 300": linear((3, 5, 9), 50, 300, 0.05),
    "3/5/9 in R^50, no noise, n = 200": linear((3, 5, 9), 50, 200),
    "6/6 in R^40, 5 % noise": linear((6, 6), 40, 2000, 0.05),
    "2/4/8 in R^40, no noise": linear((2, 4, 8), 40, 2000),
    "2/4/8 in R^40, 1 % noise, n = 50,000": linear((2, 4, 8), 40, 50_000, 0.01),
    "2/4/8 in R^40, 10 % noise": linear((2, 4, 8), 40, 2000, 0.1),
    "2/4/8 in R^40, 20 % noise": linear((2, 4, 8), 40, 5000, 0.2),
    "8/16/24 in R^60, 5 % noise": linear((8, 16, 24), 60, 5000, 0.05),
    "1/2 in R^3, no noise": linear((1, 2), 3, 2000),
    "1/2 in R^3, 5 % noise": linear((1, 2), 3, 2000, 0.05),
    "eight 3-dim in R^20, 2 % noise": linear((3,) * 8, 20, 2000, 0.02),
    "thirty 4-dim in R^40, 2 % noise": linear((4,) * 30, 40, 10_000, 0.02),
    "fifty 4-dim in R^40, 2 % noise": linear((4,) * 50, 40, 20_000, 0.02),
    "eight affine, 10 % noise": affine((1, 2, 3, 4, 5, 6, 3, 2), 5000, 3.0, 0.1),
    "affine 1/3/5, 2 apart, 5 % noise": affine((1, 3, 5), 5000, 2.0, 0.05),
    "affine 1/3/5, 8 apart, 5 % noise": affine((1, 3, 5), 5000, 8.0, 0.05),
    "affine 1/3/5, 20 apart, 5 % noise": affine((1, 3, 5), 5000, 20.0, 0.05),
    "affine 1/3/5, 100 apart, no noise": affine((1, 3, 5), 5000, 100.0),
    "1 % far rows": far_rows(0.01),
    "5 % far rows": far_rows(0.05),
    "duplicated rows": duplicated,
    "90/9/1 %, no noise": uneven(0.0),
    "90/9/1 %, 5 % noise": uneven(0.05),
    "N(0, I_20)": other(make_linear_subspaces, dims=(20,), n_features=20),
    "4 of 20 atoms, no noise": dictionary(20, 4),
    "4 of 20 atoms, 5 % noise": dictionary(20, 4, noise=0.05),
    "2 of 30 atoms in R^20, no noise": dictionary(30, 2, 20),
    "spheres 2/5/10 in R^60": other(make_spheres),
    "curved 2/4/8 in R^40": other(make_mlp_manifolds),
    "Swiss rolls in R^3": other(make_swiss_rolls),
}


def measure(draw, seed):
    X, dimension = draw(seed)
    train, test, truth = X[N_HELD_OUT:], X[:N_HELD_OUT], dimension[:N_HELD_OUT]
    begin = time.process_time()
    mixture = SubspaceMixture(random_state=seed).fit(train)
    row = {"seed": seed, "mixture_seconds": time.process_time() - begin}
    row["components"] = mixture.n_components_
    row["rank_error"] = mean_absolute_error(truth, mixture.ranks_[mixture.predict(test)])
    row["mixture_nats"] = mixture.score(test)
    model = VAEenseTransformer(random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        row["count_seconds"] = fit(model, train)
    row["latents"] = model.n_components_
    row["count_error"] = mean_absolute_error(truth, model.active_dimensions(test).sum(axis=1))
    return row


def main():
    parser = make_parser(__doc__, seeds=5, only=ROWS, out="unions.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ("rank_error", "count_error", "mixture_seconds", "count_seconds")
    names = [f"{name}_{kind}" for name in kinds for kind in ("mean", "worst")]
    with threadpool_limits(1):
        for name in arguments.only:
            rows = [measure(ROWS[name], FIRST_SEED + seed) for seed in range(arguments.seeds)]
            summary = summarise(rows, *names)
            print(name, {k: round(v, 3) for k, v in summary.items()}, flush=True)
            save(arguments.out, name, {"rows": rows} | summary)


if __name__ == "__main__":
    main()
