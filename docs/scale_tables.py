"""The tables of fits to more samples than memory holds, and of many fits on several workers."""

from statistics import mean

from table import Table


def out_of_core_table(results):
    """Return what fits to shards take, and how good they are."""
    header = (
        "samples",
        "gigabytes",
        "peak, MB",
        "of that, importing",
        "FVU, one pass over all",
        "FVU, part in memory",
        "pace, memory map",
        "pace, files",
        "seeds",
    )
    rows = [
        (
            f"{row['n_samples']:,}",
            f"{row['bytes'] / 1e9:.1f}",
            f"{row['peak'] / 1e6:.0f}",
            f"{row['peak_import'] / 1e6:.0f}",
            in_short(row["fvu"]["shards"]),
            in_short(row["fvu"]["memory"]),
            *(
                f"{row['pace'][name]:.2f}" if row["pace"] else ""
                for name in ("memory map", "shards")
            ),
            len(row["fvu"]["shards"]),
        )
        for row in results.values()
    ]
    return Table(header, rows)


def checkpoints_table(results):
    """Return what became of fits that were killed."""
    rows = [
        (
            fit["seed"],
            fit["kills"],
            fit["states_at_kill"][-1],
            fit["files_read"],
            fit["unreadable"],
            "yes" if fit["equal"] else "no",
        )
        for result in results.values()
        for fit in result["fits"]
    ]
    return Table(("seed", "kills", "states until then", "read", "torn", "equal"), rows)


def checkpoint_costs_table(results):
    """Return what keeping a state takes."""
    rows = [
        (
            f"{cost['weights']:,}",
            f"{cost['bytes'] / 1e6:.1f}",
            f"{1000 * cost['seconds_to_keep']:.0f}",
            cost["states"],
        )
        for result in results.values()
        for cost in result["costs"].values()
    ]
    return Table(("weights", "file, MB", "median milliseconds", "states"), rows)


def processes_table(results):
    """Return how fast two processes train one model."""
    header = (
        "estimator",
        "one, samples/s",
        "two, samples/s",
        "ratio",
        "possible",
        "loss",
        "rounds",
        "load average",
    )
    rows = [
        (
            name,
            f"{row['one']:,.0f}",
            f"{row['two']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{2 * row['alone_beside']:.2f}",
            f"{row['loss']:.0e}",
            len(row["rounds"]),
            f"{result['load']:.0f}",
        )
        for result in results.values()
        for name, row in result["estimators"].items()
    ]
    return Table(header, rows)


def many_models_table(results):
    """Return how long a search takes on each backend."""
    header = (
        "backend",
        "first, seconds",
        "later, median seconds",
        "ratio",
        "rounds",
        "load average",
    )
    rows = [
        (
            name,
            f"{row['first']:.1f}",
            f"{row['median']:.1f}",
            f"{row['ratio']:.2f}",
            len(row["seconds"]),
            f"{result['machine']['load']:.0f}",
        )
        for result in results.values()
        for name, row in result["backends"].items()
    ]
    return Table(header, rows)


def many_models_bytes_table(results):
    """Return how large is what a search sends."""
    rows = [
        (name, f"{size:,}") for result in results.values() for name, size in result["bytes"].items()
    ]
    return Table(("pickled", "bytes"), rows)


def in_short(values):
    """Return the mean of some values, and the largest in parentheses."""
    return f"{mean(values):.3f} ({max(values):.3f})" if values else ""
