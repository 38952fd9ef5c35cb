"""
Local minima
============

Training goes downhill, and can end in a local minimum. How many local minima does the loss of one
latent have? How often does training come near the best loss? ``benchmarks/paper/minima.py``
measured the numbers; see :doc:`/benchmarks/paper`.
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
# rate all fits to digits came 95 % of the way, and most fits to subspaces. At four times this rate
# no fit of VAEase to digits did, and at a quarter of this rate no fit of VAEase to subspaces did.
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
        assert all(came[1]) if data == "MNIST" else np.mean(came[1]) > 0.5
        assert model != "VAEase" or not any(came[4 if data == "MNIST" else 0.25])
# sphinx_gallery_end_ignore
