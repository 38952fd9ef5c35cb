"""Estimators of the dimension of other packages, in a process of their own.

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

# Neighbours of the methods that are asked at samples, other than those of LOCAL with their own.
K = 100
# DADApy compares distances to the 1st and the 2nd neighbour, the 2nd and the 4th, and so on. Noise
# asks for large scales, and many dimensions for small ones.
DADAPY_SCALE = 2


class DADApyGride:
    """DADApy's GRIDE at one scale, in the words of scikit-dimension."""

    def fit(self, X):
        from dadapy import Data

        dimensions, _, _ = Data(coordinates=X).return_id_scaling_gride(range_max=K // 2)
        self.dimension_ = dimensions[DADAPY_SCALE]
        return self


# Estimators of whole sets, which take the neighbours of a sample for one.
METHODS = {
    "global PCA": lambda: skdim.id.lPCA(ver="FO"),
    "lPCA FO": lambda: skdim.id.lPCA(ver="FO"),
    "lPCA maxgap": lambda: skdim.id.lPCA(ver="maxgap"),
    "lPCA Minka": lambda: skdim.id.lPCA(ver="Minka"),
    "lPCA KN": lambda: skdim.id.lPCA(ver="KN"),
    "lPCA MP": lambda: skdim.id.lPCA(ver="MP"),
    "lPCA GD": lambda: skdim.id.lPCA(ver="GD"),
    "lPCA participation ratio": lambda: skdim.id.lPCA(ver="participation_ratio"),
    "MLE": lambda: skdim.id.MLE(K=20),
    "CorrInt": lambda: skdim.id.CorrInt(),
    "FisherS": lambda: skdim.id.FisherS(),
    "TwoNN": lambda: skdim.id.TwoNN(),
    "GRIDE": lambda: skdim.id.GRIDE(),
    "DANCo": lambda: skdim.id.DANCo(random_state=0),
    "DADApy GRIDE": DADApyGride,
}


def smoothed_mle(X, n_asked):
    dimension = skdim.id.MLE().fit(X, n_neighbors=20, smooth=True).dimension_pw_smooth_
    return dimension[:n_asked]


def ess(X, n_asked):
    """Return torchid's ESS, of the neighbourhoods that are asked about only."""
    import torch
    from torchid.estimators.ess import ESS, _batched_ess, _ess_to_dim

    patches = torch.from_numpy(X[nearest(X, n_asked, K, itself=True)])
    options = {"ver": ESS().ver, "d": ESS().d}
    values = _batched_ess(patches, **options, gen=torch.Generator().manual_seed(0))
    return _ess_to_dim(values, **options).numpy()


def l2n2(X, n_asked):
    """Return L2N2, the mean of log log ratios of distances to the second and first neighbours.

    A ratio is exponential with the dimension as its rate, once its logarithm is taken; the mean of
    the logarithm of that is minus Euler's constant, minus the logarithm of the dimension. The mean
    is taken over the neighbours of a sample (E.-J. Ong et al., arXiv:2603.10493; no package of it).
    """
    distance, _ = NearestNeighbors(n_neighbors=2).fit(X).kneighbors()
    with np.errstate(divide="ignore", invalid="ignore"):
        log_log = np.log(np.log(distance[:, 1] / distance[:, 0]))
    log_log[~np.isfinite(log_log)] = np.nan
    mean = np.nanmean(log_log[nearest(X, n_asked, K)], axis=1)
    return np.exp(-np.euler_gamma - mean)


# Those that have a value for each sample of a set.
LOCAL = {"MLE": smoothed_mle, "torchid ESS": ess, "L2N2": l2n2}


def nearest(X, n_asked, n_neighbors, itself=False):
    """Return the nearest among all samples of each of the first ones, maybe itself before them."""
    search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(X)
    neighbours = search.kneighbors(X[:n_asked], return_distance=False)
    return neighbours if itself else neighbours[:, 1:]


def answer(estimator, X):
    """Return the dimension of a set, and NaN where a method refuses it, as one of copies."""
    try:
        return estimator.fit(X).dimension_
    except (ValueError, IndexError):
        return np.nan


def pointwise(job, *methods):
    """Return the mean absolute error of each method's dimensions at the first training samples.

    Their neighbours are always those among all samples.
    """
    with np.load(job) as file:
        X, truth, n_asked = file["X"], file["truth"], int(file["n_asked"])
    truth = truth[:n_asked]
    results = {}
    for name in methods:
        begin = time.process_time()
        if name in LOCAL:
            dimension = LOCAL[name](X, n_asked)
        else:
            estimator, neighbours = METHODS[name](), nearest(X, n_asked, K)
            dimension = [answer(estimator, X[rows]) for rows in neighbours]
        dimension = np.asarray(dimension, dtype=float)
        error = np.abs(dimension - truth)
        results[name] = {
            "error": float(np.nanmean(error)),
            "mean": {str(r): float(np.nanmean(dimension[truth == r])) for r in np.unique(truth)},
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
