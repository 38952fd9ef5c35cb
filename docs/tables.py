"""The numbers of the user guide and of README.md: what the benchmarks wrote, and the constants.

    python docs/tables.py

`write_tables` writes one reStructuredText file for each table; pages include them. So a number in
the guide is always one that a benchmark measured, or one that the package uses. Where a result is
missing, the table says so. Run as a script, it brings the tables in README.md up to date.
"""

import inspect
import json
import re
import tomllib
from pathlib import Path

import torch
from highlight_tables import HEADER, highlights_table
from number_tables import module_numbers_table
from reliability_tables import bad_input_tables, bad_inputs, faults, faults_table, least_coverage
from table import Column, Table, measured

from skvaeense import SparseAutoencoder
from skvaeense.dimension import _methods
from skvaeense.explanations import _em
from skvaeense.mixture import _rows as _mixture_rows
from skvaeense.mixture import _search
from skvaeense.nets import networks
from skvaeense.nets.thresholds import FixedVariance
from skvaeense.samples import _sources
from skvaeense.training import _data, _hooks, _trainer
from skvaeense.utils import _rows

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "docs" / "generated_tables"
README = ROOT / "README.md"
SPECS = tomllib.loads((ROOT / "docs" / "tables.toml").read_text(encoding="utf-8"))
EXPERIMENTS = ("subspaces", "unions", "spheres", "mnist", "minima", "few_latents", "convergence")

# The tables in README.md, and their columns there.
README_COLUMNS = {"highlights": HEADER}


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
    found = {
        name: measured(spec, load(spec["rows"].partition(":")[0])) for name, spec in SPECS.items()
    }
    columns = map(Column.of_text, SPECS["dimension_unions"]["columns"])
    peers = {c.path.split("/")[1]: c.title for c in columns if c.path.startswith("peers/")}
    files = "headline", "dimension_unions", "tables_mixture", "outliers"
    return found | {
        "highlights": highlights_table(*map(load, files), peers),
        "module_numbers": module_numbers_table(),
        "paper_sizes": sizes_table(),
        "faults": faults_table(),
        **bad_input_tables(),
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
    """Return a file of results, which may be archived, as a dict; empty if there is none.

    Those of the paper have the quick size, or the full one if it is the only one. Those of the
    dimension of unions are joined with what other packages gave.
    """
    paths = (RESULTS / folder / f"{name}.json" for folder in (".", "archive"))
    text = next((path.read_text(encoding="utf-8") for path in paths if path.exists()), "{}")
    results = json.loads(text)
    # Hashes of the code that was entered.
    results.pop("code", None)
    if name.startswith("paper/"):
        size = next((size for size in ("quick", "full") if size in results), None)
        return results[size] | {"name": size} if size else {}
    if name == "dimension_unions":
        peers = load("dimension_peers")
        join = {
            data: {"ours": row["summary"], "peers": peers.get(data, {}).get("summary", {})}
            for data, row in results.items()
            if "summary" in row
        }
        return join | {"version of others": peers.get("version")}
    return results


def sizes_table():
    """Return the numbers behind each of the paper's experiments, and what it took."""
    rows = []
    for name in EXPERIMENTS:
        if found := load(f"paper/{name}"):
            numbers = ", ".join(f"{key} = {value}" for key, value in found["size"].items())
            rows.append((name, found["name"], numbers, f"{found['minutes']:.0f}"))
    return Table(("experiment", "size", "numbers", "minutes"), rows)


def constants():
    """Return a substitution for each constant that the rules of the defaults use."""
    names = {
        _data: [
            "MAX_COMPONENTS",
            "MAX_BATCH",
            "LONG_STEPS",
            "RANDOM_STEPS",
            "MIN_ROWS_TO_SPLIT",
        ],
        _methods: ["MAX_REFERENCES", "MAX_NEIGHBORS"],
        _hooks: ["FINAL_NOISE"],
        _trainer: ["SETTLING"],
        _rows: ["MANY_ROWS"],
        _mixture_rows: ["MOST_ROWS"],
        _search: ["SEARCH_ROWS"],
        _em: ["MAX_LATENTS"],
    }
    values = {name: getattr(module, name) for module in names for name in names[module]}
    for name, (function, parameter) in {
        "MOST_EPOCHS": (_data.random_steps, "most_epochs"),
        "LEAST_STEPS": (_data.random_steps, "least"),
        "MIN_BATCH": (_data.resolve_batch_size, "least"),
        "FIRST_NOISE": (_data.Spectrum.first_noise, "share"),
        "SPARSE_RATE": (_data.sparse_learning_rate, "rate"),
        "FULL_RATE_COMPONENTS": (_data.sparse_learning_rate, "full_rate_components"),
        "DEAD_AFTER": (SparseAutoencoder, "dead_after"),
        "MAX_WIDTH": (networks.layer_sizes, "most"),
        "FULL_RATE_INPUTS": (_trainer.layer_rates, "full_rate_inputs"),
        "RATE_POWER": (_trainer.layer_rates, "power"),
        "SURPLUS": (_em.start_gates, "surplus"),
        "WIDTH": (_em.n_target, "width"),
    }.items():
        values[name] = inspect.signature(function).parameters[parameter].default
    values["MIN_WIDTH"] = networks.Linear()._layer_sizes(1)[0][0]
    noise = _hooks.annealed_noise(1.0, 1.0, learned=True)
    values["FOLLOW"] = noise.follow
    values["SUBSET_ROWS"] = _em.GateEM.rows_of_latent
    values["LEAST_SUBSET"] = _em.GateEM.subset_limits[0]
    values["MOST_FIRST"] = values["MOST_TARGET"] = _em.MOST_LATENTS
    values["TARGET_SUBSET"] = _em.SOME_SAMPLES
    values["EM_STEPS"], values["EM_ROUNDS"] = _em.GateEM.n_steps, _em.GateEM.n_rounds
    for name, target in (("SHARE_STEPS", {"share": 0.9}), ("LENGTH_STEPS", {"length": 1.0})):
        em = _em.make_em(torch.eye(3), torch.ones(3), _em.Wanted(**target))
        values[name] = em.n_steps
    values["MAX_HELD_OUT"] = _data.HELD_OUT.at_most
    values["SPARSE_MAX_HELD_OUT"] = _data.SPARSE_HELD_OUT.at_most
    values["IN_MEMORY"] = f"{_sources.IN_MEMORY >> 20} MiB"
    values["COVERAGE"] = least_coverage()
    values["FAULTS"] = len(faults())
    values["BAD_INPUTS"] = sum(map(len, bad_inputs().values()))
    values |= {"HOLD": noise.hold, "SETTLE": noise.settle, "RISEN": noise.risen}
    values["LEVEL"] = FixedVariance().level
    return "".join(f".. |{name}| replace:: {plain(value)}\n" for name, value in values.items())


def plain(value):
    """Return a number without an exponent, with commas between thousands; text as it is."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.10f}".rstrip("0")


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
