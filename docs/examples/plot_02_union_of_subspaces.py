"""
As many latents as each sample needs
====================================

Samples lie on three subspaces, of dimensions 1, 2 and 4. A variational autoencoder (VAE) uses the
same latents for all samples. In codes of VAEenseTransformer, each sample has one active latent for
each dimension of its subspace.
"""

import numpy as np
from matplotlib import pyplot as plt

from skvaeense import VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.inspection import ActiveDimensionDisplay

X, subspace, dimension = make_linear_subspaces(3000, dims=(1, 2, 4), n_features=12, random_state=0)
train, test, truth = X[:2500], X[2500:], dimension[2500:]
label = [f"dimension {r}" for r in truth]

# %%
# Neither model is told how many subspaces there are, or which subspace a sample lies on. The
# default finds the subspaces. The VAE is trained from random weights, for a set number of epochs;
# it is the model of the paper without its gate.
default = VAEenseTransformer(random_state=0).fit(train)
plain = VAEase(gated=False, n_init=1, max_iter=100)
vae = VAEenseTransformer(model=plain, random_state=0).fit(train)

# %%
# Rows are samples that were not used in training, by subspace, and columns are the latents in use,
# by the subspace that uses them most. Entries are darker for larger codes, and white if the latent
# is not active. On the left, each subspace has its own latents. On the right, all samples share the
# latents in use.
names, n_samples = np.unique(label, return_counts=True)
ends, rows = n_samples.cumsum(), np.argsort(truth, kind="stable")
figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for name, model, ax in (("VAEenseTransformer", default, axes[0]), ("VAE", vae, axes[1])):
    active = model.active_dimensions(test)
    used = np.flatnonzero(active.any(axis=0))
    shares = np.array([active[truth == r].mean(axis=0) for r in (1, 2, 4)])
    latents = used[np.argsort(shares.argmax(axis=0)[used], kind="stable")]
    sizes = np.abs(np.where(active, model.transform(test), 0))[rows][:, latents]
    shades = np.where(sizes > 0, 0.3 + 0.7 * sizes / sizes.max(axis=0), 0)
    ax.imshow(shades, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    ax.hlines(ends[:-1] - 0.5, -0.5, len(latents) - 0.5, color="black")
    ax.set_yticks(ends - n_samples / 2 - 0.5, names)
    ax.set_xticks(range(len(latents)), latents)
    ax.set(title=name, xlabel="Latent")

# %%
# On the left, the number of active latents of each sample is the dimension of its subspace.
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharex=True)
for name, model, ax in (("VAEenseTransformer", default, axes[0]), ("VAE", vae, axes[1])):
    ActiveDimensionDisplay.from_estimator(model, test, label, ax=ax)
    ax.set_title(name)

# sphinx_gallery_start_ignore
active = default.active_dimensions(test)
assert (active.sum(axis=1) == truth).mean() > 0.98
shares = [active[truth == r].mean(axis=0) for r in (1, 2, 4)]
assert ((sum(share > 0.5 for share in shares)) <= 1).all()
shares = vae.active_dimensions(test).mean(axis=0)
assert ((shares > 0.98) | (shares < 0.02)).all()
# sphinx_gallery_end_ignore
