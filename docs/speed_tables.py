"""The tables of the timings: speed.json and speed_peers.json in benchmarks/results."""

from statistics import median

from table import MISSING, Table


def step_table(speed, threads="1 thread"):
    """Return the time of a training step over that of its matrix products."""
    header = (
        "step",
        "features",
        "latents",
        "batch",
        "floor, ms",
        "this library",
        "by hand, gathered batches",
        "by hand, collated batches",
    )
    rows = [
        (
            row["step"],
            row["n_features"],
            row["n_components"],
            row["batch_size"],
            f"{1000 * row['floor_seconds']:.1f}",
            *(f"{row['ratios'][name]:.2f}" for name in ("ours", "gathered", "collated")),
        )
        for row in speed.get(f"step, {threads}", [])
    ]
    return Table(header, rows)


def peers_step_table(results):
    """Return the time of training steps of other libraries beside that of this one's."""
    header = (
        "step",
        "features",
        "latents",
        "batch",
        "other library",
        "floor, ms",
        "this library",
        "the other",
        "the other over this",
    )
    rows = []
    # The libraries one below the other for each step.
    for row in sorted(results.values(), key=lambda row: (row["n_components"], row["method"])):
        ours, peer = row["ratios"]["ours"], row["ratios"]["peer"]
        rows.append(
            (
                row["method"],
                row["n_features"],
                row["n_components"],
                row["batch_size"],
                f"{row['peer']} {row['version']}",
                f"{1000 * row['floor_seconds']:.1f}",
                f"{ours:.2f}",
                f"{peer:.2f}",
                f"{peer / ours:.1f}",
            )
        )
    return Table(header, rows)


def transform_table(speed):
    """Return the time of a transform over that of PCA."""
    names = ("VAEase, single layer", "VAEase, default network", "default", "SparseAutoencoder")
    rows = [
        (
            row["n_features"],
            row["n_components"],
            *(f"{row['ratios'][n]:.1f}" if n in row["ratios"] else MISSING for n in names),
        )
        for row in speed.get("transform", [])
    ]
    return Table(("features", "components", *names), rows)


def cost_of_growth_table(speed):
    """Return what an epoch takes with more samples and more latents."""
    header = (
        "samples",
        "latents",
        "encoder",
        "s of an epoch",
        "µs for a sample",
        "memory above X, MB",
        "copies of X",
    )
    kinds = {
        "growth in samples": "default",
        "growth in latents": "default",
        "growth in latents, layers of 256": "layers of 256",
    }
    rows = [
        (
            f"{row['n_samples']:,}",
            row["n_components"],
            encoder,
            f"{row['seconds_per_epoch']:.3g}",
            f"{1e6 * row['seconds_per_epoch'] / row['n_samples']:.1f}",
            f"{row['extra_megabytes']:.0f}",
            f"{row['copies_of_X']:.1f}",
        )
        for key, encoder in kinds.items()
        for row in speed.get(key, [])
    ]
    return Table(header, rows)


def default_fits_table(results):
    """Return the CPU seconds of default fits, beside other estimators."""
    names = list(dict.fromkeys(name for r in results.values() for name in r["medians"]))
    rows = [
        (data, *(f"{r['medians'][n]:.2g}" if n in r["medians"] else "" for n in names))
        for data, r in results.items()
    ]
    return Table(("data", *names), rows)


def first_fits_table(results):
    """Return the CPU seconds of first fits in fresh processes, and of their imports."""
    names = list(dict.fromkeys(name for row in results.values() for name in row))
    rows = [
        (
            data,
            *(f"{r[n]['fit']:.2g} ({r[n]['import']:.1f})" if n in r else "" for n in names),
        )
        for data, r in results.items()
    ]
    return Table(("data", *names), rows)


def answer_table(speed):
    """Return how long it takes until dimensions are right."""
    rows = speed.get("answer", [])
    if not rows:
        return Table((), [])
    recipe = median(row["recipe"]["seconds_500k"] for row in rows)
    lines = []
    for name in ("default", "VAEase", "VAEase, small"):
        if name not in rows[0]:
            continue
        seconds = median(row[name]["seconds"] for row in rows)
        errors = [row[name]["error"] for row in rows]
        lines.append((name, 50_000, seconds, errors, recipe / seconds))
    for label, n, key in (
        ("the recipe", 50_000, "seconds"),
        ("the recipe, scaled up", 500_000, "seconds_500k"),
    ):
        seconds = median(row["recipe"][key] for row in rows)
        # Its errors are those of the better rule, which the recipe could not know.
        rules = ("error_otsu", "error_fixed_variance")
        errors = [min(row["recipe"][rule] for rule in rules) for row in rows]
        lines.append((label, n, seconds, errors if n == 50_000 else None, recipe / seconds))
    header = ("fit", "samples", "CPU s", "error, mean", "error, worst", "times faster")
    return Table(
        header,
        [
            (
                label,
                f"{n:,}",
                f"{seconds:.1f}",
                f"{sum(errors) / len(errors):.3f}" if errors else "not run",
                f"{max(errors):.3f}" if errors else "not run",
                f"{ratio:.0f}",
            )
            for label, n, seconds, errors, ratio in lines
        ],
    )


def small_jobs_table(speed):
    """Return the time of Otsu's rule and of the import."""
    rows = []
    if counting := speed.get("counting"):
        rows.append(
            (
                "Otsu's rule, 1,000,000 samples of 300 latents",
                f"{counting['seconds']:.1f}",
                f"{counting['copies']:.2f} copies of the log variances",
            )
        )
    if importing := speed.get("importing"):
        rows += [(f"import of {name}", f"{seconds:.1f}", "") for name, seconds in importing.items()]
    return Table(("what", "CPU s", "extra memory"), rows)
