"""Time of training steps, transforms and whole fits, each beside a baseline.

    python -m benchmarks speed WHAT [--threads 1] [--repeats 5]

WHAT is one of:

* `step`: the time of a training step, as a ratio to the time of its matrix products alone (the
  floor), beside loops written by hand;
* `transform`: the time of a transform, as a ratio to the time of PCA with the same number of
  components;
* `draw`: the picture of `step`.

Compared functions are timed in turn in one process, in CPU seconds, or in wall-clock seconds with
more than one thread. Medians are saved.
"""

import numpy as np

from benchmarks.common import RESULTS, load, make_parser, run_task, save
from benchmarks.guards.steps import SHAPES, TRANSFORM_SIZES, steps, transform_ratios

FILE = RESULTS / "speed.json"


def threads(arguments):
    """Return the number of threads as it is written in the results."""
    return f"{arguments.threads} thread" + "s" * (arguments.threads > 1)


def run_step(arguments):
    """Time the training steps of the chosen shapes."""
    key = f"step, {threads(arguments)}"
    rows = {(row["step"], row["shape"]): row for row in load(FILE).get(key, [])}
    for step in steps():
        if step.shape in arguments.only:
            row = {"step": step.name, "shape": step.shape} | step.measure(arguments.repeats)
            rows[step.name, step.shape] = row
            ratios = {name: round(ratio, 2) for name, ratio in row["ratios"].items()}
            print(step.name, step.sizes, ratios, flush=True)
            save(FILE, key, list(rows.values()))


def run_transform(arguments):
    """Time the transform of samples beside PCA's."""
    rows = []
    for d, k in TRANSFORM_SIZES:
        ratios = transform_ratios(d, k, arguments.repeats)
        rows.append({"n_features": d, "n_components": k, "ratios": ratios})
        print(rows[-1], flush=True)
    save(FILE, "transform", rows)


def run_draw(arguments):
    """Draw the ratios of training steps: one row for each step, with the floor at 1."""
    from matplotlib import pyplot as plt

    rows = load(FILE)["step, 1 thread"]
    labels = [f"{r['step']}: {r['n_features']} to {r['n_components']}" for r in rows]
    figure, ax = plt.subplots(figsize=(7.5, 0.6 + 0.42 * len(rows)))
    places = np.arange(len(rows))[::-1]
    ax.axvline(1, color="0.5", lw=1)
    styles = {
        "ours": ("this library", "#0072B2", "o"),
        "gathered": ("by hand, gathered batches", "#D55E00", "s"),
        "collated": ("by hand, collated batches", "#E69F00", "^"),
    }
    for name, (label, colour, marker) in styles.items():
        ratios = [row["ratios"][name] for row in rows]
        ax.plot(ratios, places, marker, color=colour, label=label, ms=7)
    ax.set_yticks(places, labels)
    ax.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.set_xlabel("time of a step / time of its matrix products")
    figure.legend(*ax.get_legend_handles_labels(), frameon=False, loc="upper center", ncols=3)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(FILE.with_suffix(".png"), dpi=110)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, only=SHAPES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    run_task(parser, run_step, run_transform, run_draw)
