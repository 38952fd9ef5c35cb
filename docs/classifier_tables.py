"""The tables of classifiers on codes: code_classifier.json in benchmarks/results."""

from itertools import chain
from math import sqrt
from statistics import mean, stdev

from table import Table

METHODS = (
    *("none", "PCA", "NMF", "MiniBatchDictionaryLearning"),
    *("SparseAutoencoder", "VAEense", "SparseAutoencoder, 256", "VAEense, 256"),
)


def accuracy_table(results):
    """Return the accuracy on codes of each method, with its standard error over the shuffles."""
    groups = _grouped(results)
    rows = []
    for data in dict.fromkeys(data for data, _ in groups):
        length = groups[data, "none"][0]["length"]
        found = [groups.get((data, method)) for method in METHODS]
        seeds = len(groups[data, "none"])
        rows.append((data, length, *(_accuracy(runs) for runs in found), seeds))
    return Table(("data", "length", *METHODS, "shuffles"), rows)


def costs_table(results):
    """Return how long codes were, and how long it took to fit what makes them."""
    groups = _grouped(results)
    header = ("data", *METHODS[1:])
    rows = []
    for data in dict.fromkeys(data for data, _ in groups):
        cells = (_costs(groups.get((data, method))) for method in METHODS[1:])
        rows.append((data, *cells))
    return Table(header, rows)


def tables_table(results):
    """Return lengths and unexplained shares of codes of tables, and accuracies behind them."""
    runs = results.get("rows", [])
    names = list(runs[0]["accuracy"]) if runs else []
    rows = []
    for name in dict.fromkeys(run["table"] for run in runs):
        own = [run for run in runs if run["table"] == name]
        sizes = (own[0]["n"], own[0]["d"])
        pairs = [
            " / ".join(
                form.format(mean(run[key][part] for run in own)) for part in ("train", "new")
            )
            for key, form in (("length", "{:.1f}"), ("left", "{:.3f}"))
        ]
        accuracies = [f"{mean(run['accuracy'][key] for run in own):.3f}" for key in names]
        rows.append((name, *sizes, *pairs, *accuracies))
    if rows:
        means = [f"{results['summary']['accuracy'][key]:.3f}" for key in names]
        rows.append(("mean", "", "", "", "", *means))
    return Table(("table", "rows", "columns", "length", "unexplained", *names), rows)


def _accuracy(runs):
    if runs is None:
        return ""
    means = [mean(run["accuracy"]) for run in runs]
    error = f" ± {stdev(means) / sqrt(len(means)):.3f}" if len(means) > 1 else ""
    return f"{mean(means):.3f}{error}"


def _costs(runs):
    if runs is None:
        return ""
    active, seconds = (
        mean(chain.from_iterable(run[name] for run in runs)) for name in ("active", "cpu_seconds")
    )
    return f"{active:.1f}, {seconds:.2g} s"


def _grouped(results):
    """Return the runs of each data and method."""
    groups = {}
    for run in results.values():
        groups.setdefault((run["data"], run["method"]), []).append(run)
    return groups
