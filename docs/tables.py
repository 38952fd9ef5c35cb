"""The numbers of the user guide and of README.md: what the benchmarks wrote, and the constants.

    python docs/tables.py

`write_tables` writes one reStructuredText file for each table; pages include them. So a number in
the guide is always one that a benchmark measured, or one that the package uses. Where a result is
missing, the table says so. Run as a script, it brings the tables in README.md up to date.
"""

import inspect
import json
import re
from pathlib import Path
from statistics import mean

import torch
from classifier_tables import accuracy_table, costs_table, tables_table
from dimension_tables import (
    bayes_table,
    errors_table,
    grid_table,
    growth_table,
    high_table,
    manifolds_table,
    reliability_table,
    solids_table,
    spectra_table,
    uncovered_table,
    unseen_peers_table,
    unseen_table,
)
from gate_tables import code_lengths_table, planted_gates_table, shares_table
from highlight_tables import HEADER, highlights_table
from kind_tables import kinds_table
from latent_tables import (
    auxiliary_table,
    dictionaries_table,
    penalties_table,
    rare_features_table,
    shard_costs_table,
    shards_table,
    stability_table,
    synth_table,
)
from likelihood_tables import imputation_table, known_table, real_table
from mixture_tables import (
    densities_table,
    flat_parts_table,
    imputers_table,
    missing_density_table,
    missing_table,
    numbers_table,
    outlier_tables_table,
    outliers_table,
)
from number_tables import module_numbers_table
from paper_tables import paper_tables
from reliability_tables import (
    bad_input_tables,
    bad_inputs,
    faults,
    faults_table,
    fuzz_table,
    least_coverage,
    mutants_table,
    soak_table,
)
from scale_tables import (
    checkpoint_costs_table,
    checkpoints_table,
    many_models_bytes_table,
    many_models_table,
    out_of_core_table,
    processes_table,
)
from speed_tables import (
    answer_table,
    cost_of_growth_table,
    default_fits_table,
    first_fits_table,
    peers_step_table,
    small_jobs_table,
    step_table,
    transform_table,
)
from table import MISSING, Table

from skvaeense import SparseAutoencoder, _vaease
from skvaeense.dimension import _methods
from skvaeense.explanations import _em
from skvaeense.mixture import _rows as _mixture_rows
from skvaeense.mixture import _search
from skvaeense.nets import networks
from skvaeense.nets.thresholds import FixedVariance
from skvaeense.samples import _scaling, _sources
from skvaeense.training import _data, _hooks, _trainer
from skvaeense.utils import _rows

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "docs" / "generated_tables"
README = ROOT / "README.md"

GATED, VAE = "4/4/4, 20 latents, VAEase", "4/4/4, 20 latents, VAE"

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
    core, defaults = load("core.json"), load("defaults.json")
    counts = {
        name: row
        for name, row in core.items()
        if name not in (GATED, VAE) and "gap_mean" not in row
    }
    unions, peers_of_dimension = load("dimension_unions.json"), load("dimension_peers.json")
    lengths, planted = load("code_lengths.json"), load("planted_features.json")
    densities = load("tables_mixture.json")
    images = {k: v for k, v in peers_of_dimension.items() if k not in unions}
    return {
        "highlights": highlights_table(
            load("headline.json"), unions, peers_of_dimension, densities, load("outliers.json")
        ),
        "first_experiment": first_experiment(core),
        "likelihood_known": known_table(load("likelihood.json")),
        "likelihood_real": real_table(load("likelihood.json")),
        "likelihood_imputation": imputation_table(load("likelihood.json")),
        "gates_planted": planted_gates_table(load("gates_planted.json")),
        "code_lengths": code_lengths_table(lengths),
        "table_codes": tables_table(load("table_codes.json")),
        "gates_shares": shares_table(load("gates_shares.json")),
        "flat_parts": flat_parts_table(load("unions.json")),
        "densities": densities_table(densities),
        "module_numbers": module_numbers_table(),
        "mixture_numbers": numbers_table(load("mixture_numbers.json")),
        "imputers": imputers_table(load("imputers.json")),
        "missing_values": missing_table(load("missing_values.json")),
        "missing_values_density": missing_density_table(load("missing_values.json")),
        "outliers": outliers_table(load("outliers.json")),
        "outlier_tables": outlier_tables_table(load("outliers.json")),
        "core": count_table(counts),
        "defaults": count_table(defaults),
        "apart": apart_table(load("apart.json")),
        "auxiliary": auxiliary_table(load("auxiliary.json")),
        "dictionaries": dictionaries_table(load("dictionaries.json")),
        "short_codes": short_codes_table(load("short_codes.json")),
        "short_codes_nested": short_codes_nested_table(
            load("short_codes.json"), load("short_codes_nested.json")
        ),
        "short_codes_wide": short_codes_wide_table(load("short_codes.json")),
        "classifier": accuracy_table(load("code_classifier.json")),
        "classifier_costs": costs_table(load("code_classifier.json")),
        "sparse_encoders": encoders_table(load("sparse_encoders.json")),
        "planted": planted_table(load("planted.json")),
        "planted_features": planted_features_table(planted),
        "penalties": penalties_table(load("penalties.json")),
        "rare_features": rare_features_table(load("rare_features.json")),
        "synth_sae_bench": synth_table(load("synth_sae_bench.json")),
        "latent_shards": shards_table(load("latent_shards.json")),
        "latent_shards_costs": shard_costs_table(load("latent_shards.json")),
        "latent_stability": stability_table(load("latent_stability.json")),
        "dimension_unions": errors_table(
            unions,
            load("dimension_rival.json"),
            peers_of_dimension,
            load("dimension_diffusion.json"),
        ),
        "dimension_manifolds": manifolds_table(load("dimension_manifolds.json")),
        "first_steps": first_steps_table(load("first_steps.json")),
        "first_steps_machine": machine_table(load("first_steps.json")),
        "dimension_grid": grid_table(load("dimension_grid.json")),
        "dimension_high": high_table(load("dimension_high.json")),
        "dimension_growth": growth_table(load("dimension_growth.json")),
        "dimension_images": errors_table(images),
        "dimension_layers": errors_table(load("dimension_layers.json")),
        "dimension_spectra": spectra_table(load("dimension_spectra.json")),
        "dimension_reliability": reliability_table(load("dimension_reliability.json")),
        "dimension_unseen": unseen_table(load("dimension_unseen.json")),
        "dimension_uncovered": uncovered_table(load("dimension_unseen.json")),
        "dimension_unseen_peers": unseen_peers_table(load("dimension_unseen_peers.json")),
        "dimension_solids": solids_table(load("dimension_solids.json")),
        "dimension_bayes": bayes_table(load("dimension_bayes.json")),
        "speed_step": step_table(load("speed.json")),
        "speed_step_2": step_table(load("speed.json"), "2 threads"),
        "speed_peers": peers_step_table(load("speed_peers.json")),
        "speed_transform": transform_table(load("speed.json")),
        "speed_growth": cost_of_growth_table(load("speed.json")),
        "default_fits": default_fits_table(load("default_fits.json")),
        "first_fits": first_fits_table(load("first_fits.json")),
        "speed_answer": answer_table(load("speed.json")),
        "speed_small_jobs": small_jobs_table(load("speed.json")),
        "out_of_core": out_of_core_table(load("out_of_core.json")),
        "checkpoints": checkpoints_table(load("checkpoints.json")),
        "checkpoint_costs": checkpoint_costs_table(load("checkpoints.json")),
        "processes": processes_table(load("processes.json")),
        "many_models": many_models_table(load("many_models.json")),
        "many_models_bytes": many_models_bytes_table(load("many_models.json")),
        **paper_tables(load),
        "faults": faults_table(),
        "soak": soak_table(load("soak.json")),
        "kinds": kinds_table(load("kinds.json")),
        "fuzz": fuzz_table(load("fuzz.json")),
        "mutants": mutants_table(load("mutants.json")),
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
    for name, paper, key in (("VAEase", "about 4", GATED), ("VAE", "about 13", VAE)):
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


def short_codes_nested_table(results, nested):
    """Return the error of codes that were cut, beside that of models for each length."""
    rows = nested.get("summary", [])
    levels = sorted({row["k"] for row in rows})
    methods = dict.fromkeys(row["method"] for row in rows)
    one_each = [
        row | {"trained_for": "each"}
        for row in results.get("summary", [])
        if row["method"] in methods and row["k"] in levels
    ]
    words = {
        "each": "one fit for each",
        "all": "one fit for all",
        "longest": "cut from the longest",
    }
    body = []
    for method in methods:
        for trained_for, name in words.items():
            own = {
                row["k"]: row
                for row in [*one_each, *rows]
                if (row["method"], row["trained_for"]) == (method, trained_for)
            }
            cells = (f"{own[k]['fvu_mean']:.4f}" if k in own else MISSING for k in levels)
            lengths = ", ".join(f"{own[k]['l0_mean']:.1f}" for k in levels if k in own)
            runs = ", ".join(dict.fromkeys(str(row["n_seeds"]) for row in own.values()))
            body.append((method, name, *cells, lengths, runs))
    return Table(("method", "fits", *(f"{k} active" for k in levels), "L0", "runs"), body)


def short_codes_wide_table(results):
    """Return the error of codes by more latents than features, and what they took."""
    rows = results.get("wide", [])
    header = ("method", "FVU", "L0", "dead", "CPU seconds")
    return Table(
        header,
        [
            (
                row["method"],
                f"{row['fvu']:.4f}",
                f"{row['l0']:.1f}",
                f"{row['dead']:.3f}",
                f"{row['cpu_seconds']:.0f}",
            )
            for row in rows
        ],
    )


def short_codes_table(results):
    """Return the error of codes of given lengths, and the active latents that they have."""
    rows = results.get("summary", [])
    levels = sorted({row["k"] for row in rows})
    header = ("method", *(f"{k} active" for k in levels), "L0", "CPU seconds", "runs")
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["k"]: row for row in rows if row["method"] == method}
        found = [own[k] for k in levels if k in own]
        cells = (
            f"{own[k]['fvu_mean']:.4f}, worst {own[k]['fvu_worst']:.4f}" if k in own else MISSING
            for k in levels
        )
        lengths = ", ".join(f"{row['l0_mean']:.1f}" for row in found)
        seconds = ", ".join(f"{row['cpu_seconds_mean']:.0f}" for row in found)
        runs = ", ".join(dict.fromkeys(str(row["n_seeds"]) for row in found))
        body.append((method, *cells, lengths, seconds, runs))
    return Table(header, body)


def encoders_table(results):
    """Return the error of codes of one length, and how far dictionaries of several seeds agree."""
    header = (
        *("data and method", "latents", "active", "FVU", "worst FVU", "dead latents"),
        *("agreement of seeds", "by chance", "CPU seconds", "runs"),
    )
    rows = [
        (
            f"{name} {row['version']}" if "version" in row else name,
            row["n_components"],
            f"{mean(row['l0']):.1f}",
            f"{mean(row['fvu']):.4f}",
            f"{max(row['fvu']):.4f}",
            f"{mean(row['dead']):.1%}",
            *(f"{mean(row[key]):.2f}" if key in row else "" for key in ("stability", "chance")),
            f"{mean(row['cpu_seconds']):.0f}",
            len(row["fvu"]),
        )
        for name, row in results.items()
        # The package has no matching pursuit any more.
        if not name.endswith(", matching pursuit")
    ]
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


def planted_features_table(results):
    """Return how well known features were found, beside the error."""
    header = (
        "features",
        "method",
        "FVU",
        "cosine",
        "F1",
        "worst",
        "precision",
        "recall",
        "L0",
        "runs",
    )
    keys = "cosine_mean", "f1_mean", "f1_worst", "precision_mean", "recall_mean"
    rows = [
        (
            row["kind"],
            row["method"],
            f"{row['fvu_mean']:.4f}",
            *(f"{row[key]:.3f}" for key in keys),
            f"{row['l0_mean']:.2f}",
            row["n_seeds"],
        )
        for row in results.get("summary", [])
    ]
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


def apart_table(results):
    """Return the errors on samples that lie apart."""
    names = "count_error_mean", "count_error_worst", "estimator_error_mean"
    header = ("data", "error of the count, mean", "worst", "error of the estimator, mean", "seeds")
    rows = [
        (
            name,
            *(f"{result['summary'][key]:.3f}" if key in result["summary"] else "" for key in names),
            len(result["per_seed"]),
        )
        for name, result in results.items()
    ]
    return Table(header, rows)


def constants():
    """Return a substitution for each constant that the rules of the defaults use."""
    names = {
        _scaling: ["SPECTRUM_ROWS"],
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
        "BULK_SHARE": (_data.Spectrum.of, "bulk_share"),
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
    values |= {"LEAST_SHARE": noise.least_share, "FOLLOW": noise.follow}
    *others, last = map(plain, _vaease.RATES)
    values["RATES"] = f"{', '.join(others)} and {last}"
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


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
