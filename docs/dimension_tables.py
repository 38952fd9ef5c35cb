"""The tables of the benchmarks of dimensions."""

import numpy as np
from table import Table


def unions_table(unions, *others):
    """Return the errors per sample of the dimension estimators."""
    methods = {
        "auto": "auto",
        "count": "count",
        "PCA and ICA": "PCA and ICA",
        "lPCA FO": "local PCA, FO",
        "lPCA maxgap": "local PCA, maxgap",
        "lPCA Minka": "local PCA, Minka",
        "MLE": "MLE",
        "CorrInt": "CorrInt",
        "FisherS": "FisherS",
        "diffusion, normal_bundle": "normal bundle",
        "diffusion, flipd": "FLIPD",
    }
    rows = []
    for name, result in unions.items():
        summary = dict(result["summary"])
        for other in others:
            summary |= other.get(name, {"summary": {}})["summary"]
        worst = summary["auto"]["error_worst"]
        errors = [f"{summary[key]['error_mean']:.3f}" if key in summary else "" for key in methods]
        rows.append((name, errors[0], f"{worst:.3f}", *errors[1:], len(result["runs"])))
    labels = list(methods.values())
    return Table(("data", labels[0], "its worst seed", *labels[1:], "seeds"), rows)


def manifolds_table(manifolds):
    """Return each manifold's dimension by each method, and the mean error of each."""
    if not manifolds:
        return Table((), [])
    result = manifolds["BenchmarkManifolds"]
    wanted = ("auto", "DANCo", "GRIDE", "TwoNN", "MLE", "lPCA FO", "global PCA", "PCA and ICA")
    wanted += ("normal bundle", "FLIPD")
    methods = [method for method in wanted if method in result["summary"]]
    runs = list(result["runs"].values())
    rows = []
    for name, first in runs[0].items():
        said = ([run[name][m] for run in runs if m in run[name]] for m in methods)
        rows.append((name, first["truth"], *(f"{sum(s) / len(s):.2f}" for s in said)))
    for label, key in (("mean absolute error", "error_mean"), ("of the worst seed", "error_worst")):
        rows.append((label, "", *(f"{result['summary'][m][key]:.1%}" for m in methods)))
    rows.append(("seeds", "", *(result["summary"][m]["n_seeds"] for m in methods)))
    rows.append(("worst manifold", "", *(result["summary"][m]["worst_manifold"] for m in methods)))
    labels = [{"lPCA FO": "local PCA"}.get(method, method) for method in methods]
    return Table(("manifold", "dimension", *labels), rows)


def grid_table(grid):
    """Return the error on curved manifolds for each number of samples and amount of noise."""
    if not grid:
        return Table((), [])
    cells = {
        (shape, cell["noise"], cell["n_samples"]): np.mean(cell["errors"])
        for shape, result in grid.items()
        for cell in result["cells"]
    }
    noises, sizes = (sorted({key[i] for key in cells}) for i in (1, 2))
    rows = [
        (
            shape,
            result["dimension"],
            f"{noise:.0%}",
            *(f"{cells[shape, noise, n]:.3f}" for n in sizes),
        )
        for shape, result in grid.items()
        for noise in noises
    ]
    return Table(("manifold", "dimension", "noise", *(f"{n:,} samples" for n in sizes)), rows)


def high_table(high):
    """Return the dimension of normal distributions for each number of samples."""
    if not high:
        return Table((), [])
    rows = []
    for entries in zip(*high.values(), strict=True):
        cells = []
        for entry in entries:
            said = [run["dimension"] for run in entry["runs"]]
            mean = f"{sum(said) / len(said):.1f}"
            cells.append(mean if len(said) == 1 else f"{mean} ({min(said):.1f} to {max(said):.1f})")
        rows.append((entries[0]["dimension"], *cells))
    return Table(("dimension", *(f"{int(n):,} samples" for n in high)), rows)


def growth_table(growth):
    """Return what fits and predictions cost as the samples grow."""
    header = (
        "samples",
        "fit, CPU seconds",
        "prediction, ms per sample",
        "peak memory, GB",
        "local PCA: CPU seconds",
        "GB",
        "TwoNN: CPU seconds",
        "GB",
    )
    rows = []
    for n_samples, row in growth.items():
        own = (
            f"{row['fit_seconds']:.0f}",
            f"{row['milliseconds_per_prediction']:.2f}",
            f"{row['peak_gigabytes']:.2f}",
        )
        peers = []
        for peer in ("lPCA FO", "TwoNN"):
            cost = row.get(peer)
            peers += (
                [f"{cost['fit_seconds']:.0f}", f"{cost['peak_gigabytes']:.2f}"]
                if cost
                else ["", ""]
            )
        rows.append((f"{int(n_samples):,}", *own, *peers))
    return Table(header, rows)


def reliability_table(results):
    """Return whether standard errors and reliabilities hold, and what they are good for."""
    header = (
        "data",
        "error",
        "of the most reliable 80 %",
        "within two standard errors",
        "worst seed",
        "right",
        "mean reliability",
        "main reason where wrong",
        "seeds",
    )
    rows = []
    for name, result in results.items():
        summary, runs = result["summary"], result["per_seed"]
        wrong = {
            reason: sum(run["reasons"][reason] * (1 - run["right"]) for run in runs)
            for reason in runs[0]["reasons"]
        }
        reason = max(wrong, key=wrong.get) if any(wrong.values()) else ""
        rows.append(
            (
                name,
                f"{summary['error_mean']:.3f}",
                f"{summary['kept_error_mean']:.3f}",
                f"{summary['covered_mean']:.1%}",
                f"{summary['covered_worst']:.1%}",
                f"{summary['right_mean']:.1%}",
                f"{summary['reliability_mean']:.2f}",
                reason.replace("_", " "),
                len(runs),
            )
        )
    return Table(header, rows)


def images_table(results):
    """Return the errors on transformed images."""
    header = ("images", "error", "of the worst seed", "mean for each dimension", "seeds")
    rows = []
    for name, result in results.items():
        summary, runs = result["summary"], result["per_seed"]
        means = ", ".join(
            f"{r}: {np.mean([run['mean'][r] for run in runs]):.1f}" for r in runs[0]["mean"]
        )
        errors = (f"{summary[key]:.2f}" for key in ("error_mean", "error_worst"))
        rows.append((name, *errors, means, len(runs)))
    return Table(header, rows)
