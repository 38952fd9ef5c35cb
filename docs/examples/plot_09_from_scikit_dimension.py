"""
Coming from scikit-dimension
============================

Attributes have the same names as in scikit-dimension: ``dimension_`` for the whole set,
``dimension_pw_`` for each sample. The method `predict` is new: it takes samples that were not in
the set.
"""

import numpy as np
from matplotlib import pyplot as plt

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.inspection import ActiveDimensionDisplay

# %%
# The whole set
# -------------
#
# As ``skdim.id.lPCA().fit(X).dimension_``:
X, _, dimension = make_linear_subspaces(
    2500, dims=(1, 3, 5), n_features=15, random_state=0, offset_scale=1.0
)
train, test = X[:2000], X[2000:]
autoencoder = VAEenseTransformer(random_state=0)
estimator = IntrinsicDimensionEstimator(autoencoder, random_state=0).fit(train)
print(f"{estimator.dimension_:.2f} ± {estimator.dimension_std_:.2f}")

# %%
# Each sample
# -----------
#
# As ``skdim.id.lPCA().fit_pw(X).dimension_pw_``:
display = ActiveDimensionDisplay(estimator.dimension_pw_, dimension[:2000]).plot()

# %%
# New samples
# -----------
#
# In scikit-dimension ``transform`` ignores its argument. Here `predict` gives the dimension of each
# new sample, and a standard error:
new, std = estimator.predict(test, return_std=True)
print(f"right for {(new == dimension[2000:]).mean():.1%} of {len(test)} new samples")

# %%
# The dimension by distances may depend on the number of neighbours. The more level a line is, the
# more you can trust the dimension. Lines are medians, and bands hold half of the samples:
n_neighbors, by_scale = estimator.dimension_scale(test)
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for r in (1, 3, 5):
    quartiles = np.nanquantile(by_scale[dimension[2000:] == r], (0.25, 0.5, 0.75), axis=0)
    ax.plot(n_neighbors, quartiles[1], marker="o", label=f"dimension {r}")
    ax.fill_between(n_neighbors, quartiles[0], quartiles[2], alpha=0.15)
ax.set_xticks(n_neighbors)
ax.set(xlabel="Number of neighbours", ylabel="Dimension by distances", ylim=(0, 6))
ax.legend(ncols=3)

# sphinx_gallery_start_ignore
assert abs(estimator.dimension_ - dimension[:2000].mean()) < 0.1
assert (new == dimension[2000:]).mean() > 0.98
assert (estimator.dimension_pw_ == dimension[:2000]).mean() > 0.98
# sphinx_gallery_end_ignore

# %%
# :ref:`coming_from_skdim` has a table of all names.
