"""The table of README.md: each result beside its best rival, losses included."""

from statistics import median

from table import Best, Table

HEADER = ("measured on held-out data", "skvaeense", "best rival", "which")
RIVALS = {
    "dictionary learning": "dictionary learning (OMP)",
    "batch-top-k": "batch-top-k",
    "PCA, largest": "PCA, the largest entries",
    "PCA, twice": "PCA, twice the entries",
    "unrolled BatchTopK, positive": "batch-top-k, told the number active",
    "MiniBatchDictionaryLearning, positive": "dictionary learning, told the number active",
}


def highlights_table(headline, unions, densities, outliers, peers):
    """Return one row for each kind of result; `peers` has the titles of estimators of dimension."""
    if not all((headline, unions, densities, outliers)):
        return Table(HEADER, [])
    rows = (
        _digits(headline["digits"]),
        _features(headline["features"]),
        _dimensions(unions, peers),
        _densities(densities["tables"]),
        _outliers(outliers["summary"]["report, class"]["of_share"]["0.15"]["auc"]),
    )
    return Table(HEADER, [_marked(*row) for row in rows])


def _marked(name, ours, best, which, numbers, better):
    """Return the cells of a row, of which the better number is marked, or neither if both agree."""
    if ours != best:
        ours, best = (
            Best(text) if number == better(numbers) else text
            for text, number in zip((ours, best), numbers, strict=True)
        )
    return name, ours, best, which


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
        (ours, errors[best]),
        min,
    )


def _features(rows):
    scores = _medians(rows, "f1")
    ours = scores.pop("VAEense, default")
    best = max(scores, key=scores.get)
    name = "F1 of 64 known features in 32 dimensions, nothing set"
    numbers = ours, scores[best]
    return name, *(f"{number:.2f}" for number in numbers), RIVALS[best], numbers, max


def _dimensions(unions, peers):
    rows = {name: row for name, row in unions.items() if isinstance(row, dict)}
    flat = [name for name in rows if "atoms" not in name]

    def error(whose, method, names=rows):
        return median(rows[name][whose][method]["error_mean"] for name in names)

    known = [name for name in peers if all(name in row["peers"] for row in rows.values())]
    best = min(known, key=lambda method: error("peers", method))
    asked = ("ours", "auto"), ("peers", best)
    return (
        f"error of a sample's dimension, median of {len(rows)} sets ({len(flat)} without atoms)",
        *(f"{error(*who):.2f} ({error(*who, flat):.2f})" for who in asked),
        f"{peers[best]} (version of {unions['version of others']})",
        [error(*who) for who in asked],
        min,
    )


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
        (wins, losses),
        max,
    )


def _outliers(areas):
    name = "area under the ROC curve for outliers, 15 % of the training rows"
    rivals = {name: area for name, area in areas.items() if name != "SubspaceMixture"}
    best = max(rivals, key=rivals.get)
    numbers = areas["SubspaceMixture"], rivals[best]
    return name, *(f"{number:.2f}" for number in numbers), best, numbers, max
