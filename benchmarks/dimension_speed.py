"""CPU seconds of default fits of IntrinsicDimensionEstimator, and of its predictions.

    python -m benchmarks dimension_speed [--only NAME ...] [--repeats 3] [--out FILE]

Fits are timed on one thread, and so is the default autoencoder alone, which is a part of each. Runs
alternate with those of TwoNN and MLE of scikit-dimension if it can be imported, whose time grows
with the square of the samples; they are timed up to 20,000. A row has the median of its runs.
"""

import importlib.util
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, make_parser, save
from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces

# Samples that are predicted, and the most that peers are asked for.
N_PREDICTED, MOST_FOR_PEERS = 5000, 20_000


def subspaces(n_samples, dims=(2, 4, 8), n_features=40):
    return make_linear_subspaces(n_samples, dims=dims, n_features=n_features, random_state=0)[0]


EXPERIMENTS = {
    "2,000 in R^40": lambda: subspaces(2000),
    "20,000 in R^40": lambda: subspaces(20_000),
    "20,000 in R^100": lambda: subspaces(20_000, (10, 20, 30), 100),
    "200,000 in R^40": lambda: subspaces(200_000),
    "digits": lambda: load_digits().data,
}


def peers():
    """Return the estimators of scikit-dimension that are timed beside, by their names."""
    if importlib.util.find_spec("skdim") is None:
        return {}
    from skdim.id import MLE, TwoNN

    return {"TwoNN": TwoNN, "MLE": MLE}


def seconds(function, *arguments):
    """Return the CPU seconds of a call."""
    begin = time.process_time()
    function(*arguments)
    return time.process_time() - begin


def measure(X, seed):
    """Return the CPU seconds of one fit of each, and of a prediction in milliseconds a sample."""
    model = IntrinsicDimensionEstimator(random_state=seed)
    row = {"fit": fit(model, X), "autoencoder": fit(VAEenseTransformer(random_state=seed), X)}
    queries = X[:N_PREDICTED]
    row["predict_ms"] = 1000 * seconds(model.predict, queries) / len(queries)
    # What of that is the search for the nearest landmarks.
    method = model._method_
    search = method.geometry_._landmarks
    points = np.ascontiguousarray(queries @ method.geometry_._plane)
    row["search_ms"] = 1000 * seconds(search.kneighbors, points) / len(queries)
    if len(X) <= MOST_FOR_PEERS:
        row |= {name: seconds(cls().fit, X) for name, cls in peers().items()}
    return row


def main():
    """Measure what the command line asks for."""
    parser = make_parser(__doc__, only=EXPERIMENTS, out="dimension_speed.json")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        # Imports, and what is compiled at first use, are not timed.
        fit(IntrinsicDimensionEstimator(random_state=0), subspaces(300))
        rows = {name: [] for name in arguments.only}
        for repeat in range(arguments.repeats):
            for name in arguments.only:
                rows[name].append(measure(EXPERIMENTS[name](), repeat))
                runs = rows[name]
                median = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
                print(name, {key: round(value, 3) for key, value in median.items()}, flush=True)
                save(arguments.out, name, {"median": median, "runs": runs})
