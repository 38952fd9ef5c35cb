"""
Short codes of digits, beside PCA
=================================

How many numbers does a handwritten digit take? PCA keeps the same components for all digits. The
autoencoders keep the latents that matter most for each digit. The comparison is at the same mean
number of latents, on digits that were not used in training.
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.inspection import ReconstructionSparsityDisplay
from skvaeense.nets.penalties import BatchTopK

train, test = train_test_split(load_digits().data, test_size=400, random_state=0)

# %%
# The sparse autoencoder is told to use 12 latents on average. The transformer uses the latents that
# keep 95 % of the variance. The dots mark these two models.
vaeense = VAEenseTransformer(random_state=0).fit(train)
sparse = SparseAutoencoder(64, penalty=BatchTopK(12), random_state=0).fit(train)
pca = PCA().fit(train)

# %%
# From right to left along a curve, codes keep fewer and fewer entries: the entries that add most to
# the reconstruction. Both autoencoders leave less unexplained than PCA with the same number of
# entries.
display = ReconstructionSparsityDisplay.from_estimators([vaeense, sparse, pca], test)
display.ax_.set(xlim=(0, 30), ylim=(0.01, 1))

# sphinx_gallery_start_ignore
principal = pca.transform(test)
for model in (vaeense, sparse):
    codes = model.transform(test)
    error = ((test - model.inverse_transform(codes)) ** 2).sum()
    length = (codes != 0).sum(axis=1).mean()
    assert error < 0.8 * (principal[:, int(length) + 1 :] ** 2).sum()
    assert model is vaeense or 11 < length < 13
    assert model is sparse or 0.03 < error / (principal**2).sum() < 0.08
# sphinx_gallery_end_ignore

# %%
# A sparse code must also record which latents are active. The picture does not count this storage,
# so the gain in compression is smaller than the picture shows.
