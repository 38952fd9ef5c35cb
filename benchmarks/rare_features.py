"""Features of very different frequencies, with nothing set.

    python -m benchmarks rare_features fits [--kinds NAME ...] [--only NAME ...] [--seeds 5]

A sample is the sum of random ones of 128 features in 48 dimensions, with coefficients |N(0, 1)|,
plus noise with a standard deviation of .01 in each dimension. There are 30,000 training samples and
3,000 others. A seed draws features, samples and the model. Frequencies are of three kinds:

* power: they fall with a power of the rank, from .12 to .0006, as in Zipf's law;
* even: they fall evenly in their logarithm, from .12 to .0006;
* equal: all are .03.

The measures are:

* atoms, the F1 score of the found atoms: an atom is right, and a feature is found, if their cosine
  is above .9;
* rare, the share of the 32 rarest features that are found;
* codes, the F1 score of open latents as predictions of active features, over all other samples,
  where each feature is assigned a different latent so that the sum of cosines is largest;
* known, the same F1 score of gates whose atoms and prior are the true ones. Coefficients that are
  small beside the noise cannot be found.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from benchmarks.common import fit, groups, make_parser, measure_missing, run_task, summarise
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.explanations import GateLaw, Gates

N_FEATURES, N_DIMENSIONS, N_TRAIN, N_NEW, NOISE, IS_FEATURE = 128, 48, 30_000, 3_000, 0.01, 0.9
RANKS = np.arange(1, N_FEATURES + 1)
KINDS = {
    "power": 0.12 * RANKS ** (-np.log(200) / np.log(N_FEATURES)),
    "even": np.geomspace(0.12, 0.0006, N_FEATURES),
    "equal": np.full(N_FEATURES, 0.03),
}
METHODS = {
    "default": lambda kind: VAEenseTransformer(),
    "BatchTopK": lambda kind: SparseAutoencoder(
        N_FEATURES, target_l0=max(1.0, float(KINDS[kind].sum()))
    ),
}


def draw(kind, seed):
    """Return samples, the activity of features, and the features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(N_FEATURES, N_DIMENSIONS))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    shape = N_TRAIN + N_NEW, N_FEATURES
    codes = (rng.random(shape) < KINDS[kind]) * np.abs(rng.normal(size=shape))
    X = codes @ features + NOISE * rng.normal(size=(len(codes), N_DIMENSIONS))
    return X, codes != 0, features


def f1_of_codes(is_open, cosines, is_active):
    """Return the F1 score of latents as predictions of the features that they are assigned to."""
    latents, features = linear_sum_assignment(-cosines)
    n_right = (is_open[:, latents] & is_active[:, features]).sum()
    return float(2 * n_right / (is_open.sum() + is_active.sum()))


def f1_of_known(X, kind, features, is_active):
    """Return the F1 score of gates with the true atoms, frequencies and coefficients."""
    mean, one = np.sqrt(2 / np.pi), torch.ones(N_FEATURES, dtype=torch.float64)
    slabs = torch.from_numpy(KINDS[kind]), mean * one, (1 - mean**2) * one
    numbers = torch.tensor(NOISE**2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    weight, bias = torch.from_numpy(features), torch.zeros(N_DIMENSIONS, dtype=torch.float64)
    law = GateLaw(Gates(weight, bias, *slabs, *numbers), np.zeros(N_DIMENSIONS), 1.0)
    return f1_of_codes(law.encode(X).active.numpy(), np.eye(N_FEATURES), is_active)


def measure(kind, method, seed):
    """Return the measures of one fit."""
    X, is_active, features = draw(kind, seed)
    new, is_active = X[N_TRAIN:], is_active[N_TRAIN:]
    model = METHODS[method](kind).set_params(random_state=seed)
    seconds = fit(model, X[:N_TRAIN])
    sizes = np.linalg.norm(model.components_, axis=1, keepdims=True)
    cosines = np.abs(model.components_ @ features.T) / np.maximum(sizes, 1e-12)
    is_found, is_right = cosines.max(axis=0) > IS_FEATURE, cosines.max(axis=1) > IS_FEATURE
    return {
        "atoms": float(2 / (1 / is_found.mean() + 1 / is_right.mean())),
        "rare": float(is_found[np.argsort(KINDS[kind], kind="stable")[:32]].mean()),
        "codes": f1_of_codes(model.transform(new) != 0, cosines, is_active),
        "known": f1_of_known(new, kind, features, is_active),
        "cpu_seconds": seconds,
    }


def summary(rows):
    """Return means and worst values over the seeds."""
    keys = ["atoms", "rare", "codes", "known"]
    numbers = [f"{key}_{how}" for key in keys for how in ("mean", "worst")]
    return [
        label | summarise(own, *numbers, "cpu_seconds_mean", worst=min)
        for label, own in groups(rows, "kind", "method")
    ]


def run_fits(arguments):
    """Fit the models whose rows the results lack."""
    orders = {"kind": list(KINDS), "method": list(METHODS)}
    chosen = {"kind": arguments.kinds, "method": arguments.only}
    measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=METHODS, out="rare_features.json")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    run_task(parser, run_fits)
