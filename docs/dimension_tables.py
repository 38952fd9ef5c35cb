"""The tables of the benchmarks of dimensions."""

import numpy as np
from table import Table

METHODS = {
    "auto": "auto",
    "count": "count",
    "PCA and ICA": "PCA and ICA",
    "lPCA FO": "local PCA, FO",
    "lPCA maxgap": "local PCA, maxgap",
    "lPCA Minka": "local PCA, Minka",
    "lPCA KN": "local PCA, KN",
    "lPCA MP": "local PCA, MP",
    "lPCA GD": "local PCA, GD",
    "lPCA participation ratio": "local PCA, participation ratio",
    "MLE": "MLE",
    "TwoNN": "TwoNN",
    "GRIDE": "GRIDE",
    "CorrInt": "CorrInt",
    "FisherS": "FisherS",
    "torchid ESS": "ESS",
    "DADApy GRIDE": "GRIDE, larger scale",
    "L2N2": "L2N2",
    "diffusion, normal_bundle": "normal bundle",
    "diffusion, flipd": "FLIPD",
}


def errors_table(results, *others):
    """Return the errors per sample of the dimension estimators, ours first.

    What several files have of a method is taken from the first of them.
    """
    files = (results, *others)
    said = {name: {method: runs_of(method, name, files) for method in METHODS} for name in results}
    shown = [m for m in METHODS if m != "auto" and any(row[m] for row in said.values())]
    rows = []
    for name, row in said.items():
        own = row["auto"]
        errors = [run["error"] for run in own]
        beside = [row[m] for m in shown if row[m] and m in PEERS]
        n_peer_seeds = min(map(len, beside), default="")
        rows.append(
            (
                name,
                f"{np.mean(errors):.3f}" if own else "",
                f"{max(errors):.3f}" if own else "",
                *(error_cell(row[method]) for method in shown),
                mean_cell(own),
                len(own),
                n_peer_seeds,
            )
        )
    header = ("data", "auto", "its worst seed", *(METHODS[m] for m in shown))
    return Table((*header, "its mean for each dimension", "seeds", "seeds of the peers"), rows)


# What other packages have.
PEERS = [*METHODS][3:-2]


def runs_of(method, name, files):
    """Return what the runs of a method gave for some data, by the first file that has any."""
    for results in files:
        runs = [run["methods"] for run in results.get(name, {"runs": []})["runs"]]
        found = [run[method] for run in runs if method in run]
        if found:
            return found
    return []


def error_cell(runs):
    """Return the mean error, and the share of the samples without an answer if there are any."""
    if not runs:
        return ""
    undefined = np.mean([run.get("undefined", 0.0) for run in runs])
    # Where no sample has an answer there is no error.
    error = np.mean([run["error"] for run in runs if np.isfinite(run["error"])] or [np.nan])
    return f"{error:.3f}" + (f" ({undefined:.0%} unanswered)" if undefined >= 0.005 else "")


def mean_cell(runs):
    """Return the mean dimension of the samples of each true one."""
    dimensions = sorted({r for run in runs for r in run["mean"]}, key=int)
    means = {r: np.mean([run["mean"][r] for run in runs if r in run["mean"]]) for r in dimensions}
    return ", ".join(f"{r}: {mean:.1f}" for r, mean in means.items())


def manifolds_table(manifolds):
    """Return each manifold's dimension by each method, and the mean error of each."""
    if not manifolds:
        return Table((), [])
    result = manifolds["BenchmarkManifolds"]
    wanted = ("auto", "DANCo", "GRIDE", "TwoNN", "MLE", "lPCA FO", "global PCA", "PCA and ICA")
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
    covered = (result["summary"][m].get("covered") for m in methods)
    within = ("" if share is None else f"{share:.0%}" for share in covered)
    rows.append(("within two standard errors", "", *within))
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


def bayes_table(results):
    """Return the least error that there can be, beside ours."""
    rows = [
        (
            method,
            f"{result['error_mean']:.3f}",
            f"{result['kept_error_mean']:.3f}",
            len(result["errors"]),
        )
        for method, result in results.items()
    ]
    return Table(("estimate of", "error", "of the most reliable 80 %", "seeds"), rows)


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


def spectra_table(spectra):
    """Return how much shorter the shortest direction of each layer is than the longest."""
    if not spectra:
        return Table((), [])
    dimensions = sorted({r for row in spectra.values() for r in row["shortest"]}, key=int)
    rows = [
        (
            layer,
            f"{row['rank']:.2f}",
            f"{row['visible']:.2f}",
            *(f"{row['shortest'][r]:.4f}" if r in row["shortest"] else "" for r in dimensions),
        )
        for layer, row in spectra.items()
    ]
    header = ("layer", "mean rank", "mean directions above a tenth")
    return Table((*header, *(f"shortest of {r}" for r in dimensions)), rows)


def unseen_table(results):
    """Return the errors on families that no default was tuned on, by half, size and noise."""
    header = (
        "families",
        "number",
        "error",
        "median",
        "MLE, median",
        "sure",
        "surely wrong",
        "within",
    )
    rows = [
        (
            half,
            row["n_families"],
            f"{row['error_mean']:.2f}",
            f"{row['error_median']:.2f}",
            f"{row['mle_median']:.2f}",
            f"{row['sure']:.0%}",
            f"{row['surely_wrong']:.1%}",
            f"{row['covered_mean']:.0%}",
        )
        for half, row in results.get("halves", {}).items()
    ]
    return Table(header, rows)


def uncovered_table(results):
    """Return the families at fewer than 90 % of whose samples two standard errors hold."""
    found = []
    for name, result in results.items():
        runs = result.get("per_seed", [])
        for n in sorted({run["n"] for run in runs}):
            own = [run for run in runs if (run["n"], run["noise"]) == (n, 0.0)]
            error, share = (np.mean([run[key] for run in own]) for key in ("error", "covered"))
            if share < 0.9:
                found.append((n, name, f"{error:.2f}", f"{share:.0%}"))
    rows = [(name, f"{n:,}", *rest) for n, name, *rest in sorted(found)]
    return Table(("family", "samples", "mean error", "within"), rows)


def unseen_peers_table(results):
    """Return the errors of peers on these families, and how often ours is as good as the best."""
    halves = results.get("halves", {})
    methods = next(iter(halves.values()))["medians"] if halves else ()
    header = ("families", "number", "as good as the best peer", *(METHODS[m] for m in methods))
    rows = [
        (
            half,
            row["n_families"],
            row["as_good"],
            *(f"{row['medians'][m]:.2f}" for m in methods),
        )
        for half, row in halves.items()
    ]
    return Table(header, rows)


def solids_table(results):
    """Return the errors at solid parts and at thinner ones beside them, over dimensions."""
    rows = []
    for dim in sorted({row["dim"] for row in results.values()}):
        own = {name: row["summary"] for name, row in results.items() if row["dim"] == dim}
        worst = max(own, key=lambda name: own[name]["solid_error_mean"])
        rows.append(
            (
                dim,
                f"{np.mean([row['solid_error_mean'] for row in own.values()]):.3f}",
                f"{own[worst]['solid_error_mean']:.3f}: {worst}",
                f"{np.mean([row['thin_error_mean'] for row in own.values()]):.3f}",
                f"{np.mean([row['surely_wrong_mean'] for row in own.values()]):.1%}",
            )
        )
    header = ("dimension", "error at the solid", "worst", "error at the other part", "surely wrong")
    return Table(header, rows)
