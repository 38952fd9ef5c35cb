"""The tables of latents: the field's own test, a model's layers, and which are features."""

from table import Table


def synth_table(results):
    """Return what sparse autoencoders reach on SynthSAEBench."""
    header = (
        "size",
        "method",
        "F1",
        "MCC",
        "variance explained",
        "L0",
        "true L0",
        "dead",
        "CPU s",
        "runs",
    )
    rows = [
        (
            row["size"],
            row["method"],
            *(f"{row[key]:.3f}" for key in ("f1_mean", "mcc_mean", "explained_variance_mean")),
            f"{row['l0_mean']:.1f}",
            f"{row['true_l0_mean']:.1f}",
            f"{row['dead_mean']:.1%}",
            f"{row['cpu_seconds_mean']:.0f}",
            row["n_seeds"],
        )
        for row in best_rates(results.get("summary", []))
    ]
    return Table(header, rows)


def penalties_table(results):
    """Return what each penalty reaches at the same target."""
    header = (
        *("data", "penalty", "target", "miss", "L0", "FVU"),
        *("dead", "found", "rare", "CPU s", "runs"),
    )
    rows = [
        (
            row["cell"],
            row["method"],
            f"{row['target_mean']:.3g}",
            f"{row['miss_mean']:+.1%}",
            f"{row['l0_mean']:.1f}",
            f"{row['fvu_mean']:.3f}",
            f"{row['dead_mean']:.1%}",
            *(f"{row[key]:.0%}" if key in row else "" for key in ("found_mean", "found_rare_mean")),
            f"{row['cpu_seconds_mean']:.0f}",
            row["n_seeds"],
        )
        for row in results.get("summary", [])
    ]
    return Table(header, rows)


def rare_features_table(results):
    """Return what is found of features of different frequencies."""
    header = ("frequencies", "atoms", "rare", "codes", "worst", "true gates", "CPU s", "runs")
    keys = ("atoms_mean", "rare_mean", "codes_mean", "codes_worst", "known_mean")
    rows = [
        (
            row["kind"],
            *(f"{row[key]:.3f}" for key in keys),
            f"{row['cpu_seconds_mean']:.0f}",
            row["n_seeds"],
        )
        for row in results.get("summary", [])
    ]
    return Table(header, rows)


def shard_costs_table(results):
    """Return what large dictionaries take, by calculation."""
    header = (
        "latents",
        "weights, gradients and moments (GB)",
        "pre-activations (GB)",
        "sent, samples divided (MB)",
        "sent, latents divided (MB)",
        "hours of 100M samples, an H100",
        "hours of 1,000M samples, an H100",
    )
    rows = [
        (
            f"{row['latents']:,}",
            f"{row['weights, gradients, moments (GB)']:.1f}",
            f"{row['pre-activations and their gradient (GB)']:.1f}",
            f"{row['sent, samples shared out (MB)']:,.0f}",
            f"{row['sent, latents shared out (MB)']:.0f}",
            f"{row['hours of 100M samples, an H100, 400 TFLOPS']:.2g}",
            f"{row['hours of 1000M samples, an H100, 400 TFLOPS']:.2g}",
        )
        for row in results.get("costs", {}).get("rows", [])
    ]
    return Table(header, rows)


def shards_table(results):
    """Return how far weights of two processes with half of the latents are from those of one."""
    header = ("latents", "steps", "largest change of a weight", "largest difference")
    rows = [
        (
            found["latents"],
            found["steps"],
            f"{found['largest_change']:.1g}",
            f"{found['largest_difference']:.1g}",
        )
        for found in [results.get("shards")]
        if found
    ]
    return Table(header, rows)


def dictionaries_table(results):
    """Return what sparse autoencoders leave beside those of other libraries."""
    header = ("rows", "method", "L0", "FVU", "worst FVU", "dead", "CPU s", "runs")
    rows = [
        (
            row["cell"],
            row["method"],
            f"{row['l0_mean']:.1f}",
            f"{row['fvu_mean']:.3f}",
            f"{row['fvu_worst']:.3f}",
            f"{row['dead_mean']:.1%}",
            f"{row['cpu_seconds_mean']:.0f}",
            row["n_seeds"],
        )
        for row in results.get("summary", [])
    ]
    return Table(header, rows)


def auxiliary_table(results):
    """Return what weights of the auxiliary loss reach."""
    rows = [
        (
            row["cell"],
            f"1/{round(1 / row['weight'])}",
            f"{row['l0_mean']:.1f}",
            f"{row['fvu_mean']:.4f}",
            f"{row['dead_mean']:.2%}",
            row["n_seeds"],
        )
        for row in results.get("summary", [])
    ]
    return Table(("data", "weight", "L0", "FVU", "dead", "runs"), rows)


def best_rates(summary):
    """Return the rows without those of a learning rate that is not the best by F1."""
    best = {}
    for row in summary:
        key = row["size"], row["method"].partition(", lr")[0]
        best[key] = max(best.get(key, row), row, key=lambda r: r["f1_mean"])
    return list(best.values())


def stability_table(results):
    """Return how many of the latents that are said to be features are, of two fits and of four."""
    rows = []
    for row in results.get("summary", []):
        for fits in ("2 fits", "4 fits"):
            numbers = [
                f"{row[f'{fits} {part}_{key}']:.2f}"
                for part in ("high", "middle")
                for key in ("said", "true")
            ]
            rows.append(
                (row["kind"], row["method"], fits[0], *numbers, f"{row[f'{fits} found']:.2f}")
            )
    header = (
        "features",
        "penalty",
        "fits",
        "said, from .9",
        "true",
        "said, .5 to .9",
        "true",
        "found",
    )
    return Table(header, rows)
