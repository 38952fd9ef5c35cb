"""Dimension estimators of other packages, in a separate process.

    python -m benchmarks.peers.dimension pointwise JOB.npz METHOD ...
    python -m benchmarks.peers.dimension manifolds DATA.npz SEED METHOD ...
    python -m benchmarks.peers.dimension growth N_SAMPLES METHOD

The last line of the output is the answer, as JSON.
"""

import json
import resource
import sys
import time
import warnings

import numpy as np
import skdim
from sklearn.neighbors import NearestNeighbors

# Number of neighbours of each sample. Some methods of LOCAL have numbers of their own.
K = 100
# Index of the scale. DADApy compares distances to neighbours 1 and 2, to neighbours 2 and 4, and so
# on. Noisy samples need large scales, and high dimensions need small ones.
DADAPY_SCALE = 2


class DADApyGride:
    """DADApy's GRIDE at one scale, with the interface of scikit-dimension."""

    def fit(self, X):
        from dadapy import Data

        dimensions, _, _ = Data(coordinates=X).return_id_scaling_gride(range_max=K // 2)
        self.dimension_ = dimensions[DADAPY_SCALE]
        return self


# Estimators of whole sets. For the dimension at a sample, the set is the neighbours of the sample.
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
    """Return torchid's ESS, computed only for the neighbourhoods of the first samples."""
    import torch
    from torchid.estimators.ess import ESS, _batched_ess, _ess_to_dim

    patches = torch.from_numpy(X[nearest(X, n_asked, K, itself=True)])
    options = {"ver": ESS().ver, "d": ESS().d}
    values = _batched_ess(patches, **options, gen=torch.Generator().manual_seed(0))
    return _ess_to_dim(values, **options).numpy()


def l2n2(X, n_asked):
    """Return L2N2, from mean log log ratios of the distances to the second and first neighbours.

    The log ratio has an exponential distribution whose rate is the dimension. So the mean of its
    logarithm is minus Euler's constant minus the logarithm of the dimension. The mean is taken over
    the neighbours of a sample (E.-J. Ong et al., arXiv:2603.10493; not available as a package).
    """
    distance, _ = NearestNeighbors(n_neighbors=2).fit(X).kneighbors()
    with np.errstate(divide="ignore", invalid="ignore"):
        log_log = np.log(np.log(distance[:, 1] / distance[:, 0]))
    log_log[~np.isfinite(log_log)] = np.nan
    mean = np.nanmean(log_log[nearest(X, n_asked, K)], axis=1)
    return np.exp(-np.euler_gamma - mean)


# Methods that return a value for each sample of a set.
LOCAL = {"MLE": smoothed_mle, "torchid ESS": ess, "L2N2": l2n2}


def nearest(X, n_asked, n_neighbors, itself=False):
    """Return the neighbours of the first samples among all, maybe with the sample itself first."""
    search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(X)
    neighbours = search.kneighbors(X[:n_asked], return_distance=False)
    return neighbours if itself else neighbours[:, 1:]


def answer(estimator, X):
    """Return the dimension of a set, or NaN if the method fails, for example on equal samples."""
    try:
        return estimator.fit(X).dimension_
    except (ValueError, IndexError):
        return np.nan


def pointwise(job, *methods):
    """Return the mean absolute error of each method's dimensions at the first training samples.

    The neighbours are found among all samples.
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
    """Write BenchmarkManifolds of 2,500 samples, and return each method's dimension of each set.

    Standard errors are returned too, if a method has them. The dimension by local PCA is the mean
    over the neighbourhoods of all samples. The other methods use the whole set at once.
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
                estimator = METHODS[method]().fit(X)
                dimension = estimator.dimension_
                if hasattr(estimator, "error_"):
                    results[name][f"{method} std"] = float(estimator.error_)
            results[name][method] = float(dimension)
    return results


def growth(n_samples, method):
    """Return the cost of a pointwise method, on subspaces of 2, 4 and 8 dimensions in R^40."""
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
