"""Gates: lengths that are learned, and codes that keep a share of the variance.

    python -m benchmarks gates planted [--only NAME ...] [--seeds 5]
    python -m benchmarks gates shares [--tables NAME ...] [--seeds 5]

`planted` draws the features of `planted_features`, with a base setting of 128 features in 64
dimensions, about 5 active features in each sample, and noise of .05 of the standard deviation. Most
other settings change one of these numbers or the kind of features. Gates know neither the length
nor the noise. "default" sets no parameter, and does not know the number of features either.
Batch-top-k has about 2,000 steps, the true number of active features, and an encoder of several
sweeps.

`shares` fits codes that keep 80, 90 and 95 % of the variance of three quarters of a table. On the
other rows it measures the length of codes, their error, and the error of that number of principal
components, interpolated linearly between whole numbers of components. Columns are standardised,
except for pixels.

Seeds start at 300, and no setting was chosen with these seeds. Each row is saved when it is done,
and is not computed again.
"""

from functools import partial

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks.common import RESULTS, fit, make_parser, measure_missing, run_task, summarise
from benchmarks.data import HELD_OUT
from benchmarks.planted_features import EPOCHS, KINDS, Sizes, draw, score_features
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.metrics import fvu, l0
from skvaeense.nets.penalties import BatchTopK

FIRST_SEED = 300
BASE = Sizes(128, 64, 5, 0.05)
SETTINGS = {kind: (kind, BASE) for kind in KINDS} | {
    "3 active": ("independent", BASE._replace(n_active=3)),
    "8 active": ("independent", BASE._replace(n_active=8)),
    "12 active": ("independent", BASE._replace(n_active=12)),
    "noise .02": ("independent", BASE._replace(noise=0.02)),
    "noise .2": ("independent", BASE._replace(noise=0.2)),
    "256 features": ("independent", BASE._replace(n_features=256)),
    "256 features, 8 active": ("independent", BASE._replace(n_features=256, n_active=8)),
}


def gates(sizes, seed, **params):
    """Return a VAEense that fits gates alone."""
    return VAEenseTransformer(sizes.n_features, model="gates", random_state=seed, **params)


def batch_topk(sizes, seed, **params):
    """Return a sparse autoencoder with the true number of active features."""
    return SparseAutoencoder(
        sizes.n_features,
        penalty=BatchTopK(sizes.n_active),
        network="unrolled",
        max_iter=2 * EPOCHS,
        random_state=seed,
        **params,
    )


def default(sizes, seed):
    """Return a VAEense with default parameters."""
    return VAEenseTransformer(random_state=seed)


METHODS = {
    "default": default,
    "gates, positive": partial(gates, positive_code=True),
    "gates, signed": gates,
    "batch-top-k, positive": batch_topk,
    "batch-top-k, signed": partial(batch_topk, positive_code=False),
}


def measure_planted(setting, method, seed):
    """Fit one model, and return its measures on held-out samples."""
    kind, sizes = SETTINGS[setting]
    X, true_codes, features = draw(kind, FIRST_SEED + seed, sizes)
    X = X.astype(np.float32)
    model = METHODS[method](sizes, FIRST_SEED + seed)
    seconds = fit(model, X[HELD_OUT:])
    X, true_codes = X[:HELD_OUT], true_codes[:HELD_OUT]
    codes = model.transform(X)
    scores = score_features(model, codes, true_codes, features, bool((codes >= 0).all()))
    return scores | {
        "fvu": fvu(X, model.inverse_transform(codes)),
        "l0": l0(codes),
        "l0_ratio": l0(codes) / l0(true_codes),
        "cpu_seconds": seconds,
    }


def summary(rows, keys, names, worst=()):
    """Return means and worst values over the seeds."""
    found = []
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        own = [row for row in rows if tuple(row[key] for key in keys) == values]
        numbers = summarise(own, *(f"{name}_mean" for name in names))
        numbers |= summarise(own, *(f"{name}_worst" for name in worst), worst=min)
        found.append(dict(zip(keys, values, strict=True)) | {"n_seeds": len(own)} | numbers)
    return found


def run_planted(arguments):
    """Fit the models whose rows the results lack."""
    orders = {"setting": list(SETTINGS), "method": list(METHODS)}
    chosen = {"setting": list(SETTINGS), "method": arguments.only}
    names = "f1", "cosine", "l0", "l0_ratio", "fvu", "cpu_seconds"
    of_rows = partial(summary, keys=list(orders), names=names, worst=("f1",))
    path = RESULTS / "gates_planted.json"
    measure_missing(path, orders, chosen, arguments.seeds, measure_planted, of_rows)


# --- shares of the variance -------------------------------------------------------------------

TABLES = {
    "digits": datasets.load_digits,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}
SHARES = (0.8, 0.9, 0.95)


def measure_share(table, share, seed):
    """Fit one model, and return its measures on held-out rows."""
    train, test = split(table, seed)
    model = VAEenseTransformer(target_explained_variance=share, random_state=FIRST_SEED + seed)
    seconds = fit(model, train)
    codes = model.transform(test)
    return {
        "n_components": model.n_components_,
        "l0": l0(codes),
        "l0_train": l0(model.transform(train)),
        "fvu": fvu(test, model.inverse_transform(codes)),
        "fvu_train": fvu(train, model.inverse_transform(model.transform(train))),
        "fvu_pca": fvu_of_pca(train, test, l0(codes)),
        "cpu_seconds": seconds,
    }


def split(table, seed):
    """Return the training and held-out rows of a table."""
    X = TABLES[table]().data
    X = X if table == "digits" else StandardScaler().fit_transform(X)
    return train_test_split(X, test_size=0.25, random_state=FIRST_SEED + seed)


def fvu_of_pca(train, test, length):
    """Return the FVU of as many principal components, interpolated between whole numbers."""
    left = [1.0]
    for k in range(1, min(int(length) + 2, *train.shape)):
        pca = PCA(k).fit(train)
        left.append(fvu(test, pca.inverse_transform(pca.transform(test))))
    return float(np.interp(length, range(len(left)), left))


def run_shares(arguments):
    """Fit the models whose rows the results lack."""
    orders = {"table": list(TABLES), "share": list(SHARES)}
    chosen = orders | {"table": arguments.tables}
    names = "n_components", "l0", "l0_train", "fvu", "fvu_train", "fvu_pca", "cpu_seconds"
    of_rows = partial(summary, keys=list(orders), names=names)
    path = RESULTS / "gates_shares.json"
    measure_missing(path, orders, chosen, arguments.seeds, measure_share, of_rows)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=5, only=METHODS)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    run_task(parser, run_planted, run_shares)
