"""The table of the default model on data of many kinds."""

from table import Table


def kinds_table(results):
    """Return lengths, what codes leave, and log-densities, beside PCA and GaussianMixture."""
    header = (
        *("data", "explanation", "active latents", "components for 95 %", "unexplained"),
        *("log-density", "GaussianMixture", "least gain", "CPU s", "warned", "runs"),
    )
    rows = []
    for row in results.get("summary", []):
        density = [""] * 3
        if row["has_density"]:
            names = ("score_mean", "mixture_mean", "least_gain")
            density = [f"{row[name]:.2f}" for name in names]
        lengths = f"{row['l0_mean']:.1f}", f"{row['components_mean']:.1f}"
        seconds = f"{row['cpu_seconds_mean']:.1f}"
        left = f"{row['fvu_mean']:.3f}"
        cells = (row["kind"], row["explanations"], *lengths, left, *density, seconds)
        warned = f"{row['signs_of_failure_mean']:.0%}"
        rows.append((*cells, warned, row["n_seeds"]))
    return Table(header, rows)
