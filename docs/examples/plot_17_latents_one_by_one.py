"""
Latents one by one
==================

Which latents of a dictionary are worth a look? How often is each latent active, for which images,
what is lost without it, does another seed find it again, and do other latents take its place?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from skvaeense import SparseAutoencoder
from skvaeense.language import top_activating
from skvaeense.metrics import mean_max_cosine_similarity
from skvaeense.nets.penalties import TopK

X, y = load_digits(return_X_y=True)
fits = [
    SparseAutoencoder(60, penalty=TopK(8), max_iter=100, random_state=seed).fit(X)
    for seed in range(3)
]
sae = fits[0]
codes = sae.transform(X)

# %%
# How often
# ---------
#
# A latent that is active for nearly all images is a part of the mean. A latent that is hardly ever
# active is of little use, and one that is never active is dead:
density = (codes != 0).mean(axis=0)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(density[density > 0], bins=np.logspace(np.log10(0.5 / len(X)), 0, 31))
ax.axvline(0.1, color="black", linestyle="--")
ax.set(xscale="log", xlabel="Share of images in which a latent is active", ylabel="Latents")
ax.set_title(f"{(density == 0).sum()} dead, {(density > 0.1).sum()} active in over a tenth")

# %%
# What is lost without it
# -----------------------
#
# Each latent in turn is left out of all codes, and the squared errors of the images grow. In units
# of their variance, this is the growth of the fraction of variance unexplained. A latent can matter
# much to few images, or little to many:
errors = ((X - sae.inverse_transform(codes)) ** 2).sum(axis=1)
change = np.empty(len(density))
for j in range(len(density)):
    without = codes.copy()
    without[:, j] = 0
    growth = ((X - sae.inverse_transform(without)) ** 2).sum(axis=1) - errors
    change[j] = growth.mean() / X.var(axis=0).sum()
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
points = ax.scatter(density, change / density, c=change, cmap="viridis")
figure.colorbar(points, label="Growth over all images")
ax.set(xlabel="Share of images in which the latent is active", ylabel="Growth where it is active")
ax.set_title("Growth of the fraction of variance unexplained")

# %%
# For which images
# ----------------
#
# The four latents with the greatest effect, and the images with their largest codes:
latents = np.argsort(-change)[:4]
top = top_activating(sae, X, latents=latents, n_samples=10)
figure, axes = plt.subplots(4, 10, figsize=(8, 3.6), layout="constrained")
for ax, sample in zip(axes.flat, top.samples.ravel(), strict=True):
    ax.imshow(X[sample].reshape(8, 8), cmap="Greys")
    ax.axis("off")
for ax, latent in zip(axes[:, 0], latents, strict=True):
    ax.set_title(f"latent {latent}", fontsize=9, loc="left")

# %%
# With another seed
# -----------------
#
# A latent that represents something in the data should be found again. Nearly all atoms are closer
# to atoms of other seeds than random atoms are, but few are found again as they are. Random atoms
# are mixtures of the atoms, so that they use the same directions:
atoms, *others = (
    fit.components_ / np.linalg.norm(fit.components_, axis=1, keepdims=True) for fit in fits
)
similarity = np.mean([(atoms @ other.T).max(axis=1) for other in others], axis=0)
random = np.random.default_rng(0).standard_normal((60, 60)) @ atoms
chance = mean_max_cosine_similarity(atoms, random, signed=True)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(similarity, bins=np.linspace(0, 1, 41))
ax.axvline(chance, color="black", linestyle="--", label="by chance")
ax.set(xlabel="Largest cosine with atoms of other seeds", ylabel="Latents")
ax.legend()

# sphinx_gallery_start_ignore
assert (density > 0).all()
assert (density > 0.1).mean() > 0.5
assert change.min() > 0
assert (similarity > chance).mean() > 0.9
assert sum((np.bincount(y[row]) > 8).any() for row in top.samples) >= 3
# sphinx_gallery_end_ignore
