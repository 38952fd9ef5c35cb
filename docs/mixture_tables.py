"""The tables of mixtures: flat parts, densities, numbers, missing values and outliers."""

from statistics import mean

from table import Table

IMPUTERS = (
    *("SubspaceMixture", "VAEense", "IterativeImputer", "IterativeImputer, trees"),
    *("KNNImputer", "means"),
)
FILLED = "IterativeImputer", "IterativeImputer, trees", "KNNImputer", "means"
DETECTORS = "SubspaceMixture", "IsolationForest", "LocalOutlierFactor", "KNN"


def missing_table(results):
    """Return errors of what methods fill in."""
    rows = []
    groups = [*_grouped(results, "table", "rule", "share")]
    groups += [(("all", *key), runs) for key, runs in _grouped(results, "rule", "share")]
    for (data, rule, share), runs in groups:
        found = [run["errors"] for run in runs]
        errors = (_mean(found, name, "{:.2f}") for name in IMPUTERS)
        rows.append((data, rule, f"{share:.0%}", *errors, len(runs)))
    return Table(("data", "missing", "share", *IMPUTERS, "runs"), rows)


def imputers_table(results):
    """Return errors over those of column means, and CPU seconds over those of IterativeImputer."""
    rows, header = [], ()
    for key, found in results.get("summary", {}).items():
        header = "half", "missing", "tables", *found["error"], "largest", "CPU", "largest CPU"
        errors = (f"{value:.2f}" for value in found["error"].values())
        times = (f"{found[name]['SubspaceMixture']:.1f}" for name in ("cpu", "worst_cpu"))
        largest = f"{found['worst']['SubspaceMixture']:.2f}"
        rows.append((*key.split(", "), found["tables"], *errors, largest, *times))
    return Table(header, rows)


def missing_density_table(results):
    """Return log-densities of complete rows by mixtures of rows with holes, and of filled ones."""
    names = "complete", "with holes", *FILLED
    kept = [run for run in results.get("rows", []) if "log_density" in run]
    rows = []
    for (data,), runs in _grouped({"rows": kept}, "table"):
        found = [run["log_density"] for run in runs]
        scores = (_mean(found, name, "{:.2f}") for name in names)
        sizes = runs[0]["n"], runs[0]["d"]
        rows.append((data, *sizes, *scores, len(runs)))
    return Table(("data", "rows", "columns", *names, "runs"), rows)


def outliers_table(results):
    """Return how well detectors rank new outliers, on average over tables."""
    rows = []
    for name, group in results.get("summary", {}).items():
        half, kind = name.split(", ")
        for share, found in group["of_share"].items():
            areas = (f"{found['auc'][name]:.3f}" for name in DETECTORS)
            worst = f"{found['worst_gap_to_best_rival']:.3f} ({found['worst_table']})"
            sizes = kind, f"{float(share):.0%}", group["n_tables"]
            rows.append((half, *sizes, *areas, worst))
    header = "half", "outliers", "in training", "tables", *DETECTORS
    return Table((*header, "worst gap"), rows)


def outlier_tables_table(results):
    """Return the areas on each table, with most outliers among the training rows."""
    rows = []
    kept = [run for run in results.get("rows", []) if run["kind"] == "class"]
    for (half, data), runs in _grouped({"rows": kept}, "half", "table"):
        found = [run["of_share"]["0.15"]["auc"] for run in runs]
        rows.append((half, data, *(_mean(found, name, "{:.2f}") for name in DETECTORS), len(runs)))
    return Table(("half", "table", *DETECTORS, "runs"), rows)


def flat_parts_table(results):
    """Return errors of ranks and of counts, on flat parts and on what is none."""
    rows = []
    for data, result in results.items():
        errors = (
            f"{result[f'{kind}_error_mean']:.3f}, {result[f'{kind}_error_worst']:.3f}"
            for kind in ("rank", "count")
        )
        seconds = (f"{result[f'{kind}_seconds_mean']:.1f}" for kind in ("mixture", "count"))
        rows.append((data, *errors, *seconds, len(result["rows"])))
    header = (
        "data",
        "rank: mean, worst",
        "count: mean, worst",
        "mixture s",
        "default fit s",
        "runs",
    )
    return Table(header, rows)


def densities_table(results):
    """Return log-densities of public tables beside the best of other methods."""
    rows = []
    for row in results.get("tables", []):
        difference = f"{row['difference']:.2f} ± {row['error']:.2f}"
        numbers = f"{row['score']:.2f}", row["best"], difference, f"{row['fit_seconds']:.1f}"
        rows.append((row["table"], row["half"], row["n"], row["d"], *numbers))
    header = ("data", "half", "rows", "columns", "score", "best other", "above it", "fit s")
    return Table(header, rows)


def numbers_table(results):
    """Return what half and twice of each number of the mixture change."""
    rows = []
    for name, row in results.items():
        value = row.get("value", "")
        shown = ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
        cells = (
            f"{row[f'{label}_{key}']:.{digits}f}" if f"{label}_{key}" in row else ""
            for key, digits in (("rank_error", 3), ("nats", 2))
            for label in ("half", "twice")
        )
        rows.append((name, shown, *cells))
    header = ("number", "value", "rank error at half", "at twice", "nats at half", "nats at twice")
    return Table(header, rows)


def _mean(found, name, form):
    """Return a mean over runs, or nothing where a method was not run."""
    return form.format(mean(run[name] for run in found)) if name in found[0] else ""


def _grouped(results, *names):
    """Return the runs with the same values of these names, in their order."""
    groups = {}
    for run in results.get("rows", []):
        groups.setdefault(tuple(run[name] for name in names), []).append(run)
    return groups.items()
