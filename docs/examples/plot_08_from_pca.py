"""
Coming from PCA: scores in the same nats
========================================

``PCA.score`` is a log-density in nats per sample. So is the transformer's score, with a linear
decoder.
"""

from matplotlib import pyplot as plt
from sklearn.decomposition import PCA

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_ppca
from skvaeense.inspection import ReconstructionSparsityDisplay

# %%
# Where PCA is right
# ------------------
#
# This data is drawn from the model of probabilistic PCA, so no normalised model has a better
# score than the true one, of which ``PCA`` has learned the parameters.
X = make_ppca(4000, n_components=5, n_features=20, random_state=0)[0]
train, test = X[:3500], X[3500:]
pca = PCA(5).fit(train)
vaeense = VAEenseTransformer(random_state=0).fit(train)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
scores = {"score_samples": vaeense.score_samples(test), "elbo_samples": vaeense.elbo_samples(test)}
for (name, values), colour in zip(scores.items(), ("#0072B2", "#D55E00"), strict=True):
    gain = values - pca.score_samples(test)
    ax.hist(gain, bins=40, alpha=0.6, color=colour, label=f"{name}: {gain.mean():+.2f} on average")
ax.axvline(0, color="black", linewidth=1)
ax.set(xlabel="score minus that of PCA, nats", ylabel="samples")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# The density is as good as PCA's. The evidence lower bound, which training maximises, is higher:
# how far latents open is chosen for each sample at no cost, so it is not a bound on a normalised
# density.
# See :ref:`score`.
#
# Where PCA is not
# ----------------
#
# On a union of subspaces PCA needs the components of all of them for every sample. The curves are
# reconstructions at equal numbers per sample.
X, _, _ = make_linear_subspaces(4000, dims=(3, 3, 3), n_features=20, random_state=0)
train, test = X[:3500], X[3500:]
vaeense = VAEenseTransformer(18, n_init=1, random_state=0).fit(train)
pca = PCA().fit(train)

display = ReconstructionSparsityDisplay.from_estimators([vaeense, pca], test)
