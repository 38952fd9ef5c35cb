"""
Local minima
============

Training goes downhill, and can end in a local minimum. How many local minima does the loss of one
latent have? How often does training come near the best loss? What does the loss look like around a
solution? ``benchmarks/paper/minima.py`` measured the numbers; see :doc:`/benchmarks/paper`.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import BoundaryNorm, ListedColormap
from paper_results import load, methods, select, style, values

tables = load("minima")

# %%
# One latent
# ----------
#
# A single sample is x times a decoder column of norm 1. The picture counts the local minima of the
# loss, as a function of the code. The value on the vertical axis decides how much an active latent
# costs: it is the noise variance of VAEase, or the coefficient of a sparse autoencoder's penalty.
# Both losses have one minimum in most places and two in others. With an L1 penalty the loss is
# convex, and has one minimum everywhere.
rows = tables["one_latent"]
maps = {
    "VAEase": "noise variance, squared units of x",
    "SAE log": "coefficient of the penalty, squared units of x",
}
counts = {model: np.array([r["n_minima"] for r in select(rows, model=model)]) for model in maps}
most = max(count.max() for count in counts.values())
shades = ListedColormap(["#E8E8E8", "#56B4E9", "#0072B2", "#000000"][:most])
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, (model, label) in zip(axes, maps.items(), strict=True):
    coefficients = [row["price"] for row in select(rows, model=model)]
    x = np.linspace(0, 2, counts[model].shape[1])
    norm = BoundaryNorm(np.arange(0.5, most + 1), most)
    grid = x, coefficients, counts[model]
    image = ax.pcolormesh(*grid, cmap=shades, norm=norm, shading="nearest")
    ax.set(title=model, xlabel="x", ylabel=label, yscale="log")
bar = figure.colorbar(image, ax=axes, label="local minima", ticks=range(1, most + 1))

# sphinx_gallery_start_ignore
assert all((count == 1).mean() > 0.5 for count in counts.values())
assert all((count == 2).mean() > 0.05 for count in counts.values())
assert all((count > 2).mean() < 0.01 for count in counts.values())
assert {r for row in select(rows, model="SAE L1") for r in row["n_minima"]} <= {1}
# sphinx_gallery_end_ignore

# %%
# Fits
# ----
#
# Each model was fitted with several seeds, at learning rates around its default. How far did a fit
# come? 0 % is the loss of an empty code, and 100 % is the best loss of this model on these samples.
# The upper panels show the share of fits that came at least 95 % of the way, and the lower panels
# the share that came 99 % of the way. Models are side by side at each learning rate. At the default
# rate all fits came 95 % of the way. At four times this rate no fit of VAEase to digits did, and
# at a quarter of this rate no fit of VAEase to subspaces did.
rows = tables["fits"]
sources, names = values(rows, "data"), methods(rows, "model")
figure, axes = plt.subplots(
    2, len(sources), figsize=(10, 5), sharex=True, sharey=True, layout="constrained", squeeze=False
)
for column, data in zip(axes.T, sources, strict=True):
    for i, model in enumerate(names):
        fits = select(rows, data=data, model=model)
        best = min(row["loss"] for row in fits if row["loss"] is not None)
        rates = sorted(values(fits, "rate"))
        for ax, near in zip(column, (0.95, 0.99), strict=True):
            shares = [
                np.mean(
                    [
                        row["loss"] is not None
                        and row["empty"] - row["loss"] >= near * (row["empty"] - best)
                        for row in select(fits, rate=rate)
                    ]
                )
                for rate in rates
            ]
            x = np.array(rates) * 1.06 ** (i - (len(names) - 1) / 2)
            ax.plot(x, shares, **style(model))
            ax.grid(axis="y", alpha=0.3)
    column[0].set(title=data, xscale="log", ylim=(-0.06, 1.06))
    column[1].set(xlabel="learning rate, multiples of the default")
    column[1].set_xticks(rates, [f"{rate:g}" for rate in rates])
    column[1].minorticks_off()
for ax, near in zip(axes[:, 0], ("95 %", "99 %"), strict=True):
    ax.set(ylabel=f"fits with {near} of the way")
    ax.yaxis.set_major_formatter("{x:.0%}")
handles, labels = axes[0, 0].get_legend_handles_labels()
legend = figure.legend(handles, labels, loc="outside right center", frameon=False)

# sphinx_gallery_start_ignore
for data in sources:
    for model in names:
        fits = select(rows, data=data, model=model)
        best = min(row["loss"] for row in fits if row["loss"] is not None)
        came = {rate: [] for rate in values(fits, "rate")}
        for row in fits:
            loss = row["empty"] if row["loss"] is None else row["loss"]
            came[row["rate"]].append(row["empty"] - loss >= 0.95 * (row["empty"] - best))
        assert all(came[1])
        assert model != "VAEase" or not any(came[4 if data == "MNIST" else 0.25])
# sphinx_gallery_end_ignore

# %%
# Planes
# ------
#
# All parameters of a fitted model are moved along two random directions. In each layer a direction
# has the norm of the parameters. The loss is measured on samples that were not used in training: 0
# is the lowest loss of the plane, and 1, the dashed line, is the loss of the empty code. The cross
# is the fitted model. The loss of VAEase rises fastest around the fitted model.
rows = tables["planes"]
levels = [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]
figure, axes = plt.subplots(
    len(sources),
    len(names),
    figsize=(10, 2.6 * len(sources)),
    sharex=True,
    sharey=True,
    layout="constrained",
    squeeze=False,
)
for line, data in zip(axes, sources, strict=True):
    for ax, model in zip(line, names, strict=True):
        (row,) = select(rows, data=data, model=model)
        losses = np.array(row["losses"])
        height = (losses - losses.min()) / (row["empty"] - losses.min())
        norm = BoundaryNorm(levels, 256, extend="max")
        grid = row["positions"], row["positions"], height.T
        image = ax.contourf(*grid, levels=levels, norm=norm, cmap="viridis_r", extend="max")
        ax.contour(*grid, levels=[1], colors="black", linestyles="--", linewidths=0.9)
        for color, width in (("white", 3.5), ("black", 1.5)):
            ax.plot(0, 0, "+", color=color, markersize=9, markeredgewidth=width)
        ax.set(title=f"{model}, {data}", aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
figure.supxlabel("first direction, norms of the parameters", fontsize="medium")
figure.supylabel("second direction", fontsize="medium")
bar = figure.colorbar(
    image, ax=axes, label="loss above the lowest", ticks=levels, format="%g", shrink=0.8
)

# sphinx_gallery_start_ignore
for data in sources:
    below = {}
    for row in select(rows, data=data):
        below[row["model"]] = (np.array(row["losses"]) < row["empty"]).mean()
    assert min(below, key=below.get) == "VAEase"
# sphinx_gallery_end_ignore
