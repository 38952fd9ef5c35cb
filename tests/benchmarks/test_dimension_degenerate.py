"""Dimensions of degenerate tables have an answer or a clear message, in little memory."""

import resource
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fuzz import of_error, pick
from skvaeense import IntrinsicDimensionEstimator

MOST_BYTES = 500 * 2**20
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
    """Return the failures of a case."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, pages = draw(seed)[1], int(Path("/proc/self/statm").read_text().split()[1])
    failures = []
    try:
        model = IntrinsicDimensionEstimator(random_state=0).fit(X)
        others = [X[:5], X[:5] + X.std(axis=0).max() * np.ones(X.shape[1])]
        answers = [model.dimension_, model.dimension_pw_, *map(model.predict, others)]
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
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = most - pages * resource.getpagesize()
    if used > MOST_BYTES:
        failures.append("large")
    return failures


@pytest.mark.parametrize("seed", range(len(KINDS)), ids=list(KINDS))
def test_degenerate_tables_are_answered(seed):
    assert judged(seed) == []


def test_every_kind_is_drawn():
    assert {draw(seed)[0] for seed in range(len(KINDS))} == set(KINDS)
