"""CPU seconds of default fits, beside other estimators.

    python -m benchmarks default_fits [--seeds 5] [--only NAME ...] [--out FILE]

Each data set is drawn anew for every seed. Every estimator is fitted to it in turn, on one thread,
with its defaults, except that PCA, FastICA and dictionary learning have as many components as PCA
needs for 99 % of the variance.
"""

import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA, FastICA, MiniBatchDictionaryLearning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import make_parser, save
from benchmarks.data import add_data_option, read_mnist, subspaces
from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer

MNIST = "10,000 MNIST images"
SEARCH = "GridSearchCV on digits, 12 candidates, 5 folds"


def table(loader, scale=False):
    """Return a function of a seed that returns the rows of a table in random order."""

    def draw(seed):
        X = loader().data.astype(float)
        X = StandardScaler().fit_transform(X) if scale else X
        return X[np.random.RandomState(seed).permutation(len(X))]

    return draw


def union(dims, n_features, n_samples):
    """Return a function of a seed that draws samples of subspaces."""
    draw = subspaces(dims, n_features, n_samples)
    return lambda seed: draw(seed)[0]


DATA = {
    "iris": table(load_iris),
    "wine, standardised": table(load_wine, scale=True),
    "diabetes": table(load_diabetes),
    "breast cancer, standardised": table(load_breast_cancer, scale=True),
    "digits": table(load_digits),
    "4/4/4 in R^40, n = 2,000": union((4, 4, 4), 40, 2_000),
    "2/4/8 in R^40, n = 2,000": union((2, 4, 8), 40, 2_000),
    "4/4/4 in R^40, n = 50,000": union((4, 4, 4), 40, 50_000),
    "2/4/8 in R^40, n = 50,000": union((2, 4, 8), 40, 50_000),
    "10/20/30 in R^100, n = 20,000": union((10, 20, 30), 100, 20_000),
    "2/4/8 in R^40, n = 500,000": union((2, 4, 8), 40, 500_000),
}


def estimators(X, seed):
    """Return a dict of the estimators to compare."""
    k = min(PCA(0.99).fit(X[:4096]).n_components_, len(X) - 1)
    return {
        "VAEenseTransformer": VAEenseTransformer(random_state=seed),
        "IntrinsicDimensionEstimator": IntrinsicDimensionEstimator(random_state=seed),
        "SparseAutoencoder": SparseAutoencoder(random_state=seed),
        "PCA": PCA(k),
        "FastICA": FastICA(k, random_state=seed),
        "MiniBatchDictionaryLearning": MiniBatchDictionaryLearning(k, random_state=seed),
        "MLPRegressor": MLPRegressor(random_state=seed),
        "GaussianMixture": GaussianMixture(3, random_state=seed),
    }


# Largest number of samples to which these estimators are fitted. With more they take minutes.
MOST_SAMPLES = {
    "IntrinsicDimensionEstimator": 50_000,
    "MiniBatchDictionaryLearning": 50_000,
    "MLPRegressor": 20_000,
    "FastICA": 100_000,
}


def cpu_seconds(call, *arguments):
    """Return the CPU seconds of a call, with its warnings silenced."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call(*arguments)
    return time.process_time() - begin


def measure(X, seed):
    """Return the CPU seconds of the fit of each estimator."""
    seconds = {}
    for name, estimator in estimators(X, seed).items():
        if len(X) <= MOST_SAMPLES.get(name, len(X)):
            target = (X,) if name == "MLPRegressor" else ()
            seconds[name] = cpu_seconds(estimator.fit, X, *target)
    return seconds


def measure_search(seed):
    """Return the CPU seconds of a grid search."""
    grid = {"n_components": [16, 32, 48, 64], "target_explained_variance": [0.8, 0.9, 0.95]}
    search = GridSearchCV(VAEenseTransformer(random_state=seed), grid, cv=5)
    return {"VAEenseTransformer": cpu_seconds(search.fit, DATA["digits"](seed))}


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=[*DATA, MNIST, SEARCH], out="default_fits.json")
    add_data_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name in arguments.only:
            rows = []
            for seed in range(arguments.seeds):
                if name == SEARCH:
                    rows.append(measure_search(seed))
                    break
                X = read_mnist(arguments.data)[0] if name == MNIST else DATA[name](seed)
                if name == MNIST:
                    X = X[np.random.RandomState(seed).permutation(len(X))[:10_000]]
                rows.append(measure(X, seed))
                if name == MNIST:
                    break
            medians = {
                key: statistics.median(row[key] for row in rows if key in row) for key in rows[0]
            }
            print(name, {key: round(value, 2) for key, value in medians.items()}, flush=True)
            save(arguments.out, name, {"medians": medians, "n_seeds": len(rows)})
