"""
Latents as images
=================

A linear decoder writes each digit as a sum of images, one for each active latent. What do these
images look like, and which images does a digit use?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from skvaeense import SparseAutoencoder
from skvaeense.inspection import LatentDisplay
from skvaeense.nets.penalties import BatchTopK

X, y = load_digits(return_X_y=True)
sparse = SparseAutoencoder(40, penalty=BatchTopK(8), random_state=0).fit(X)

# %%
# Each image adds ink where it is red, and takes ink away where it is blue. Latents that are active
# in most digits come first:
active = sparse.active_dimensions(X)
order = np.argsort(-active.mean(axis=0))
display = LatentDisplay.from_estimator(sparse, image_shape=(8, 8), latents=order)

# %%
# Digits share latents, but each digit has favourites: latents that are active for most images of
# this digit, and for few others.
shares = np.array([active[y == digit].mean(axis=0) for digit in range(10)])
latents = np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
image = ax.imshow(shares[:, latents], cmap="Blues", vmin=0, vmax=1, aspect="auto")
figure.colorbar(image, label="Share of images")
ax.set_xticks(range(40), latents, rotation=90)
ax.set_yticks(range(10))
ax.set(xlabel="Latents, by the digit that uses them most", ylabel="Digit")

# %%
# One digit as a sum: first the origin, then the image that each active latent adds, starting with
# the largest code, then the sum of these images, and last the digit itself.
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

# sphinx_gallery_start_ignore
assert np.allclose(images[-2][1], origin + sum(image for _, image in images[1:-2]), atol=1e-3)
assert np.corrcoef(images[-2][1], X[0])[0, 1] > 0.85
favourites = (shares > 0.5) & (shares > 2 * active.mean(axis=0))
assert favourites.any(axis=1).sum() >= 8
assert ((shares > 0.1).sum(axis=0) > 1).mean() > 0.8
# sphinx_gallery_end_ignore
