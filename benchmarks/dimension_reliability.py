"""Whether standard errors and reliabilities of dimensions hold, and what they are good for.

    python -m benchmarks dimension_reliability [--only NAME ...] [--seeds 5] [--out FILE]

Data sets are those of the other benchmarks of dimensions, and families that took no part in the
calibration of standard errors; those that did are in dimension_families.py, and are not judged.
On held-out samples: the share of dimensions that are within two standard errors of the truth, or
round to it; the share that is right, beside the mean reliability; and the error of the 80 % of the
samples that are most reliable, beside the error of all. Seeds that are in the file are not run
again. One thread; times are CPU seconds of the fit.
"""

import warnings
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import apart, dimension_families, dimension_patches
from benchmarks.common import fit, load, make_parser, save, summarise
from benchmarks.data import HELD_OUT
from benchmarks.dimension import UNIONS
from skvaeense import IntrinsicDimensionEstimator
from skvaeense.metrics import dimension_error

# Share of the samples that are kept, the most reliable ones.
KEPT = 0.8
APART = [
    "affine 1/3/5, 0 apart, noise 5%",
    "affine 1/3/5, 10 apart, noise 0%",
    "affine 1/3/5, 10 apart, noise 5%",
    "eight affine, 3 apart, noise 10 %",
    "affine 1/3/5, 10 apart, n = 600",
    "two dictionaries, 5 apart",
    "2/4/8, 1 % of rows 6 away",
    "2/4/8, 90/9/1 %",
]


def union(name, seed):
    X, _, dimension = UNIONS[name](seed)
    return X, dimension


# name: samples and dimensions of a seed, and how many of them are held out.
EXPERIMENTS = (
    {name: (partial(union, name), HELD_OUT) for name in UNIONS}
    | {name: (apart.EXPERIMENTS[name], HELD_OUT) for name in APART}
    | {
        name: (make, dimension_patches.N_HELD_OUT)
        for name, make in dimension_patches.EXPERIMENTS.items()
    }
    | {
        name: (make, dimension_families.HELD_OUT)
        for name, make in dimension_families.JUDGED.items()
    }
)


def measure(name, seed):
    """Return what the errors, standard errors and reliabilities of held-out samples are."""
    make, n_held_out = EXPERIMENTS[name]
    X, truth = make(seed)
    model = IntrinsicDimensionEstimator(random_state=seed)
    seconds = fit(model, X[n_held_out:])
    test, truth = X[:n_held_out], truth[:n_held_out]
    dimension, std = model.predict(test, return_std=True)
    reliability, reasons = model.reliability(test, return_reasons=True)
    error = np.abs(dimension - truth)
    right = np.rint(dimension) == truth
    kept = np.argsort(-reliability, kind="stable")[: round(KEPT * len(test))]
    leading = np.argmax(list(reasons.values()), axis=0)
    return {
        "seed": seed,
        "error": dimension_error(truth, dimension),
        "kept_error": float(error[kept].mean()),
        "covered": float(((error <= 2 * std) | right).mean()),
        "right": float(right.mean()),
        "reliability": float(reliability.mean()),
        "std": float(np.sqrt(np.square(std).mean())),
        "reasons": {
            name: float((leading[~right] == i).mean()) if not right.all() else 0.0
            for i, name in enumerate(reasons)
        },
        "fit_seconds": seconds,
    }


def main():
    """Measure what the command line asks for, and is not in the file yet."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS, out="dimension_reliability.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        # All data sets once, before any of them again.
        for seed in range(arguments.seeds):
            for name in arguments.only:
                rows = load(arguments.out).get(name, {"per_seed": []})["per_seed"]
                if any(row["seed"] == seed for row in rows):
                    continue
                rows = [*rows, measure(name, seed)]
                summary = summarise(rows, "error_mean", "error_worst", "kept_error_mean")
                summary |= summarise(rows, "covered_mean", "right_mean", "reliability_mean")
                summary |= summarise(rows, "covered_worst", worst=min)
                print(name, seed, {k: round(v, 3) for k, v in summary.items()}, flush=True)
                save(arguments.out, name, {"summary": summary, "per_seed": rows})
