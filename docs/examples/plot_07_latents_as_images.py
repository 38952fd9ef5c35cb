"""
Latents as images
=================

A linear decoder writes each digit as a sum of images, one for each active latent. What do these
images look like, and which of them does a digit use?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from skvaeense import SparseAutoencoder
from skvaeense.inspection import LatentDisplay, SparsityPatternDisplay
from skvaeense.penalties import BatchTopK

X, y = load_digits(return_X_y=True)
sparse = SparseAutoencoder(40, penalty=BatchTopK(8), random_state=0).fit(X)

# %%
# Strokes, and pieces of strokes:
display = LatentDisplay.from_estimator(sparse, image_shape=(8, 8), X=X)

# %%
# Digits share strokes, but each has its favourites.
display = SparsityPatternDisplay.from_estimator(sparse, X, y)

# %%
# One digit, taken apart: the origin, then its latents by what they add, then the sum of them all.
code = sparse.transform(X[:1])[0]
order = np.argsort(-code)[: np.count_nonzero(code)]
origin = sparse.inverse_transform(np.zeros((1, 40)))[0]
images = [
    ("origin", origin),
    *((f"{code[j]:.2f} of latent {j}", code[j] * sparse.components_[j]) for j in order),
    ("sum", sparse.inverse_transform(code[None])[0]),
    ("digit", X[0]),
]
figure, axes = plt.subplots(2, -(-len(images) // 2), figsize=(10, 4.4), layout="constrained")
for ax in axes.flat:
    ax.axis("off")
for ax, (name, image) in zip(axes.flat, images, strict=False):
    ax.imshow(image.reshape(8, 8), cmap="RdBu_r", vmin=-16, vmax=16)
    ax.set_title(name, fontsize=9)
