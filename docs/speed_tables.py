"""The tables of the timings: speed.json and speed_peers.json in benchmarks/results."""

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
