"""
The meaning of latents
======================

A classifier of digits reads reconstructions of test images, from codes without one of the latents.
How much does the classifier lose, and on which digits? ``benchmarks/paper/interpretability.py``
measured the numbers; see :doc:`/benchmarks/paper`.
"""

import numpy as np
from matplotlib import pyplot as plt
from paper_results import GREY, load, methods, select, style

rows = load("interpretability")["digits"]
names = methods(rows, "model")

# %%
# In the left panel, latents are sorted by the change of the loss without each latent, averaged over
# seeds. The right panel shows how much of this change falls on the digit that loses most. Each
# marker is one seed, averaged over the latents of its fit. The grey marks show the same share for
# random groups of images, each as large as the group of a digit. For VAEase and top-k the share is
# far above the grey marks, and for the VAE it is less far above.
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

# sphinx_gallery_start_ignore
gains = {}
for name in names:
    fits = select(rows, model=name)
    gain = [row["log_loss_class_share"] - row["log_loss_class_share_by_chance"] for row in fits]
    assert min(gain) > 0
    gains[name] = np.mean(gain)
assert min(gains["VAEase"], gains["SAE top-k"]) > 1.2 * gains["VAE"]
# sphinx_gallery_end_ignore
