"""Convergence from random inits (the paper's open question 1).

    python -m benchmarks paper.convergence [--quick | --full]

`fits` shows how often the training of VAEase finds the dimension of all samples: from one random
init with more and more steps, and from the best of five random inits. Each seed draws data and
weights. A fit *succeeds* if the mean absolute error of the count, on held-out samples, is below
0.05 for subspaces, and below 0.5 for dictionaries, whose smallest coefficients random inits do not
find.
"""

from sklearn.metrics import mean_absolute_error

from benchmarks.paper.common import at_once, run
from skvaeense import VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_sparse_dictionary
from skvaeense.metrics import fvu

N_TEST = 2000
DATA = {
    "4/4/4 in R^40": lambda n, seed: make_linear_subspaces(n, random_state=seed),
    "2/4/8 in R^40": lambda n, seed: make_linear_subspaces(n, dims=(2, 4, 8), random_state=seed),
    "4 of 20 atoms in R^40": lambda n, seed: make_sparse_dictionary(n, random_state=seed),
}
# Factors of the default number of steps, for one random init. Five inits have the default number.
LENGTHS = (0.25, 0.5, 1.0)
STEPS, BATCH_SIZE = 2500, 256
# Largest number of training rows that are held out to choose among inits.
MAX_HELD_OUT = 2500
SIZES = {
    "quick": {"n_samples": 10_000, "n_seeds": 3},
    "full": {"n_samples": 500_000, "n_seeds": 100},
}


def fit(data, n_init, length, seed, n_samples):
    """Return the row of one fit."""
    X, _, dimension = DATA[data](n_samples + N_TEST, seed)
    train, test, truth = X[N_TEST:], X[:N_TEST], dimension[:N_TEST]
    steps_per_epoch = (n_samples - min(n_samples // 10, MAX_HELD_OUT)) // BATCH_SIZE
    vaease = VAEase(
        n_init=n_init,
        batch_size=BATCH_SIZE,
        max_iter=max(2, round(length * STEPS / steps_per_epoch)),
    )
    model = VAEenseTransformer(20, model=vaease, random_state=seed).fit(train)
    count = model.active_dimensions(test).sum(axis=1)
    return {
        "data": data,
        "n_init": n_init,
        "steps": round(length * STEPS),
        "seed": seed,
        "error": mean_absolute_error(truth, count),
        "fvu": fvu(test, model.inverse_transform(model.transform(test))),
        "score": model.score(test),
    }


def measure(arguments):
    """Yield a row for each fit."""
    cases = [*((1, length) for length in LENGTHS), (5, 1.0)]
    jobs = [
        (data, n_init, length, seed, arguments.n_samples)
        for data in DATA
        for n_init, length in cases
        for seed in range(arguments.n_seeds)
    ]
    for row in at_once(fit, jobs, arguments.jobs):
        yield "fits", row


def main():
    """Run the benchmark with the options of the command line."""
    run("convergence", __doc__, SIZES, measure)
