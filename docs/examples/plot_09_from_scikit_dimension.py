"""
Coming from scikit-dimension
============================

Attributes have the names of scikit-dimension: ``dimension_`` for the whole set, ``dimension_pw_``
for each sample. In addition there is `predict`, for samples that were not in the set.
"""

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
from skvaeense.datasets import make_affine_subspaces
from skvaeense.inspection import ActiveDimensionDisplay, DimensionScaleDisplay

# %%
# The whole set
# -------------
#
# As ``skdim.id.lPCA().fit(X).dimension_``:
X, _, dimension = make_affine_subspaces(2500, dims=(1, 3, 5), n_features=15, random_state=0)
train, test = X[:2000], X[2000:]
autoencoder = VAEenseTransformer(n_init=2, random_state=0)
estimator = IntrinsicDimensionEstimator(autoencoder, random_state=0).fit(train)
print(f"{estimator.dimension_:.2f} ± {estimator.dimension_std_:.2f}")

# %%
# Each sample
# -----------
#
# As ``skdim.id.lPCA().fit_pw(X).dimension_pw_``:
display = ActiveDimensionDisplay.from_dimensions(estimator.dimension_pw_, dimension[:2000])

# %%
# New samples
# -----------
#
# In scikit-dimension ``transform`` ignores its argument. Here there is an answer for new samples,
# with a standard error for each:
new, std = estimator.predict(test, return_std=True)
print(f"right for {(new == dimension[2000:]).mean():.1%} of {len(test)} new samples")

# %%
# Where the answer comes from neighbours, one can see how it depends on the scale: the lines should
# be level.
display = DimensionScaleDisplay.from_estimator(estimator, test, dimension[2000:])

# %%
# The table of all names is in :ref:`coming_from_skdim`.
