"""The numbers of the user guide and of README.md: what the benchmarks wrote, and the constants.

    python docs/tables.py

`write_tables` writes one reStructuredText file for each table; pages include them. So a number in
the guide is always one that a benchmark measured, or one that the package uses. Where a result is
missing, the table says so. Run as a script, it brings the tables in README.md up to date.
"""

import csv
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

from skvaeense import _intrinsic_dimension
from skvaeense._training import _defaults, _loop
from skvaeense._training._defaults import STARTS
from skvaeense.networks import _layers
from skvaeense.objectives import _dead_latents, _noise, _penalised, _phases
from skvaeense.thresholds import FixedVariance

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "docs" / "generated_tables"
README = ROOT / "README.md"

MISSING = "not measured yet"
GATED, VAE = "4/4/4, 20 latents", "4/4/4, 20 latents, VAE"
PPCA = {False: "PPCA data, gated=False", True: "PPCA data, gated=True"}


# The tables in README.md, and which of their columns.
README_COLUMNS = {
    "first_experiment": (
        "model",
        "paper: active latents",
        "active latents",
        "worst FVU",
        "adaptivity",
        "runs",
    ),
    "sparse_autoencoders": (
        "data",
        "method",
        "latents",
        "L0",
        "FVU",
        "peer's FVU",
        "ratio, mean",
        "ratio, worst",
        "runs",
    ),
    "dimension_unions": (
        "data",
        "auto",
        "PCA and ICA",
        "local PCA, FO",
        "local PCA, maxgap",
        "local PCA, Minka",
        "MLE",
        "normal bundle",
    ),
}


class Table(NamedTuple):
    """The cells of a table."""

    header: tuple
    rows: list

    def rst(self):
        """Return a csv-table directive."""
        if not self.rows:
            return f"*{MISSING.capitalize()}.*\n"
        lines = io.StringIO()
        writer = csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([[escape(cell) for cell in row] for row in [self.header, *self.rows]])
        body = "".join(f"   {line}\n" for line in lines.getvalue().splitlines())
        return f".. csv-table::\n   :header-rows: 1\n\n{body}"

    def markdown(self, columns):
        """Return some columns as a table of Markdown."""
        if not self.rows:
            return f"*{MISSING.capitalize()}.*\n"
        kept = [self.header.index(column) for column in columns]
        rows = [columns, ["---"] * len(columns), *([row[i] for i in kept] for row in self.rows)]
        return "".join(f"| {' | '.join(str(cell) for cell in row)} |\n" for row in rows)


def write_tables():
    """Write every table of the guide, and the constants."""
    TABLES.mkdir(exist_ok=True)
    texts = {name: table.rst() for name, table in tables().items()}
    for name, text in (texts | {"constants": constants()}).items():
        path = TABLES / f"{name}.rst"
        # Left alone if unchanged, so that sphinx need not read its page again.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def tables():
    """Return every table by its name."""
    core, defaults = load("core.json"), load("defaults.json")
    counts = {name: row for name, row in core.items() if name not in {VAE, *PPCA.values()}}
    peers = load("sparse_autoencoders.json")
    return {
        "first_experiment": first_experiment(core),
        "score": score_table(core),
        "core": count_table(counts),
        "defaults": count_table(defaults),
        "sparse_autoencoders": peers_table(peers),
        "language_models": peers_table({k: v for k, v in peers.items() if k.startswith("lm ")}),
        "planted": planted_table(load("planted.json")),
        "dimension_unions": unions_table(
            load("dimension_unions.json"),
            load("dimension_rival.json"),
            load("dimension_peers.json"),
            load("dimension_diffusion.json"),
        ),
        "dimension_manifolds": manifolds_table(load("dimension_manifolds.json")),
        "first_steps": first_steps_table(load("first_steps.json")),
        "first_steps_machine": machine_table(load("first_steps.json")),
        "dimension_grid": grid_table(load("dimension_grid.json")),
        "dimension_high": high_table(load("dimension_high.json")),
        "dimension_growth": growth_table(load("dimension_growth.json")),
        "starts": starts_table(),
    }


def with_tables(text):
    """Return the text of README.md with its tables up to date."""
    current = tables()

    def update(match):
        name = match["name"]
        return f"{match['begin']}\n{current[name].markdown(README_COLUMNS[name])}\n{match['end']}"

    blocks = r"(?P<begin><!-- table (?P<name>\w+) -->\n).*?(?P<end><!-- end of table -->)"
    return re.sub(blocks, update, text, flags=re.DOTALL)


def load(name):
    """Return a file of results as a dict, empty if there is none."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def first_experiment(core):
    """Return the paper's first experiment beside its numbers."""
    header = (
        "model",
        "paper: active latents",
        "active latents",
        "worst error of the count",
        "worst FVU",
        "adaptivity",
        "runs",
    )
    rows = []
    for name, paper, key in (("gated", "about 4", GATED), ("VAE", "about 13", VAE)):
        row = core.get(key)
        if row is None:
            rows.append((name, paper, MISSING, *[""] * (len(header) - 3)))
        else:
            rows.append(
                (
                    name,
                    paper,
                    f"{row['mean_count']:.2f}",
                    f"{row['count_error_worst']:.2f}",
                    f"{row['fvu_worst']:.1e}",
                    f"{row['adaptivity_mean']:.2f}",
                    len(row["runs"]),
                )
            )
    return Table(header, rows)


def count_table(results):
    """Return the counts of active latents beside the true dimensions."""
    header = (
        "data",
        "latents",
        "true: mean count",
        "mean error",
        "worst error",
        "worst FVU",
        "most CPU seconds",
        "runs",
    )
    rows = [
        (
            name,
            span([run["n_components"] for run in row["runs"]]),
            ", ".join(f"{r}: {count:.2f}" for r, count in count_by_dimension(row["runs"])),
            f"{row['count_error_mean']:.3f}",
            f"{row['count_error_worst']:.3f}",
            f"{row['fvu_worst']:.1e}",
            f"{row['cpu_seconds_worst']:.0f}",
            len(row["runs"]),
        )
        for name, row in results.items()
    ]
    return Table(header, rows)


def count_by_dimension(runs):
    """Return (true dimension, mean count over all runs), by rising dimension."""
    dimensions = sorted({r for run in runs for r in run["count_by_dimension"]}, key=int)
    for r in dimensions:
        counts = [run["count_by_dimension"][r] for run in runs if r in run["count_by_dimension"]]
        yield r, sum(counts) / len(counts)


def score_table(core):
    """Return the score beside PCA's on data from the model of probabilistic PCA."""
    header = ("gated", "mean difference", "largest difference", "PCA's mean score", "runs")
    rows = []
    for gated, key in PPCA.items():
        row = core.get(key)
        if row is None:
            rows.append((gated, MISSING, *[""] * (len(header) - 2)))
        else:
            pca = sum(run["pca"] for run in row["runs"]) / len(row["runs"])
            gaps = f"{row['gap_mean']:+.3f}", f"{row['gap_worst']:+.3f}"
            rows.append((gated, *gaps, f"{pca:.2f}", len(row["runs"])))
    return Table(header, rows)


def peers_table(results):
    """Return the error of sparse autoencoders beside that of a peer's trainers."""
    header = (
        "data",
        "method",
        "latents",
        "L0",
        "FVU",
        "peer's L0",
        "peer's FVU",
        "ratio, mean",
        "ratio, worst",
        "CPU seconds",
        "peer's CPU seconds",
        "runs",
    )

    def side(runs, name):
        sides = [run[name] for run in runs]
        l0, fvu, seconds = (
            sum(s[key] for s in sides) / len(sides) for key in ("l0", "fvu", "cpu_seconds")
        )
        return f"{l0:.1f}", f"{fvu:.4f}", f"{seconds:.0f}"

    rows = []
    for row in results.values():
        cell, runs = row["cell"], row["runs"]
        l0, fvu, seconds = side(runs, "ours")
        peer_l0, peer_fvu, peer_seconds = side(runs, "peer")
        data = cell["data"].removesuffix("_activations")
        ratios = f"{row['ratio_mean']:.3f}", f"{row['ratio_worst']:.3f}"
        sizes = data, cell["method"], cell["n_components"]
        times = seconds, peer_seconds, len(runs)
        rows.append((*sizes, l0, fvu, peer_l0, peer_fvu, *ratios, *times))
    return Table(header, rows)


def planted_table(results):
    """Return how well known atoms were found."""
    header = (
        "penalty, coefficients",
        "mean similarity",
        "worst seed",
        "L0",
        "FVU",
        "most dead latents",
        "runs",
    )
    rows = []
    for name, row in results.items():
        runs = row["runs"]
        l0, fvu = (sum(run[key] for run in runs) / len(runs) for key in ("l0", "fvu"))
        dead = max(run["dead"] for run in runs)
        similarity = f"{row['mmcs_mean']:.3f}", f"{row['mmcs_worst']:.3f}"
        rows.append((name, *similarity, f"{l0:.2f}", f"{fvu:.3f}", f"{dead:.0%}", len(runs)))
    return Table(header, rows)


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
    wanted = ("auto", "DANCo", "GRIDE", "TwoNN", "MLE", "lPCA FO", "PCA and ICA")
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
    return Table(("manifold", "dimension", *methods), rows)


def grid_table(grid):
    """Return the error on curved manifolds for each number of samples and amount of noise."""
    if not grid:
        return Table((), [])
    cells = {
        (shape, cell["noise"], cell["n_samples"]): cell["error"]
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


def first_steps_table(results):
    """Return what a newcomer's steps took."""
    rows = [
        (s["step"], s["command"], f"{s['seconds']:.0f}", f"{s['cpu_seconds']:.0f}")
        for s in results.get("steps", [])
    ]
    return Table(("step", "command", "seconds", "CPU seconds"), rows)


def machine_table(results):
    """Return what the newcomer's steps were measured on."""
    return Table(("", "machine"), list(results.get("machine", {}).items()))


def starts_table():
    """Return how the starts differ, from the package itself."""
    header = ("start", "factor on the first noise variance", "factor on learning_rate_init")
    rows = [(i + 1, start.noise, start.learning_rate) for i, start in enumerate(STARTS)]
    return Table(header, rows)


def constants():
    """Return a substitution for each constant that the rules of the defaults use."""
    names = {
        _defaults: [
            "SPECTRUM_ROWS",
            "MAX_COMPONENTS",
            "MAX_BATCH",
            "MIN_BATCH",
            "START_STEPS",
            "FINAL_STEPS",
            "SETTLING",
            "MAX_HELD_OUT",
            "MIN_ROWS_TO_SPLIT",
            "SPARSE_STEPS",
            "SPARSE_RATE",
            "FULL_RATE_COMPONENTS",
        ],
        _layers: ["MIN_WIDTH", "MAX_WIDTH"],
        _noise: ["LEAST_SHARE"],
        _dead_latents: ["DEAD_AFTER"],
        _loop: ["FULL_RATE_INPUTS", "RATE_POWER"],
        _intrinsic_dimension: ["MAX_REFERENCES", "MAX_NEIGHBORS"],
        _phases: ["COMMON_NOISE", "COMMON_NOISE_SHARE", "FINAL_NOISE", "START_NOISE", "FOLLOW"],
    }
    values = {name: getattr(module, name) for module in names for name in names[module]}
    noise = _phases.start_noise(1.0, 1.0, learned=True)
    values["RESAMPLE_AT"] = ", ".join(f"{share:.0%}" for share in _penalised.RESAMPLE_AT)
    values |= {"HOLD": noise.hold, "SETTLE": noise.settle, "LEVEL": FixedVariance().level}
    return "".join(f".. |{name}| replace:: {plain(value)}\n" for name, value in values.items())


def plain(value):
    """Return a number without an exponent, with commas between thousands; text as it is."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.10f}".rstrip("0")


def span(values):
    """Return the range of some whole numbers as text."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def escape(cell):
    """Return a cell as text in which nothing is markup."""
    return "".join("\\" + c if c in "\\*_`|" else c for c in str(cell))


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
