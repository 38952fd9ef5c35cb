"""
Fewer latents than dimensions
=============================

Subspaces of dimension 4, in 40 dimensions: three of them have 12 dimensions together, and ten have
40. What does VAEense do with fewer latents than that? The numbers are those that
``benchmarks/paper/few_latents.py`` measured; see :doc:`/user_guide/paper`.
"""

from matplotlib import pyplot as plt
from paper_results import BLUE, GREY, ORANGE, draw_spread, load, select, style, values

rows = load("few_latents")["fits"]
unions = values(rows, "n_subspaces")

# %%
# The upper panels have what is left unexplained of samples that were not used in training, and what
# PCA leaves with as many components; the lower ones have how many latents are active for a sample,
# and how many for any. Markers are means over seeds, bars reach from the least to the most. On the
# right of the dotted line there are as many latents as dimensions, or more.
figure, axes = plt.subplots(
    2, len(unions), figsize=(10, 6), sharex="col", layout="constrained", squeeze=False
)
for (above, below), n_subspaces in zip(axes.T, unions, strict=True):
    union = select(rows, n_subspaces=n_subspaces)
    sizes = sorted(values(union, "n_components"))
    fits = [select(union, n_components=n) for n in sizes]
    for key, name in (("pca_fvu", "PCA"), ("fvu", "VAEense")):
        draw_spread(above, sizes, [[row[key] for row in seeds] for seeds in fits], **style(name))
    in_use = [[row["in_use"] for row in seeds] for seeds in fits]
    active = [[row["active"] for row in seeds] for seeds in fits]
    draw_spread(below, sizes, in_use, color=ORANGE, marker="^", label="VAEense: in use for any")
    draw_spread(below, sizes, active, color=BLUE, marker="o", label="VAEense: active for a sample")
    below.axhline(4, color=GREY, linewidth=0.8, linestyle="--", label="dimension of a subspace")
    for ax in (above, below):
        ax.axvline(min(4 * n_subspaces, 40), color=GREY, linestyle=":")
        ax.grid(axis="y", alpha=0.3)
    above.set(title=f"{n_subspaces} subspaces", ylim=(-0.03, 1.03))
    below.set(xlabel="latents, or components", ylim=(0, None))
axes[0, 0].set(ylabel="fraction of variance unexplained")
axes[1, 0].set(ylabel="latents")
for ax in axes[:, -1]:
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)

# %%
# Which subspaces are given up? Each dot is one subspace of one seed.
figure, axes = plt.subplots(
    1, len(unions), figsize=(10, 3.4), sharey=True, layout="constrained", squeeze=False
)
axes[0, 0].set(ylabel="unexplained variance of a subspace")
for ax, n_subspaces in zip(axes[0], unions, strict=True):
    union = select(rows, n_subspaces=n_subspaces)
    sizes = sorted(values(union, "n_components"))
    for place, n in enumerate(sizes):
        seeds = select(union, n_components=n)
        for i, row in enumerate(seeds):
            x = place + 0.5 * ((i + 0.5) / len(seeds) - 0.5)
            y = row["fvu_by_subspace"]
            ax.plot([x] * len(y), y, "o", color=BLUE, markersize=4, alpha=0.5)
    ax.set_xticks(range(len(sizes)), sizes)
    ax.set(title=f"{n_subspaces} subspaces", xlabel="latents", ylim=(-0.05, 1.1))
    ax.grid(axis="y", alpha=0.3)
