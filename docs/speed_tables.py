"""The tables of the timings: benchmarks/results/speed.json."""

from table import Table


def step_table(speed):
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
        for row in speed.get("step, 1 thread", [])
    ]
    return Table(header, rows)


def entries_table(speed):
    """Return the time of a step that decodes entries over one that decodes whole codes."""
    rows = [
        (
            row["n_features"],
            row["n_components"],
            row["k"],
            f"{row['k'] / row['n_components']:.1%}",
            f"{row['ratio']:.2f}",
        )
        for row in speed.get("entries", [])
    ]
    return Table(("features", "latents", "active", "share", "entries over whole codes"), rows)


def transform_table(speed):
    """Return the time of a transform over that of PCA."""
    names = ("single layer", "default network", "SparseAutoencoder")
    rows = [
        (row["n_features"], row["n_components"], *(f"{row['ratios'][n]:.1f}" for n in names))
        for row in speed.get("transform", [])
    ]
    return Table(("features", "components", *names), rows)
