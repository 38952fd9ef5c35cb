"""How much dimensions of thirty public tables change with their rows and with the seed.

    python -m benchmarks dimension_steady [--half report] [--only NAME ...] [--seeds 5]

The tables are those of imputers.py, with at most 1,000 rows. The estimator is fitted to all rows of
a table, to them without two random rows ("rows"), with another seed ("seed"), and to them with 5 %
of the rows drawn again from the others ("bootstrap"). The changes of `dimension_` are absolute.
"inside" is the share of changes within two `dimension_std_` of the fit to all rows. Nothing in the
estimator was chosen by the tables of the half "report".
"""

import warnings

import numpy as np

from benchmarks.common import RESULTS, make_parser, run_task, save
from benchmarks.imputers import HALVES, TABLES, load
from skvaeense import IntrinsicDimensionEstimator

OUT = RESULTS / "dimension_steady.json"
MAX_ROWS, SHARE = 1000, 0.05


def without_two(X, rng):
    """Return a table without two of its rows."""
    return np.delete(X, rng.choice(len(X), 2, replace=False), axis=0)


def drawn_again(X, rng):
    """Return a table in which a few rows are copies of others."""
    rows, n = np.arange(len(X)), max(1, round(SHARE * len(X)))
    rows[rng.choice(len(X), n, replace=False)] = rng.integers(len(X), size=n)
    return X[rows]


CHANGES = {"rows": without_two, "seed": lambda X, rng: X, "bootstrap": drawn_again}


def fit(X, seed=0):
    """Return an estimator that was fitted to a table."""
    return IntrinsicDimensionEstimator(random_state=seed).fit(X)


def run_tables(arguments):
    """Measure the tables, and write their changes and a summary for each half."""
    names = [name for name in arguments.only if name in HALVES.get(arguments.half, TABLES)]
    found = {}
    for name in names:
        X = load(name, MAX_ROWS)
        model = fit(X)
        row = {"dimension": float(model.dimension_), "std": float(model.dimension_std_)}
        for change, draw in CHANGES.items():
            row[change] = [
                float(
                    fit(draw(X, np.random.default_rng(seed)), seed * (change == "seed")).dimension_
                )
                - row["dimension"]
                for seed in range(1, arguments.seeds + 1)
            ]
        found[name] = row
        print(name, X.shape, row, flush=True)
    changes = {change: np.abs([row[change] for row in found.values()]) for change in CHANGES}
    std = np.array([row["std"] for row in found.values()])[:, None]
    summary = {
        change: {
            "mean": float(values.mean()),
            "worst table": float(values.mean(axis=1).max()),
            "worst": float(values.max()),
            "inside": float((values <= 2 * std).mean()),
        }
        for change, values in changes.items()
    }
    print(summary, flush=True)
    save(OUT, arguments.half, {"tables": found, "summary": summary})


def main():
    """Run the benchmark with the options of the command line."""
    warnings.simplefilter("ignore")
    parser = make_parser(__doc__, seeds=5, only=TABLES)
    parser.add_argument("--half", choices=[*HALVES, "all"], default="report")
    run_task(parser, run_tables)
