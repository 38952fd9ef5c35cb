"""Latents that several fits find: how many of those said to be features are.

    python -m benchmarks latent_stability fits [--kinds NAME ...] [--only NAME ...] [--seeds 2]

Samples are those of planted_features: 64 features, about 3 of them active, in 32 dimensions. Each
row has four fits of one data set by other seeds, of 48, 64 or 128 latents, of which
`dictionary_stability` sees the first two, or all. A latent is a feature if the cosine of its atom
with a planted one is above .9. The one factor of its probabilities was chosen by the data sets of
the seeds 0 and 1, by BatchTopK; those here have seeds from 2 on.

Of latents that are said to be features with a probability of .9 or more, and of those between .5
and .9, rows have the number, the mean probability and the share that are features; "brier" is the
mean squared difference of probability and truth, and "found" the share of the features among the
latents that are said to be.
"""

from functools import partial

import numpy as np

from benchmarks.common import fit, make_parser, measure_missing, run_task
from benchmarks.planted_features import EPOCHS, KINDS, N_ACTIVE, draw
from skvaeense import SparseAutoencoder
from skvaeense.inspection import dictionary_stability
from skvaeense.penalties import BatchTopK

FIRST_SEED, N_FITS, WIDTHS, N_TRAIN, IS_FEATURE = 2, 4, (48, 64, 128), 8000, 0.9
METHODS = {
    "BatchTopK": partial(SparseAutoencoder, penalty=BatchTopK(N_ACTIVE)),
    "L1": partial(SparseAutoencoder, penalty="l1", target_l0=N_ACTIVE),
}


def measure(kind, method, width, seed):
    """Return how often probabilities hold, of two fits and of four."""
    X, _, features = draw(kind, FIRST_SEED + seed)
    fits = [METHODS[method](width, max_iter=EPOCHS, random_state=s) for s in range(N_FITS)]
    for model in fits:
        fit(model, X[:N_TRAIN])
    found = {}
    for n in (2, N_FITS):
        result = dictionary_stability(fits[:n], signed=True)
        atoms = np.concatenate([model.components_ for model in fits[:n]])
        atoms /= np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)
        true = (atoms @ features.T).max(axis=1) > IS_FEATURE
        found[f"{n} fits"] = agreement(np.concatenate(result.atom_probability), true)
    return found


def agreement(probability, true):
    """Return how probabilities agree with the truth."""
    row = {}
    for name, least, most in (("high", 0.9, 1.01), ("middle", 0.5, 0.9)):
        own = (probability >= least) & (probability < most)
        row |= {f"{name}_n": int(own.sum())}
        if own.any():
            row |= {f"{name}_said": float(probability[own].mean())}
            row |= {f"{name}_true": float(true[own].mean())}
    is_high = probability >= 0.9
    return row | {
        "share_true": float(true.mean()),
        "found": float((true & is_high).sum() / max(true.sum(), 1)),
        "brier": float(np.square(probability - true).mean()),
    }


def summary(rows):
    """Return the shares over all latents of a kind and a method."""
    found = []
    for kind, method in dict.fromkeys((row["kind"], row["method"]) for row in rows):
        own = [row for row in rows if (row["kind"], row["method"]) == (kind, method)]
        line = {"kind": kind, "method": method}
        for name in ("2 fits", f"{N_FITS} fits"):
            parts = [row[name] for row in own]
            for part in ("high", "middle"):
                n = np.array([p[f"{part}_n"] for p in parts])
                for key in ("said", "true"):
                    values = np.array([p.get(f"{part}_{key}", 0.0) for p in parts])
                    line[f"{name} {part}_{key}"] = float((n * values).sum() / max(n.sum(), 1))
            for key in ("found", "brier"):
                line[f"{name} {key}"] = float(np.mean([p[key] for p in parts]))
        found.append(line)
    return found


def run_fits(arguments):
    """Fit what is not in the results yet."""
    orders = {"kind": list(KINDS), "method": list(METHODS), "width": list(WIDTHS)}
    chosen = {"kind": arguments.kinds, "method": arguments.only, "width": WIDTHS}
    measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=2, only=METHODS, out="latent_stability.json")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    run_task(parser, run_fits)
