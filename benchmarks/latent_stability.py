"""Latents that several fits find, and the share of them that are features of the data.

    python -m benchmarks latent_stability fits [--kinds NAME ...] [--only NAME ...] [--seeds 2]

The samples are as in planted_features: 64 features in 32 dimensions, about 3 of them active. For
each row, four models with 48, 64 or 128 latents are fitted to one data set from four seeds.
The first two models are compared, or all four. A latent is a feature if the cosine of its atom with
a planted feature is above .9. If an atom has the mean similarity s to other dictionaries, and the
similarity r to random dictionaries that use the same directions equally, its odds of being a
feature are ``0.4 (s - r) / (1 - s)``. The factor, the odds half-way between chance and 1, was
chosen on the data sets of the seeds 0 and 1, with BatchTopK; the data sets here have seeds from 2.

Rows have two groups of latents: a probability of being a feature of .9 or more, and one between .5
and .9. For each group a row has the number of latents, their mean probability, and the share that
are features. "brier" is the mean squared difference of probability and truth. "found" is the share
of all latents that are features whose probability is .9 or more.
"""

from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.common import fit, make_parser, measure_missing, run_task
from benchmarks.planted_features import EPOCHS, KINDS, N_ACTIVE, draw
from skvaeense import SparseAutoencoder
from skvaeense.nets.penalties import BatchTopK

# Number of random dictionaries that each dictionary is compared with.
N_RANDOM = 5
FIRST_SEED, N_FITS, WIDTHS, N_TRAIN, IS_FEATURE = 2, 4, (48, 64, 128), 8000, 0.9
METHODS = {
    "BatchTopK": partial(SparseAutoencoder, penalty=BatchTopK(N_ACTIVE)),
    "L1": partial(SparseAutoencoder, penalty="l1", target_l0=N_ACTIVE),
}


def compare(atoms, dictionaries, signed):
    """Return the largest cosines of atoms with each dictionary, and means over the best matches."""
    largest, matched = [], []
    for others in dictionaries:
        cosines = np.clip(atoms @ others.T, -1.0, 1.0)
        cosines = cosines if signed else np.abs(cosines)
        largest.append(cosines.max(axis=1))
        matched.append(cosines[linear_sum_assignment(cosines, maximize=True)].mean())
    return np.array(largest), np.array(matched)


def unit(atoms):
    return atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)


def stability(dictionaries, *, signed):
    """Return how alike dictionaries are, beside random ones, and the probabilities of atoms.

    Atoms that are 0 count for nothing, and have the probability NaN.

    Returns
    -------
    matched : ndarray of shape (n, n)
        Mean cosine of the best one-to-one match of the atoms of two dictionaries.

    chance : ndarray of shape (n,)
        The same with random dictionaries.

    probability : list of n ndarrays, each of shape (n_atoms,)
        Probability that each atom is a feature of the data.
    """
    is_used = [np.any(atoms, axis=1) for atoms in dictionaries]
    used = [unit(atoms[rows]) for atoms, rows in zip(dictionaries, is_used, strict=True)]
    rng, matched, chance, probability = np.random.RandomState(0), np.eye(len(used)), [], []
    for i, atoms in enumerate(used):
        others = [j for j in range(len(used)) if j != i]
        largest, matched[i, others] = compare(atoms, [used[j] for j in others], signed)
        draws = (rng.standard_normal(2 * atoms.shape[:1]) @ atoms for _ in range(N_RANDOM))
        random, random_matched = compare(atoms, map(unit, draws), signed)
        chance.append(random_matched.mean())
        again = largest.mean(axis=0)
        gain, rest = 0.4 * np.maximum(again - random.mean(axis=0), 0), 1 - again
        own = np.full(len(is_used[i]), np.nan)
        own[is_used[i]] = gain / np.where(gain + rest == 0, 1.0, gain + rest)
        probability.append(own)
    return matched, np.array(chance), probability


def measure(kind, method, width, seed):
    """Return the agreement of probabilities with the truth, for two fits and for four."""
    X, _, features = draw(kind, FIRST_SEED + seed)
    fits = [METHODS[method](width, max_iter=EPOCHS, random_state=s) for s in range(N_FITS)]
    for model in fits:
        fit(model, X[:N_TRAIN])
    found = {}
    for n in (2, N_FITS):
        dictionaries = [model.components_ for model in fits[:n]]
        probability = np.concatenate(stability(dictionaries, signed=True)[2])
        true = (unit(np.concatenate(dictionaries)) @ features.T).max(axis=1) > IS_FEATURE
        found[f"{n} fits"] = agreement(probability, true)
    return found


def agreement(probability, true):
    """Return measures of the agreement of probabilities with the truth."""
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
    """Return the shares over all latents, for each kind and method."""
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
    """Fit the models whose rows the results lack."""
    orders = {"kind": list(KINDS), "method": list(METHODS), "width": list(WIDTHS)}
    chosen = {"kind": arguments.kinds, "method": arguments.only, "width": WIDTHS}
    measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=2, only=METHODS, out="latent_stability.json")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    run_task(parser, run_fits)
