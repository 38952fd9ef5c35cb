"""The main job on real data: scikit-learn's handwritten digits.

    python -m benchmarks demo [--out FOLDER]

Prints four tables and writes demo.png and demo.json: the cross-validated score beside PCA's, the
reconstruction error against the number of active dimensions beside PCA's, the mean intrinsic
dimension of each digit on held-out samples, and a classifier on the codes inside a grid search.
"""

import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import RESULTS, make_parser, write
from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.metrics import l0, squared_error
from skvaeense.thresholds import Contribution

N_COMPONENTS = 32
BLUE, ORANGE = "#0072B2", "#D55E00"


def compare_scores(X):
    """Return the cross-validated score of each model: (name, mean, standard deviation)."""
    models = {
        f"PCA({N_COMPONENTS})": PCA(N_COMPONENTS),
        f"VAEense({N_COMPONENTS}), no gate": VAEenseTransformer(
            N_COMPONENTS, gated=False, n_init=2, random_state=0
        ),
        f"VAEense({N_COMPONENTS})": VAEenseTransformer(N_COMPONENTS, n_init=2, random_state=0),
    }
    rows = []
    for name, model in models.items():
        scores = cross_val_score(model, X, cv=3, n_jobs=2)
        rows.append((name, float(scores.mean()), float(scores.std())))
    return rows


def compare_errors(model, train, test):
    """Return (mean active dimensions, VAEense's error, PCA's error) for codes of several lengths.

    One fitted model gives the whole curve: the rule decides how much of a code is kept.
    """
    # One fit of all components; its first ones are PCA with fewer.
    pca = PCA().fit(train)
    coordinates = pca.transform(test)
    rows = []
    for level in (12, 8, 6, 4, 3, 2, 1):
        model.set_params(threshold=Contribution(level))
        active = model.active_dimensions(test)
        error = squared_error(test, model.inverse_transform(model.transform(test) * active))
        n_active = l0(active)
        kept = round(n_active)
        linear = coordinates[:, :kept] @ pca.components_[:kept] + pca.mean_
        rows.append((n_active, error, squared_error(test, linear)))
    model.set_params(threshold="fixed_variance")
    return rows


def dimension_by_digit(estimator, test, labels):
    """Return (digit, mean dimension, standard deviation) on held-out samples."""
    dimension = estimator.predict(test)
    return [
        (int(digit), float(d.mean()), float(d.std()))
        for digit in np.unique(labels)
        for d in [dimension[labels == digit]]
    ]


def search_pipeline(train, labels, test, test_labels):
    """Return the best parameters, and the accuracy on held-out samples."""
    pipeline = make_pipeline(
        VAEenseTransformer(n_init=1, max_iter=30, random_state=0),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )
    grid = {"vaeensetransformer__n_components": [16, 48], "vaeensetransformer__hard": [False, True]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(train, labels)
    best = {key.split("__")[1]: value for key, value in search.best_params_.items()}
    return best, float(search.score(test, test_labels))


def show(console, title, columns, rows):
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row))
    console.print(table)


def draw(path, errors, dimensions):
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    counts, ours, linear = np.array(errors).T
    left.plot(counts, ours, "o-", color=BLUE, label="VAEense, hard codes")
    left.plot(counts, linear, "s--", color=ORANGE, label="PCA with as many components")
    left.set(
        xlabel="mean active dimensions",
        ylabel="squared error on held-out digits",
        title="Error against the length of the code",
        ylim=(0, None),
    )
    left.legend(frameon=False)
    digits, means, _ = np.array(dimensions).T
    right.bar(digits, means, color=BLUE)
    right.set(
        xticks=digits,
        xlabel="digit",
        ylabel="mean dimension",
        title="Intrinsic dimension of held-out digits",
    )
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    console = Console()
    warnings.simplefilter("ignore", ConvergenceWarning)  # the search trains briefly on purpose
    begin = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(X, y, test_size=400, stratify=y, random_state=0)

    scores = compare_scores(X)
    show(
        console,
        "Score on left-out thirds, nats per sample",
        ("model", "mean", "std"),
        scores,
    )
    estimator = IntrinsicDimensionEstimator(random_state=0).fit(train)
    errors = compare_errors(estimator.autoencoder_, train, test)
    show(
        console,
        "Squared error on held-out digits",
        ("mean active dimensions", "VAEense", "PCA with as many"),
        errors,
    )
    dimensions = dimension_by_digit(estimator, test, y_test)
    show(console, "Intrinsic dimension of held-out digits", ("digit", "mean", "std"), dimensions)
    best, accuracy = search_pipeline(train, y_train, test, y_test)
    console.print(
        f"Codes in a pipeline: {accuracy:.1%} of held-out digits right, best parameters {best}"
    )

    out.mkdir(parents=True, exist_ok=True)
    draw(out / "demo.png", errors, dimensions)
    results = {
        "scores": scores,
        "errors": errors,
        "dimensions": dimensions,
        "accuracy": accuracy,
        "best_parameters": best,
    }
    write(out / "demo.json", results)
    console.print(f"Wrote {out / 'demo.png'} in {time.perf_counter() - begin:.0f} s")
