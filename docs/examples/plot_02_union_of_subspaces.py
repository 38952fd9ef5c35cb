"""
As many latents as each sample needs
====================================

Samples lie on three subspaces, of dimension 1, 2 and 4. A variational autoencoder (VAE) uses the
same latents for all of them. With the gate, each sample opens as many as its own subspace has
dimensions.
"""

from matplotlib import pyplot as plt

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.inspection import ActiveDimensionDisplay, SparsityPatternDisplay

X, subspace, dimension = make_linear_subspaces(3000, dims=(1, 2, 4), n_features=12, random_state=0)
train, test, label = X[:2500], X[2500:], [f"dimension {r}" for r in dimension[2500:]]

# %%
# The two differ in one parameter. Neither is told how many subspaces there are, nor which sample
# lies on which. The gated one computes its init from the data, the VAE has a random one.
gated = VAEenseTransformer(n_init=1, random_state=0).fit(train)
vae = VAEenseTransformer(gated=False, n_init=1, max_iter=100, random_state=0).fit(train)

# %%
# Rows are samples that were not used in training, columns are latents. With the gate, each
# subspace has latents of its own, and a sample opens as many as its subspace has dimensions.
# Without it, every latent that is in use is in use for every sample.
figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for name, model, ax in (("gated", gated, axes[0]), ("VAE", vae, axes[1])):
    SparsityPatternDisplay.from_estimator(model, test, label, unused=True, ax=ax)
    ax.set_title(name)

# %%
# Counted for each sample, the open latents are the dimension of its subspace.
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharex=True)
for name, model, ax in (("gated", gated, axes[0]), ("VAE", vae, axes[1])):
    ActiveDimensionDisplay.from_estimator(model, test, label, ax=ax)
    ax.set_title(name)
