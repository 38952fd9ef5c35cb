"""The main use of the package on real data: scikit-learn's handwritten digits.

    python -m benchmarks demo [--out FOLDER]

The demo prints three tables, and the accuracy of a classifier on codes inside a grid search, and
writes demo.png and demo.json. The tables show the score beside the score of PCA, the share of
variance that short codes and the same number of principal components leave unexplained, and the
mean intrinsic dimension of each digit, all on held-out digits.
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
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import RESULTS, make_parser, write
from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.inspection import ReconstructionSparsityDisplay
from skvaeense.metrics import l0

LENGTH = 8
SHOWN_LENGTHS = 1, 2, 4, 6, 8
BLUE, GREY = "#0072B2", "#777777"


def compare_scores(train, test):
    """Return the held-out score of PCA, with the best number of components, and of VAEense.

    Grey levels are whole numbers, and the density of discrete values has no bound. So uniform noise
    as wide as the step between grey levels is added first.
    """
    rng = np.random.default_rng(0)
    train, test = (X + rng.uniform(-0.5, 0.5, X.shape) for X in (train, test))
    vaeense = VAEenseTransformer(random_state=0).fit(train)
    grid = {"n_components": range(4, 57, 4)}
    pca = GridSearchCV(PCA(), grid, cv=3).fit(train)
    name = f"PCA, {pca.best_params_['n_components']} components by cross-validation"
    return [(name, float(pca.score(test))), ("VAEense", float(vaeense.score(test)))]


def compare_errors(curves):
    """Return rows of the length and the unexplained per cent of VAEense and of PCA."""
    ours, linear = (
        100 * np.interp(SHOWN_LENGTHS, n_active, error)
        for n_active, error in zip(curves.n_active, curves.error, strict=True)
    )
    return list(zip(SHOWN_LENGTHS, ours.tolist(), linear.tolist(), strict=True))


def dimension_by_digit(dimension, labels):
    """Return a row (digit, mean dimension, standard deviation) for each digit."""
    parts = [(int(digit), dimension[labels == digit]) for digit in np.unique(labels)]
    return [(digit, float(d.mean()), float(d.std())) for digit, d in parts]


def search_pipeline(train, labels, test, test_labels):
    """Return the best parameters of a grid search, and the accuracy on held-out samples."""
    pipeline = make_pipeline(
        VAEenseTransformer(random_state=0),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )
    grid = {"vaeensetransformer__n_components": [16, 48]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(train, labels)
    best = {key.split("__")[1]: value for key, value in search.best_params_.items()}
    return best, float(search.score(test, test_labels))


def show(console, title, columns, rows):
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row))
    console.print(table)


def decoded(model, X):
    """Return the reconstructions of samples by a model."""
    return model.inverse_transform(model.transform(X))


def draw(path, vaeense, train, test, labels, dimensions):
    """Draw errors, one decoded image of each digit, and dimensions; return the error curves."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplot_mosaic(
        [["errors", "digits"], ["errors", "dimensions"]],
        figsize=(11, 4.4),
        width_ratios=(0.8, 1),
        layout="constrained",
    )
    models = {"VAEense": vaeense, "PCA": PCA().fit(train)}
    errors = axes["errors"]
    curves = ReconstructionSparsityDisplay.from_estimators(models, test, ax=errors)
    errors.set(title="Variance unexplained by short codes", xlabel="Numbers in a code", ylabel="")
    errors.set(xlim=(0, 20), xticks=range(0, 21, 5), yscale="linear", ylim=(0, 1))
    errors.yaxis.set_major_formatter("{x:.0%}")

    digits = test[np.unique(labels, return_index=True)[1]]
    length = l0(vaeense.transform(test))
    pca = PCA(round(length)).fit(train)
    rows = {"Digits": digits, f"PCA, {pca.n_components_} numbers": decoded(pca, digits)}
    rows[f"VAEense, {length:.1f} numbers"] = decoded(vaeense, digits)
    gaps = (0, 0), (1, 1), (1, 1)
    images = [np.hstack(np.pad(row.reshape(-1, 8, 8), gaps)) for row in rows.values()]
    axes["digits"].imshow(np.vstack(images), cmap="gray_r", vmin=0, vmax=16, aspect="auto")
    axes["digits"].set_yticks(10 * np.arange(len(rows)) + 4.5, rows)
    axes["digits"].set(xticks=[], title="One of each digit, and its code decoded")
    axes["digits"].tick_params(length=0)

    digit, mean, std = np.array(dimensions).T
    axes["dimensions"].bar(digit, mean, yerr=std, color=BLUE, ecolor=GREY)
    axes["dimensions"].set(
        xticks=digit, yticks=range(0, 11, 5), xlim=(-0.5, 9.5), title="Mean dimension of each digit"
    )
    for name in ("errors", "dimensions"):
        axes[name].spines[["top", "right"]].set_visible(False)
    axes["digits"].spines[:].set_visible(False)
    figure.savefig(path, dpi=120)
    return curves


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    console = Console()
    warnings.simplefilter("ignore", ConvergenceWarning)
    begin = time.perf_counter()
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(X, y, test_size=400, stratify=y, random_state=0)

    estimator = IntrinsicDimensionEstimator(random_state=0).fit(train)
    scores = compare_scores(train, test)
    show(console, "Score on held-out digits with noise, nats", ("model", "mean"), scores)
    dimensions = dimension_by_digit(estimator.predict(test), y_test)
    show(console, "Intrinsic dimension of held-out digits", ("digit", "mean", "std"), dimensions)
    vaeense = VAEenseTransformer(target_l0=LENGTH, random_state=0)
    out.mkdir(parents=True, exist_ok=True)
    curves = draw(out / "demo.png", vaeense.fit(train), train, test, y_test, dimensions)
    errors = compare_errors(curves)
    columns = ("numbers in a code", "VAEense", "PCA")
    show(console, "Variance unexplained on held-out digits, %", columns, errors)
    best, accuracy = search_pipeline(train, y_train, test, y_test)
    console.print(
        f"Codes in a pipeline: {accuracy:.1%} of held-out digits right, best parameters {best}"
    )
    results = {
        "scores": scores,
        "errors": errors,
        "dimensions": dimensions,
        "accuracy": accuracy,
        "best_parameters": best,
    }
    write(out / "demo.json", results)
    console.print(f"Wrote {out / 'demo.png'} in {time.perf_counter() - begin:.0f} s")
