"""SubspaceMixture with each of its constants halved and doubled.

    python -m benchmarks mixture_numbers [--only NAME ...] [--out FILE]

Each constant of the search is halved and doubled, with the others unchanged. Rank errors are means
over unions of subspaces. Log-densities are mean differences from the fits with all constants
unchanged, over tables of the half that was used for choosing rules. CPU seconds are the sum over
all fits.
"""

import time

import numpy as np
from sklearn.metrics import mean_absolute_error

from benchmarks.common import make_parser, save
from benchmarks.tables import prepared
from skvaeense.datasets import make_linear_subspaces
from skvaeense.mixture import SubspaceMixture, _em, _fit, _search
from skvaeense.mixture._search import Nest, Search

# name of a constant: module or class that defines it
NUMBERS = {
    "KEPT": Nest,
    "LEAST_GAIN of growth": Nest,
    "LEAST_ROWS of growth": _search,
    "MAX_DIRECTIONS of growth": Nest,
    "MAX_ROWS": Nest,
    "SIZES": Nest,
    "ANNEALED": Nest,
    "SEARCH_ROWS": _search,
    "N_PARTS": _search,
    "LEAST_GAIN": _search,
    "SURENESS": Search,
    "N_STARTS": Search,
    "FACTOR": Search,
    "LEAST_RESPONSIBILITY": _em,
    "BROAD_FACTORS": _em,
    "MAX_DIRECTIONS": _fit,
}
TABLES = ["crabs", "ais", "Auto", "macrodata", "fgl", "Housing", "summer"]
N_HELD_OUT = 500
SEED = 500


def unions():
    """Yield training samples, held-out samples, and the dimensions of held-out samples."""
    linear = [((3, 5, 9), 50, 1500, 0.05), ((2, 4, 8), 40, 1500, 0.2), ((3,) * 8, 20, 2000, 0.02)]
    for dims, n_features, n_samples, noise in linear:
        X, _, dimension = make_linear_subspaces(
            n_samples + N_HELD_OUT,
            dims=dims,
            n_features=n_features,
            noise=noise,
            random_state=SEED,
        )
        yield X[N_HELD_OUT:], X[:N_HELD_OUT], dimension[:N_HELD_OUT]
    X, _, dimension = make_linear_subspaces(
        3000 + N_HELD_OUT,
        dims=(1, 2, 3, 4, 5, 6, 3, 2),
        n_features=40,
        offset_scale=0.5,
        noise=0.05,
        random_state=SEED,
    )
    yield X[N_HELD_OUT:], X[:N_HELD_OUT], dimension[:N_HELD_OUT]


def measure():
    """Return the mean rank error of unions, the log-density of each table, and CPU seconds."""
    begin = time.process_time()
    errors, scores = [], []
    for train, test, truth in unions():
        mixture = SubspaceMixture(random_state=0).fit(train)
        errors.append(mean_absolute_error(truth, mixture.ranks_[mixture.predict(test)]))
    for name in TABLES:
        train, test = prepared(name, 0)
        scores.append(SubspaceMixture(random_state=0).fit(train).score(test))
    return float(np.mean(errors)), np.array(scores), time.process_time() - begin


def times(value, factor):
    """Return a number, or a tuple of numbers, times a factor; integers stay integers above 0."""
    if isinstance(value, tuple):
        return tuple(times(v, factor) for v in value)
    return max(round(value * factor), 1) if isinstance(value, int) else value * factor


def main():
    parser = make_parser(__doc__, only=NUMBERS, out="mixture_numbers.json")
    arguments = parser.parse_args()
    error, scores, seconds = measure()
    row = {"rank_error": error, "cpu_seconds": seconds}
    print("as they are", row, flush=True)
    save(arguments.out, "as they are", row)
    for name in arguments.only:
        owner = NUMBERS[name]
        attribute = name.split(" ")[0]
        value = getattr(owner, attribute)
        row = {"value": value}
        for label, factor in (("half", 0.5), ("twice", 2.0)):
            setattr(owner, attribute, times(value, factor))
            try:
                changed, others, spent = measure()
            finally:
                setattr(owner, attribute, value)
            row |= {
                f"{label}_rank_error": changed,
                f"{label}_nats": float((others - scores).mean()),
                f"{label}_cpu_seconds": spent,
            }
        print(name, row, flush=True)
        save(arguments.out, name, row)


if __name__ == "__main__":
    main()
