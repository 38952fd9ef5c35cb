"""
What latents stand for
======================

A classifier of digits reads reconstructions of test images, from codes in which one latent is left
out. How much does it lose, and on which digits? The numbers are those that
``benchmarks/paper/interpretability.py`` measured; see :doc:`/user_guide/paper`.
"""

import numpy as np
from matplotlib import pyplot as plt
from paper_results import GREY, load, methods, select, style

rows = load("interpretability")["digits"]
names = methods(rows, "model")

# %%
# On the left, latents are sorted by the change of the loss without them, a mean over seeds. On the
# right is the share of that change which falls to the digit that suffers most: a mean over the
# latents of a fit, one marker for each seed. The grey marks are what random groups of images, as
# large as the digits, would give.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for i, name in enumerate(names):
    fits = select(rows, model=name)
    changes = np.mean([row["log_loss_changes"] for row in fits], axis=0)
    left.plot(np.arange(1, len(changes) + 1), changes, **style(name, marker=None))
    place = i + np.linspace(-0.15, 0.15, len(fits))
    by_chance = [row["log_loss_class_share_by_chance"] for row in fits]
    right.plot(place, by_chance, "_", color=GREY, markersize=12)
    shares = [row["log_loss_class_share"] for row in fits]
    right.plot(place, shares, **style(name, linestyle=""))
left.axhline(0, color=GREY, linewidth=0.8)
left.set(xscale="log", xlabel="latents, sorted", ylabel="change of the log loss, nats")
left.legend(frameon=False)
right.set_xticks(range(len(names)), names)
right.set(ylabel="share of the digit that suffers most", ylim=(0, 1), xlim=(-0.5, len(names) - 0.5))
for ax in (left, right):
    ax.grid(axis="y", alpha=0.3)
