"""
Coming from PCA: scores in the same nats
========================================

``PCA.score`` is a log-density in nats per sample. The score of the transformer is a log-density,
too.
"""

from matplotlib import pyplot as plt
from sklearn.decomposition import PCA

from skvaeense import VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces, make_ppca
from skvaeense.inspection import ReconstructionSparsityDisplay

# %%
# Where PCA is right
# ------------------
#
# This data is drawn from the model of probabilistic PCA. ``PCA`` learns the parameters of this
# model, and no density has a better expected score than the true model. The second transformer is
# the model of the paper, which starts from random weights, and learns to open its latents for each
# sample.
X = make_ppca(4000, n_components=5, n_features=20, random_state=0)[0]
train, test = X[:3500], X[3500:]
pca = PCA(5).fit(train)
vaeense = VAEenseTransformer(random_state=0).fit(train)
vaease = VAEenseTransformer(5, model=VAEase(n_init=1), random_state=0).fit(train)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
scores = {
    "score_samples": vaeense.score_samples(test),
    "score_samples, VAEase": vaease.score_samples(test),
    "elbo_samples, VAEase": vaease.elbo_samples(test),
}
gains = {name: values - pca.score_samples(test) for name, values in scores.items()}
for (name, gain), colour in zip(gains.items(), ("#0072B2", "#009E73", "#D55E00"), strict=True):
    label = f"{name}: {gain.mean():+.2f} on average"
    ax.hist(gain, bins=40, range=(-1, 4), alpha=0.6, color=colour, label=label)
ax.axvline(0, color="black", linewidth=1)
ax.set(xlabel="score minus the score of PCA, nats", ylabel="samples", yscale="log")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# The densities of both transformers are as good as PCA's. The evidence lower bound of the second
# transformer is higher than the true log-density, because opening a latent for a single sample
# costs nothing. So with the gate the evidence lower bound is not a bound on a log-density. See
# :ref:`score`.
#
# Where PCA is not
# ----------------
#
# On a union of three subspaces of dimension 3, PCA needs nine components for every sample. The
# transformer needs three latents for each sample. The curves compare reconstructions from the same
# number of latents.
X, _, _ = make_linear_subspaces(4000, dims=(3, 3, 3), n_features=20, random_state=0)
train, test = X[:3500], X[3500:]
vaeense = VAEenseTransformer(18, random_state=0).fit(train)
pca = PCA().fit(train)

display = ReconstructionSparsityDisplay.from_estimators([vaeense, pca], test)

# sphinx_gallery_start_ignore
means = [gain.mean() for gain in gains.values()]
assert abs(means[0]) < 0.1
assert abs(means[1]) < 0.1
assert means[2] > 0.5
codes = vaeense.transform(test)
assert 2.8 < (codes != 0).sum(axis=1).mean() < 3.2
left = (test - vaeense.inverse_transform(codes)).var() / test.var()
parts = pca.transform(test)
assert left < 0.001
assert (parts[:, 8:] ** 2).sum() / (parts**2).sum() > 0.01
assert (parts[:, 9:] ** 2).sum() / (parts**2).sum() < 0.001
# sphinx_gallery_end_ignore
