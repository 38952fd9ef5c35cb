"""
Fewer latents than dimensions
=============================

Three random subspaces of dimension 4 have 12 dimensions together, and ten have 40. What does
VAEase do with fewer latents? ``benchmarks/paper/few_latents.py`` measured the numbers; see
:doc:`/benchmarks/paper`.
"""

from matplotlib import pyplot as plt
from paper_results import BLUE, GREY, ORANGE, draw_spread, load, select, style, values

rows = load("few_latents")["fits"]
unions = values(rows, "n_subspaces")

# %%
# The upper panels show the fraction of variance that VAEase, and PCA with the same number of
# components, leave unexplained, for samples that were not used in training. The lower panels show
# two numbers of latents: the latents that are active for one sample, and the latents that are
# active for any sample. Markers are means over seeds, and bars reach from the smallest to the
# largest value. At the dotted line there is one latent for each dimension of the union. To the left
# of this line, VAEase has less than half of its latents active for a sample, and leaves a little
# more unexplained than PCA, which has all components for every sample. From this line on, VAEase
# explains everything, with 4 active latents; in one fit with 60 latents it has 4.3.
figure, axes = plt.subplots(
    2, len(unions), figsize=(10, 6), sharex="col", layout="constrained", squeeze=False
)
for (above, below), n_subspaces in zip(axes.T, unions, strict=True):
    union = select(rows, n_subspaces=n_subspaces)
    sizes = sorted(values(union, "n_components"))
    fits = [select(union, n_components=n) for n in sizes]
    for key, name in (("pca_fvu", "PCA"), ("fvu", "VAEase")):
        draw_spread(above, sizes, [[row[key] for row in seeds] for seeds in fits], **style(name))
    in_use = [[row["in_use"] for row in seeds] for seeds in fits]
    active = [[row["active"] for row in seeds] for seeds in fits]
    draw_spread(below, sizes, in_use, color=ORANGE, marker="^", label="VAEase: in use for any")
    draw_spread(below, sizes, active, color=BLUE, marker="o", label="VAEase: active for a sample")
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

# sphinx_gallery_start_ignore
for row in rows:
    if row["n_components"] < min(4 * row["n_subspaces"], 40):
        assert 0 < row["fvu"] - row["pca_fvu"] < 0.07
        assert row["active"] < 0.5 * row["n_components"]
    else:
        assert row["fvu"] < 1e-4
        assert 3.98 < row["active"] < (4.02 if row["n_components"] < 60 else 4.31)
# sphinx_gallery_end_ignore

# %%
# Does VAEase give up some subspaces and keep others? Each dot is one subspace of one seed. With
# too few latents, all subspaces lose a similar part of their variance, and no subspace is given up.
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

# sphinx_gallery_start_ignore
assert all(max(row["fvu_by_subspace"]) < 0.8 for row in rows)
assert all(max(row["fvu_by_subspace"]) < 3 * min(row["fvu_by_subspace"]) + 0.01 for row in rows)
# sphinx_gallery_end_ignore
