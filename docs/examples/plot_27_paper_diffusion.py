"""
A diffusion model on gated codes
================================

A diffusion model learns to draw codes of digits, in which closed latents are exactly 0. A decoder
turns the codes into images. What do these images look like, and how do they score?
``benchmarks/paper/diffusion.py`` measured the numbers and drew the images;
see :doc:`/benchmarks/paper`.
"""

import base64
import zlib

import numpy as np
from matplotlib import pyplot as plt
from paper_results import GREY, STYLES, load, select, values

rows = load("diffusion")["samples"]
N_SHOWN = 10


def unpack(text):
    """Return images of 28 by 28 pixels: bytes, deflated, in base 64."""
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return pixels.reshape(-1, 28, 28)


# %%
# Each line shows one kind of sample: the first images that one seed drew. The right panels show the
# scores of all seeds, relative to test images. The Fréchet distance is low if samples and test
# images have similar distributions. Precision is the share of samples that look like test images,
# and recall is the share of test images that look like samples. Hollow markers are test images that
# the same model coded and decoded, so they show what the decoder alone loses. Diffusion on codes of
# VAEase has the highest precision of the drawn samples, and a larger distance and a lower recall
# than diffusion on codes of the VAE. Both diffusions draw better samples than the models without a
# diffusion.
kinds = [kind for kind in values(rows, "samples") if "images" in select(rows, samples=kind)[0]]
# Sort diffusions before samples that the models draw from their own priors.
kinds.sort(key=lambda kind: (kind != "training images", not kind.startswith("diffusion")))
scores = {"frechet": "Fréchet distance", "precision": "precision", "recall": "recall"}
# Lines of pictures and of scores have the same height, so that images stay square.
height = 0.59 * len(kinds) + 0.6
figure = plt.figure(figsize=(12, height))
room = {"left": 0.15, "right": 0.99, "top": 1 - 0.1 / height, "bottom": 0.5 / height}
grid = figure.add_gridspec(1, 4, width_ratios=(7.5, 2.2, 2, 2), wspace=0.1, **room)
pictures = figure.add_subplot(grid[0])
lines = []
for kind in kinds:
    images = unpack(select(rows, samples=kind)[0]["images"])[:N_SHOWN]
    lines.append(np.pad(np.hstack(images), ((2, 2), (0, 0))))
pictures.imshow(np.vstack(lines), cmap="gray_r", aspect="auto")
n_pixels = len(lines[0])
labels = [kind.replace(" on codes of ", "\non codes of ") for kind in kinds]
pictures.set_yticks([n_pixels * (i + 0.5) - 0.5 for i in range(len(kinds))], labels)
pictures.set_xticks([])
pictures.tick_params(length=0)
for spine in pictures.spines.values():
    spine.set_visible(False)
for i, (score, label) in enumerate(scores.items()):
    ax = figure.add_subplot(grid[i + 1])
    for j, kind in enumerate(kinds):
        model = kind.removeprefix("diffusion on codes of ").removesuffix(" itself")
        color, marker, _ = STYLES.get(model, (GREY, "*", ""))
        looks = {"color": color, "marker": marker, "linestyle": "none"}
        drawn = [row[score] for row in select(rows, samples=kind)]
        ax.plot(drawn, [j] * len(drawn), alpha=0.7, **looks)
        if kind.startswith("diffusion"):
            decoded = [row[score] for row in select(rows, samples=f"reconstructions by {model}")]
            ax.plot(decoded, [j] * len(decoded), fillstyle="none", alpha=0.7, **looks)
        ax.axhline(j + 0.5, color="0.85", linewidth=0.8)
    ax.set(xlabel=label, ylim=(len(kinds) - 0.5, -0.5), yticks=())
    ax.grid(axis="x", alpha=0.3)
    if score == "frechet":
        ax.set(xscale="log")
    else:
        ax.set(xlim=(-0.05, 1.05))

# %%
# How many latents are active in drawn codes, and in the codes of test images? Markers are the mean
# number, averaged over seeds. Bars reach one standard deviation, from image to image, to either
# side. Drawn codes of VAEase have more active latents than codes of test images.
figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
counted = [kind for kind in kinds if "active" in select(rows, samples=kind)[0]]
for j, kind in enumerate(counted):
    fits = select(rows, samples=kind)
    color, marker, _ = STYLES[kind.removeprefix("diffusion on codes of ")]
    for shift, end, fill in ((-0.15, "", "full"), (0.15, "_real", "none")):
        mean, std = (np.mean([row[key + end] for row in fits]) for key in ("active", "std"))
        looks = {"color": color, "marker": marker, "fillstyle": fill, "capsize": 3}
        ax.errorbar(mean, j + shift, xerr=std, linestyle="none", **looks)
ax.plot([], [], "o", color=GREY, label="drawn codes")
ax.plot([], [], "o", color=GREY, fillstyle="none", label="codes of test images")
ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
ax.set_yticks(range(len(counted)), [kind.removeprefix("diffusion on ") for kind in counted])
ax.invert_yaxis()
ax.set(xlabel="active latents per sample, mean and standard deviation", xlim=(0, None))
ax.grid(axis="x", alpha=0.3)

# sphinx_gallery_start_ignore
mean = {
    kind: {score: np.mean([row[score] for row in select(rows, samples=kind)]) for score in scores}
    for kind in kinds
}
ours, other = mean["diffusion on codes of VAEase"], mean["diffusion on codes of VAE"]
drawn = [kind for kind in kinds if kind != "training images"]
assert max(drawn, key=lambda kind: mean[kind]["precision"]) == "diffusion on codes of VAEase"
assert ours["frechet"] > other["frechet"]
assert ours["recall"] < other["recall"]
for name in ("VAEase", "VAE"):
    by_diffusion, itself = mean[f"diffusion on codes of {name}"], mean[f"{name} itself"]
    assert by_diffusion["frechet"] < itself["frechet"]
    assert by_diffusion["precision"] > itself["precision"]
    assert by_diffusion["recall"] > itself["recall"]
fits = select(rows, samples="diffusion on codes of VAEase")
assert np.mean([row["active"] for row in fits]) > 1.1 * np.mean(
    [row["active_real"] for row in fits]
)
# sphinx_gallery_end_ignore
