"""The tables of latents: the field's own test, and how probably a latent is a feature."""

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
        for row in results.get("summary", [])
    ]
    return Table(header, rows)


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
