"""
The paper's first table
=======================

Samples lie on three random subspaces of dimension 4, in 40 dimensions, and each model has 20
latents. How many latents does a model use for a sample? ``benchmarks/paper/subspaces.py`` measured
the numbers; see :doc:`/benchmarks/paper`.
"""

from matplotlib import pyplot as plt
from paper_results import GREY, load, methods, select, style

rows = load("subspaces")["fits"]
names = methods(rows, "model")

# %%
# On the left each dot is one subspace of one seed. In the middle and on the right each dot is one
# seed. The samples were not used in training. Sparse autoencoders are told to use 4 latents.
figure, axes = plt.subplots(
    1, 3, figsize=(10, 3.4), sharey=True, layout="constrained", width_ratios=(5, 3, 3)
)
for i, name in enumerate(names):
    fits = select(rows, model=name)
    dots = style(name, linestyle="none", alpha=0.7, markersize=6)
    # Dots of one model lie one below the other, in the order of seeds.
    for j, row in enumerate(fits):
        y = i + 0.5 * (j / max(1, len(fits) - 1) - 0.5)
        axes[0].plot(row["by_subspace"], [y] * len(row["by_subspace"]), **dots)
        axes[1].plot(row["exact"], y, **dots)
        axes[2].plot(row["fvu"], y, **dots)
paper = {name: n for name, n in (("VAEase", 4), ("VAE", 13)) if name in names}
places = [names.index(name) for name in paper]
ends = [[place + sign * 0.45 for place in places] for sign in (-1, 1)]
axes[0].vlines(list(paper.values()), *ends, GREY, linewidth=4, label="the paper's number", zorder=0)
axes[0].legend(handles=[axes[0].collections[0]], loc="upper right", frameon=False)
axes[0].set_yticks(range(len(names)), names)
axes[0].invert_yaxis()
axes[0].set(xlabel="active latents per sample, mean", xlim=(0, 20), xticks=range(0, 21, 4))
axes[1].set(xlabel="samples with exactly 4", xlim=(-0.05, 1.05))
axes[1].xaxis.set_major_formatter("{x:.0%}")
axes[2].set(xlabel="fraction of variance unexplained", xscale="log")
for ax in axes:
    ax.grid(axis="x", alpha=0.3)
    for i in range(1, len(names)):
        ax.axhline(i - 0.5, color="0.85", linewidth=0.8)

# sphinx_gallery_start_ignore
assert all(row["exact"] > 0.99 for row in select(rows, model="default"))
assert all(min(row["by_subspace"]) > 11.9 for row in select(rows, model="VAE"))
for name in ("SAE L1", "SAE log", "SAE top-k"):
    assert all(abs(n - 4) < 0.5 for row in select(rows, model=name) for n in row["by_subspace"])
# sphinx_gallery_end_ignore

# %%
# A sample of a subspace of dimension 4 needs four numbers, and the default of VAEenseTransformer
# uses four latents for every sample. The VAE, which has no gate, uses the same latents for all
# samples. The three subspaces have 12 dimensions together, so the VAE needs at least 12 latents,
# and uses no more.
