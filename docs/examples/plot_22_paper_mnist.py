"""
Digits: error against active latents
====================================

The fewer latents of a code are active, the larger the error is. How large is the error of each
method? All methods have networks of the same size and the same number of steps.
``benchmarks/paper/mnist.py`` measured the numbers; see :doc:`/benchmarks/paper`.
"""

import numpy as np
from matplotlib import pyplot as plt
from paper_results import (
    BLUE,
    GREY,
    draw_frontier,
    draw_spread,
    load,
    methods,
    plain_log_axis,
    select,
    style,
)

rows = load("mnist")["chosen"]

# %%
# Squared errors of test images are summed over pixels, which have values from 0 to 1. For each mean
# number of active latents, each method has the setting that was best on validation images. Markers
# are means over seeds, and bars reach from the best seed to the worst. PCA has the largest errors.
# Top-k has the smallest errors after these ten epochs. At 10 and 20 active latents VAEase comes
# next.
figure, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
draw_frontier(ax, rows)
ax.set(ylabel="squared error per image")
plain_log_axis(ax.yaxis)
ax.grid(axis="y", alpha=0.3)
legend = ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)

# %%
# The left panel shows the mean number of active latents of each digit, for VAEase at three levels.
# The digit 1 needs the fewest. The right panel shows for all methods how much the number of active
# latents varies from image to image: the standard deviation of this number, divided by its mean.
# The number varies most with VAEase.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
chosen = sorted(select(rows, method="VAEase"), key=lambda row: row["level"])
for row, marker in zip(chosen, "osD^", strict=False):
    by_digit = np.array(row["by_label"]).T
    draw_spread(left, range(len(by_digit)), by_digit, color=BLUE, marker=marker, linestyle=":")
    left.axhline(row["level"], color=GREY, linewidth=0.8, zorder=0)
    left.text(12, row["level"], f"all: {row['level']}", color=GREY, ha="right", va="bottom")
left.set(xlabel="digit", ylabel="active latents per image, mean", xticks=range(10))
left.set(xlim=(-0.5, 12.2), ylim=(0, None))
names = methods(rows)
for i, method in enumerate(names):
    chosen = sorted(select(rows, method=method), key=lambda row: row["level"])
    # Methods are side by side.
    x = [row["level"] + 0.5 * (i - (len(names) - 1) / 2) for row in chosen]
    draw_spread(right, x, [np.divide(row["std"], row["active"]) for row in chosen], **style(method))
levels = sorted({row["level"] for row in rows})
right.set(xlabel="active latents per image, mean", ylabel="standard deviation / mean")
right.set_xticks(levels)
right.grid(axis="y", alpha=0.3)
legend = right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)

# sphinx_gallery_start_ignore
assert levels == [10, 20, 40]
mean, spread = (
    {(row["method"], row["level"]): np.mean(number(row)) for row in rows}
    for number in (lambda r: r["errors"], lambda r: np.divide(r["std"], r["active"]))
)
for level in levels:
    order = sorted(names, key=lambda name, level=level: mean[name, level])
    assert order[0] == "SAE top-k"
    assert level == 40 or order[1] == "VAEase"
    assert max(names, key=lambda name, level=level: mean[name, level]) == "PCA"
    assert max(names, key=lambda name, level=level: spread[name, level]) == "VAEase"
for row in select(rows, method="VAEase"):
    assert np.mean(row["by_label"], axis=0).argmin() == 1
# sphinx_gallery_end_ignore
