"""Calibration and use of the standard errors and reliabilities of dimensions.

    python -m benchmarks dimension_reliability judge [--only NAME ...] [--seeds 5]
    python -m benchmarks dimension_reliability draw

`judge` uses the data sets of the other benchmarks of dimensions, photographs and digits under known
transforms, and families that had no part in choosing weights. It measures on held-out samples:

* the share of dimensions within two standard errors of the truth, or equal to it once rounded;
* the share of dimensions that are right, beside the mean reliability;
* the error of the 80 % of the samples that are most reliable, beside the error of all samples.

Seeds that the file has are not run again. `draw` makes the reliability diagram: the share of right
dimensions among samples of similar reliability. All run on one thread; times are CPU seconds of the
fit.
"""

import warnings
from functools import partial
from itertools import product

import numpy as np

from benchmarks.apart import EXPERIMENTS as APART
from benchmarks.common import RESULTS, fit, load, make_parser, run_task, save, summarise
from benchmarks.data import HELD_OUT
from benchmarks.dimension import UNIONS
from benchmarks.dimension_families import HELD_OUT as HELD_OUT_OF_FAMILIES
from benchmarks.dimension_families import IMAGES, JUDGED
from skvaeense import IntrinsicDimensionEstimator

JUDGEMENT = RESULTS / "dimension_reliability.json"
# Share of the samples that are kept: the most reliable ones.
KEPT = 0.8
# Edges of the bins of the diagram.
EDGES = np.linspace(0, 1, 11)
WHICH_APART = (
    "affine 1/3/5, 0 apart, noise 5%",
    "affine 1/3/5, 10 apart, noise 0%",
    "affine 1/3/5, 10 apart, noise 5%",
    "eight affine, 3 apart, noise 10 %",
    "affine 1/3/5, 10 apart, n = 600",
    "two dictionaries, 5 apart",
    "2/4/8, 1 % of rows 6 away",
    "2/4/8, 90/9/1 %",
)


def union(name, seed):
    X, _, dimension = UNIONS[name](seed)
    return X, dimension


# name: (function of a seed that draws samples and dimensions, number of held-out samples)
EXPERIMENTS = {name: (partial(union, name), HELD_OUT) for name in UNIONS}
EXPERIMENTS |= {name: (APART[name], HELD_OUT) for name in WHICH_APART}
EXPERIMENTS |= {name: (make, HELD_OUT_OF_FAMILIES) for name, make in (IMAGES | JUDGED).items()}


def ask(make, n_held_out, seed):
    """Return held-out errors, a mask of right dimensions, reliabilities, reasons and seconds."""
    X, truth = make(seed)
    model = IntrinsicDimensionEstimator(random_state=seed)
    seconds = fit(model, X[n_held_out:])
    test, truth = X[:n_held_out], truth[:n_held_out]
    dimension = model.predict(test)
    reliability, reasons = model.reliability(test, return_reasons=True)
    return np.abs(dimension - truth), np.rint(dimension) == truth, reliability, reasons, seconds


def root_of_squares(reasons):
    return np.sqrt(np.square(list(reasons.values())).sum(axis=0))


def measure(name, seed):
    """Return a row of errors, standard errors and reliabilities of held-out samples."""
    error, right, reliability, reasons, seconds = ask(*EXPERIMENTS[name], seed)
    std = root_of_squares(reasons)
    kept = np.argsort(-reliability, kind="stable")[: round(KEPT * len(error))]
    leading = np.argmax(list(reasons.values()), axis=0)[~right]
    return {
        "seed": seed,
        "error": float(error.mean()),
        "kept_error": float(error[kept].mean()),
        "covered": float(((error <= 2 * std) | right).mean()),
        "right": float(right.mean()),
        "reliability": float(reliability.mean()),
        "std": float(np.sqrt(np.square(std).mean())),
        "reasons": {
            reason: float(np.mean(leading == i)) if len(leading) else 0.0
            for i, reason in enumerate(reasons)
        },
        "bins": [np.histogram(reliability[r], EDGES)[0].tolist() for r in (right, ~right)],
        "fit_seconds": seconds,
    }


def run_judge(arguments):
    """Measure the data sets and seeds that the file lacks."""
    # Measure all data sets with one seed before the next seed.
    for seed, name in product(range(arguments.seeds), arguments.only):
        rows = load(JUDGEMENT).get(name, {"per_seed": []})["per_seed"]
        if any(row["seed"] == seed for row in rows):
            continue
        rows = [*rows, measure(name, seed)]
        means = ("error_mean", "kept_error_mean", "covered_mean", "right_mean", "reliability_mean")
        summary = summarise(rows, *means, "error_worst")
        summary |= summarise(rows, "covered_worst", worst=min)
        print(name, seed, {k: round(v, 3) for k, v in summary.items()}, flush=True)
        save(JUDGEMENT, name, {"summary": summary, "per_seed": rows})


def run_draw(arguments):
    """Draw the share of right dimensions against their reliability."""
    from matplotlib import pyplot as plt

    results = load(JUDGEMENT)
    families = {name for name in results if name in IMAGES or name in JUDGED}
    figure, ax = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
    ax.plot([0, 1], [0, 1], color="0.7", zorder=0)
    for label, names in (
        ("unions of manifolds", set(results) - families),
        ("images and other families", families),
    ):
        rows = [np.sum([r["bins"] for r in results[n]["per_seed"]], axis=0) for n in sorted(names)]
        # All data sets have the same weight, whatever their number of samples.
        right, wrong = np.sum([row / row.sum() for row in rows], axis=0)
        total = right + wrong
        some = total > 0
        middles = (EDGES[1:] + EDGES[:-1])[some] / 2
        ax.plot(middles, right[some] / total[some], label=label, zorder=1)
        sizes = 600 * total[some] / total.sum()
        ax.scatter(middles, right[some] / total[some], sizes + 8, zorder=2)
    ax.set(xlabel="reliability", ylabel="share of right dimensions", xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(frameon=False, loc="lower right")
    figure.savefig(JUDGEMENT.with_suffix(".png"), dpi=110)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=EXPERIMENTS)
    warnings.simplefilter("ignore")
    run_task(parser, run_judge, run_draw)
