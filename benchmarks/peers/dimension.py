"""scikit-dimension's estimators, in a process of their own.

    python -m benchmarks.peers.dimension pointwise JOB.npz METHOD ...
    python -m benchmarks.peers.dimension manifolds DATA.npz SEED METHOD ...
    python -m benchmarks.peers.dimension growth N_SAMPLES METHOD

The last line that it prints is the answer, as JSON.
"""

import json
import resource
import sys
import time
import warnings

import numpy as np
import skdim
from sklearn.neighbors import NearestNeighbors

# Neighbours of the local methods other than MLE.
K = 100
METHODS = {
    "global PCA": lambda: skdim.id.lPCA(ver="FO"),
    "lPCA FO": lambda: skdim.id.lPCA(ver="FO"),
    "lPCA maxgap": lambda: skdim.id.lPCA(ver="maxgap"),
    "lPCA Minka": lambda: skdim.id.lPCA(ver="Minka"),
    "MLE": lambda: skdim.id.MLE(K=20),
    "CorrInt": lambda: skdim.id.CorrInt(),
    "FisherS": lambda: skdim.id.FisherS(),
    "TwoNN": lambda: skdim.id.TwoNN(),
    "GRIDE": lambda: skdim.id.GRIDE(),
    "DANCo": lambda: skdim.id.DANCo(random_state=0),
}


def pointwise(job, *methods):
    """Return the mean absolute error of each method's dimensions per training sample.

    The neighbours are always those among all samples, also where only the first are asked.
    """
    with np.load(job) as file:
        X, truth, n_asked = file["X"], file["truth"], int(file["n_asked"])
    results = {}
    for name in methods:
        begin = time.process_time()
        estimator = METHODS[name]()
        if name == "MLE":
            dimension = estimator.fit(X, n_neighbors=20, smooth=True).dimension_pw_smooth_
        else:
            # Without samples to ask about, scikit-learn leaves each sample out itself.
            search = NearestNeighbors(n_neighbors=K).fit(X)
            neighbours = search.kneighbors(return_distance=False)[:n_asked]
            dimension = skdim.asPointwise(X, estimator, precomputed_knn=neighbours)
        error = np.abs(np.asarray(dimension, dtype=float)[:n_asked] - truth[:n_asked])
        results[name] = {
            "error": float(np.nanmean(error)),
            "undefined": float(np.isnan(error).mean()),
            "fit_seconds": time.process_time() - begin,
        }
    return results


def manifolds(data, seed, *methods):
    """Write BenchmarkManifolds, and return each method's dimension of the sets of 2,500 samples.

    Local PCA is the mean over the samples' neighbours; the other methods ask for the whole set.
    """
    benchmark = skdim.datasets.BenchmarkManifolds(random_state=int(seed))
    sets = benchmark.generate(n=2500)
    np.savez(data, **sets)
    results = {}
    for name, X in sets.items():
        results[name] = {"truth": int(benchmark.truth.loc[name, "Intrinsic Dimension"])}
        for method in methods:
            if method == "lPCA FO":
                dimension = skdim.asPointwise(X, METHODS[method](), n_neighbors=K).mean()
            else:
                dimension = METHODS[method]().fit(X).dimension_
            results[name][method] = float(dimension)
    return results


def growth(n_samples, method):
    """Return the cost of a method per sample, on subspaces of 2, 4 and 8 dimensions in R^40."""
    random_state = np.random.default_rng(0)
    X = np.zeros((int(n_samples), 40))
    for start, dimension in zip((0, 1, 2), (2, 4, 8), strict=True):
        basis, _ = np.linalg.qr(random_state.standard_normal((40, dimension)))
        codes = random_state.standard_normal((len(X[start::3]), dimension))
        X[start::3] = codes @ basis.T
    begin = time.process_time()
    skdim.asPointwise(X, METHODS[method](), n_neighbors=K, n_jobs=1)
    return {
        "fit_seconds": time.process_time() - begin,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    tasks = {"pointwise": pointwise, "manifolds": manifolds, "growth": growth}
    print(json.dumps(tasks[sys.argv[1]](*sys.argv[2:])))
