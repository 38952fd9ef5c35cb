"""
Convergence from random weights
===============================

How often does training from random weights find the dimension of the samples?
``benchmarks/paper/convergence.py`` measured the numbers; see :doc:`/benchmarks/paper`.
"""

import numpy as np
from matplotlib import pyplot as plt
from paper_results import BLUE, GREY, ORANGE, load, select, values

rows = load("convergence")["fits"]
sources = values(rows, "data")
# A fit succeeds below this mean error of the count of active latents.
BOUNDS = {data: 0.5 if "atoms" in data else 0.05 for data in sources}
INITS = {
    1: ("one random init", BLUE, "o", "-"),
    5: ("best of five random inits", ORANGE, "D", "none"),
}


def interval(n_successes, n):
    """Return the bounds of Wilson's 95 % interval for a share."""
    share, z = n_successes / n, 1.96
    middle = share + z**2 / (2 * n)
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n)


# %%
# The upper panels show the share of seeds that succeed, with 95 % intervals. Each seed draws data
# and weights. The lower panels show the error that decides on success: the mean absolute difference
# between the number of active latents and the true dimension, for samples that were not used in
# training. Each dot is one seed, and a seed below the line has succeeded. The best of five random
# inits succeeds for all seeds of subspaces, and for none of atoms.
figure, axes = plt.subplots(
    2, len(sources), figsize=(10, 5.6), sharex=True, sharey="row", layout="constrained"
)
for (above, below), data in zip(axes.T, sources, strict=True):
    for n_init, (label, color, marker, line) in INITS.items():
        fits = select(rows, data=data, n_init=n_init)
        if not fits:
            continue
        steps = sorted(values(fits, "steps"))
        errors = np.array([[row["error"] for row in select(fits, steps=n)] for n in steps])
        successes = (errors < BOUNDS[data]).sum(axis=1)
        n = errors.shape[1]
        low, high = np.array([interval(k, n) for k in successes]).T
        # At the same number of steps, draw different inits, and different seeds, side by side.
        x = np.array(steps) * (1.0 if n_init == 1 else 1.3)
        spread = x[:, None] * np.linspace(0.9, 1.1, n)
        above.vlines(x, low, high, color, alpha=0.5)
        looks = {"color": color, "marker": marker, "label": label}
        above.plot(x, successes / n, linestyle=line, **looks)
        below.plot(spread, errors, linestyle="none", alpha=0.5, **looks)
    below.axhline(BOUNDS[data], color=GREY, linewidth=0.8)
    # Linear up to 0.01, so that there is room for 0.
    below.set_yscale("symlog", linthresh=0.01)
    below.set(xlabel="training steps", xscale="log", ylim=(-0.001, None))
    steps = sorted(values(rows, "steps"))
    below.set_xticks(steps, steps)
    below.minorticks_off()
    above.set(title=data.replace("R^40", r"$\mathbb{R}^{40}$"), ylim=(-0.05, 1.05))
    above.grid(axis="y", alpha=0.3)
axes[0, 0].set(ylabel="seeds that succeed")
axes[0, 0].yaxis.set_major_formatter("{x:.0%}")
axes[1, 0].set(ylabel="mean error of the count, latents")
axes[1, 0].set_yticks([0, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
handles, labels = axes[0, 0].get_legend_handles_labels()
legend = figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)

# sphinx_gallery_start_ignore
for data in sources:
    errors = [row["error"] for row in select(rows, data=data, n_init=5)]
    assert {error < BOUNDS[data] for error in errors} == {"atoms" not in data}
# sphinx_gallery_end_ignore
