"""Dimensions of degenerate tables: an answer or a clear message, within limits of time and memory.

    python -m benchmarks dimension_degenerate [--cases 2000] [--first 0]

A seed draws a table: constants, at most 20 distinct rows, lattices, one-hot blocks, equidistant
rows, very few rows, lines, and combinations of these, in units from 1e-12 to 1e12. The estimator is
fitted, and asked for dimensions and reliabilities of rows seen and unseen. A case fails if a call
raises an error that is not raised on purpose, if an answer is not finite, or if it needs more than
`MOST_CPU_SECONDS` or `MOST_BYTES`. Each case runs in a forked process, whose memory is counted
beyond the memory that it begins with. results/dimension_degenerate.json has the counts of each
kind, and the seeds of the failures.
"""

import multiprocessing
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import RESULTS, make_parser, write
from benchmarks.fuzz import of_error, pick
from skvaeense import IntrinsicDimensionEstimator

OUT = RESULTS / "dimension_degenerate.json"
MOST_CPU_SECONDS, MOST_BYTES = 5.0, 500 * 2**20
ROWS, COLUMNS = (2, 3, 4, 5, 6, 8, 12, 20, 50, 100, 300, 1000), (1, 2, 3, 5, 10, 30)


def distinct(rng, n, d):
    """Draw copies of at most 20 rows."""
    rows = rng.standard_normal((rng.integers(1, 21), d))
    return rows[rng.integers(len(rows), size=n)]


def one_hot(rng, n, d):
    """Draw blocks of one-hot columns."""
    levels = rng.integers(2, 13, size=min(d, 6))
    return np.hstack([np.eye(k)[rng.integers(k, size=n)] for k in levels])


def equidistant(rng, n, d):
    """Draw rows of a simplex, each at most a few times."""
    n = min(n, 300)
    return np.eye(n)[rng.permutation(np.arange(n) // pick(rng, (1, 1, 2, 3)))]


def cross(rng, n, d):
    """Draw rows with a single entry that is not 0."""
    X = np.zeros((n, d))
    X[np.arange(n), rng.integers(d, size=n)] = rng.integers(-3, 4, size=n)
    return X


def sequence(rng, n, d):
    """Draw equally spaced points of a line, in all columns."""
    return np.arange(n)[:, None] * np.ones(d)


def one_row_differs(rng, n, d):
    return np.vstack([np.zeros((n - 1, d)), rng.standard_normal((1, d))])


KINDS = {
    "constant": lambda rng, n, d: np.full((n, d), rng.standard_normal()),
    "distinct": distinct,
    "lattice": lambda rng, n, d: rng.integers(rng.integers(2, 6), size=(n, d)).astype(float),
    "whole grid": lambda rng, n, d: np.stack(np.unravel_index(np.arange(n) % 4**3, (4, 4, 4)), 1),
    "one-hot": one_hot,
    "equidistant": equidistant,
    "cross": cross,
    "sequence": sequence,
    "one row differs": one_row_differs,
    "few rows": lambda rng, n, d: rng.standard_normal((min(n, 8), d)),
    "counts": lambda rng, n, d: rng.poisson(0.3, (n, d)).astype(float),
    "signs": lambda rng, n, d: rng.choice([-1.0, 1.0], (n, d)),
    "one-hot beside numbers": lambda rng, n, d: np.hstack(
        [one_hot(rng, n, d), rng.standard_normal((n, 1))]
    ),
    "rounded": lambda rng, n, d: rng.standard_normal((n, d)).round(pick(rng, (0, 1))),
}


def draw(seed):
    """Return the name of a kind of tables, and a table of this kind."""
    rng = np.random.default_rng(seed)
    name = list(KINDS)[seed % len(KINDS)]
    X = np.asarray(KINDS[name](rng, pick(rng, ROWS), pick(rng, COLUMNS)), dtype=float)
    if rng.random() < 0.3:
        X = np.hstack([X, np.full((len(X), 1), rng.standard_normal())])
    if rng.random() < 0.2:
        X = X @ np.linalg.qr(rng.standard_normal((X.shape[1],) * 2))[0]
    return name, X * pick(rng, (1, 1, 1e-12, 1e12)) + pick(rng, (0, 0, 1e3))


def judged(seed):
    """Return the failures of a case, its dimension, CPU seconds and bytes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, pages = draw(seed)[1], int(Path("/proc/self/statm").read_text().split()[1])
    begin, failures, dimension = time.process_time(), [], None
    try:
        model = IntrinsicDimensionEstimator(random_state=0).fit(X)
        dimension = model.dimension_
        others = [X[:5], X[:5] + X.std(axis=0).max() * np.ones(X.shape[1])]
        answers = [dimension, model.dimension_pw_, *map(model.predict, others)]
        right = np.concatenate([model.reliability(rows) for rows in (X, *others)])
        if not all(np.isfinite(answer).all() for answer in answers):
            failures.append("not finite")
        # Where it is unknown, it is NaN.
        if not ((right >= 0) & (right <= 1) | np.isnan(right)).all():
            failures.append("reliability")
    except Exception as error:
        outcome = of_error("fit", error)
        if outcome.kind != "refused":
            failures.append(f"{outcome.place} {outcome.words}")
    seconds = time.process_time() - begin
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = most - pages * resource.getpagesize()
    if seconds > MOST_CPU_SECONDS:
        failures.append("slow")
    if used > MOST_BYTES:
        failures.append("large")
    return failures, dimension, seconds, used


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.first, arguments.first + arguments.cases)
    rows = {name: [] for name in KINDS}
    judged(0)
    context = multiprocessing.get_context("fork")
    with context.Pool(1, maxtasksperchild=1) as pool:
        for seed, (failures, dimension, seconds, used) in zip(
            seeds, pool.imap(judged, seeds), strict=True
        ):
            name, X = draw(seed)
            rows[name].append((seed, failures, seconds, used))
            if failures:
                print(seed, name, X.shape, failures, dimension, round(seconds, 1), flush=True)
    results = {
        name: {
            "cases": len(found),
            "failures": {str(seed): failures for seed, failures, *_ in found if failures},
            "worst_cpu_seconds": max(seconds for *_, seconds, _ in found),
            "worst_megabytes": max(used for *_, used in found) / 2**20,
        }
        for name, found in rows.items()
        if found
    }
    for name, result in results.items():
        print(name, result, flush=True)
    write(OUT, results)
