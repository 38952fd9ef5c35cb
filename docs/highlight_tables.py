"""The table of README.md: each result beside its best rival, losses included."""

from statistics import mean, median

from dimension_tables import METHODS, PEERS, runs_of
from table import Table

HEADER = ("measured on held-out data", "skvaeense", "best rival", "which")
RIVALS = {
    "dictionary learning": "dictionary learning (OMP)",
    "batch-top-k": "batch-top-k",
    "PCA, largest": "PCA, the largest entries",
    "PCA, twice": "PCA, twice the entries",
    "unrolled BatchTopK, positive": "batch-top-k, told the number active",
    "MiniBatchDictionaryLearning, positive": "dictionary learning, told the number active",
}


def highlights_table(headline, unions, peers, densities, outliers):
    """Return one row for each kind of result."""
    if not all((headline, unions, peers, densities, outliers)):
        return Table(HEADER, [])
    return Table(
        HEADER,
        [
            _digits(headline["digits"]),
            _features(headline["features"]),
            _dimensions(unions, peers),
            _densities(densities["tables"]),
            _outliers(outliers["summary"]["report, class"]["of_share"]["0.15"]["auc"]),
        ],
    )


def _medians(rows, key):
    return {name: median(row[key][name] for row in rows) for name in rows[0][key]}


def _digits(rows):
    errors = _medians(rows, "fvu")
    ours = errors.pop("VAEense")
    best = min(errors, key=errors.get)
    length = median(row["length"] for row in rows)
    return (
        f"variance of digits unexplained by codes of {length:.1f} active latents",
        f"{ours:.1%}",
        f"{errors[best]:.1%}",
        RIVALS[best],
    )


def _features(rows):
    scores = _medians(rows, "f1")
    ours = scores.pop("VAEense, default")
    best = max(scores, key=scores.get)
    name = "F1 of 64 known features in 32 dimensions, nothing set"
    return name, f"{ours:.2f}", f"{scores[best]:.2f}", RIVALS[best]


def _dimensions(unions, peers):
    flat = [name for name in unions if "atoms" not in name]

    def error(method, files, names):
        return median(mean(run["error"] for run in runs_of(method, n, [files])) for n in names)

    known = [method for method in PEERS if all(runs_of(method, n, [peers]) for n in unions)]
    best = min(known, key=lambda method: error(method, peers, unions))
    ours, rival = (
        f"{error(method, files, unions):.2f} ({error(method, files, flat):.2f})"
        for method, files in (("auto", unions), (best, peers))
    )
    name = (
        f"error of a sample's dimension, median of {len(unions)} sets ({len(flat)} without atoms)"
    )
    return name, ours, rival, METHODS[best]


def _densities(tables):
    own = [table for table in tables if table["half"] == "report"]
    wins, losses = (
        sum(sign * table["difference"] > 2 * table["error"] for table in own) for sign in (1, -1)
    )
    return (
        f"log-density of {len(own)} public tables, higher by two standard errors",
        f"on {wins}",
        f"on {losses}",
        "best of PCA, factor analysis, Gaussian mixture, kernels",
    )


def _outliers(areas):
    name = "area under the ROC curve for outliers, 15 % of the training rows"
    rivals = {name: area for name, area in areas.items() if name != "SubspaceMixture"}
    best = max(rivals, key=rivals.get)
    return name, f"{areas['SubspaceMixture']:.2f}", f"{areas[best]:.2f}", best
