"""
Short codes of digits, beside PCA
=================================

How many numbers does a handwritten digit take? PCA keeps the same components for all digits. Here
each digit keeps the latents that it needs most. Both are compared at equal numbers per digit, on
digits that were not used in training.
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.inspection import ReconstructionSparsityDisplay
from skvaeense.penalties import BatchTopK

train, test = train_test_split(load_digits().data, test_size=400, random_state=0)

# %%
# A sparse autoencoder is told how many latents to use, 12 on average. The transformer finds that
# by itself; the dots mark where each of them stands.
vaeense = VAEenseTransformer(32, n_init=1, random_state=0).fit(train)
sparse = SparseAutoencoder(64, penalty=BatchTopK(12), random_state=0).fit(train)
pca = PCA().fit(train)

# %%
# The curves keep only the entries that add most to the reconstruction.
display = ReconstructionSparsityDisplay.from_estimators([vaeense, sparse, pca], test)

# %%
# The count of numbers leaves out which latents they belong to. Dense codes have no need to say
# that, so for compression the gain is smaller than the picture shows.
