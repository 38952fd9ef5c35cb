"""Results of the paper's experiments, and a style for each method, for the example pictures.

The measuring scripts are in `benchmarks`, and their results are in `benchmarks/results`.
"""

import json
from pathlib import Path

import numpy as np

from skvaeense.inspection._displays import BLUE, GREEN, ORANGE, PURPLE, RED

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"

GREY = "#777777"
# Colour, marker and dashes of each method, in the order of legends.
STYLES = {
    "VAEase": (BLUE, "o", "-"),
    "default": ("black", "*", "-"),
    "VAE": (RED, "s", "-"),
    "SAE L1": (ORANGE, "^", "-"),
    "SAE log": (PURPLE, "v", "-"),
    "SAE top-k": (GREEN, "D", "-"),
    "PCA": (GREY, "o", "--"),
}


def read(name):
    """Return a file of results."""
    paths = RESULTS / name, RESULTS / "archive" / name
    path = next(path for path in paths if path.exists())
    return json.loads(path.read_text(encoding="utf-8"))


def load(name):
    """Return the tables of an experiment, of the quick size if there is one."""
    results = read(f"paper/{name}.json")
    return results.get("quick") or results["full"]


def select(rows, **wanted):
    """Return the rows with the given values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def values(rows, key):
    """Return the different values of a key, in the order of the rows."""
    return list(dict.fromkeys(row[key] for row in rows))


def methods(rows, key="method"):
    """Return the methods in the rows, in the order of legends."""
    there = {row[key] for row in rows}
    return [method for method in STYLES if method in there]


def style(method, **more):
    """Return the matplotlib keywords for the line of a method."""
    color, marker, dashes = STYLES[method]
    return {"color": color, "marker": marker, "linestyle": dashes, "label": method} | more


def draw_spread(ax, x, groups, **kwargs):
    """Draw a line through the means of groups, and bars from their smallest to largest values."""
    means = np.array([np.mean(group) for group in groups])
    reach = means - [min(group) for group in groups], [max(group) for group in groups] - means
    # The mean of equal numbers may differ from them by rounding.
    return ax.errorbar(x, means, np.maximum(reach, 0), capsize=3, markersize=5, **kwargs)


def draw_frontier(ax, rows, shift=0.012):
    """Draw the error of each method at each level, spread over seeds; levels have a log scale.

    Methods are side by side at a level, shifted by the share `shift` of the level.
    """
    names = methods(rows)
    for i, method in enumerate(names):
        chosen = sorted(select(rows, method=method), key=lambda row: row["level"])
        x = [row["level"] * (1 + shift * (i - (len(names) - 1) / 2)) for row in chosen]
        draw_spread(ax, x, [row["errors"] for row in chosen], **style(method))
    levels = sorted(set(values(rows, "level")))
    ax.set(xscale="log", yscale="log", xlabel="active latents per sample, mean")
    ax.set_xticks(levels, [str(level) for level in levels])
    ax.minorticks_off()


def plain_log_axis(axis):
    """Label a logarithmic axis with plain numbers."""
    from matplotlib import ticker

    axis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(ticker.NullLocator())
