"""The table of fits to more samples than memory holds."""

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
            f"{row['pace']['memory map']:.2f}",
            f"{row['pace']['shards']:.2f}",
            len(row["fvu"]["shards"]),
        )
        for row in results.values()
    ]
    return Table(header, rows)


def in_short(values):
    """Return the mean of some values, and the largest in parentheses."""
    return f"{mean(values):.3f} ({max(values):.3f})"
