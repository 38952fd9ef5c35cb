"""
Finding out why a fit is bad
============================

Here training fails on purpose, in two ways. What do warnings and curves say, and what does a good
fit look like?
"""

import warnings

from sklearn.exceptions import ConvergenceWarning

from skvaeense import VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.inspection import ActiveDimensionDisplay, LossCurveDisplay

X, subspace, dimension = make_linear_subspaces(
    3000, dims=(2, 4), n_features=12, orthogonal=True, random_state=0
)
train, test, label = X[:2500], X[2500:], [f"dimension {r}" for r in dimension[2500:]]

# %%
# Collapse
# --------
#
# The first noise variance is far too high, and training is not long enough to bring it down. There
# is a warning.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    collapsed = VAEenseTransformer(
        12, noise_variance=100.0, n_init=2, max_iter=30, random_state=0
    ).fit(train)
print(caught[0].message)

# %%
# The curves agree: the divergence, which measures what codes say about samples, stays at 0.
display = LossCurveDisplay.from_estimator(collapsed)

# %%
# Too short
# ---------
#
# Too few epochs are a failure as well, but one that need not raise a warning: the signs are not
# proof. The curve tells, as it still falls steeply where training ends. The VAE with a given first
# noise variance has random inits, which need many steps.
short = VAEenseTransformer(12, n_init=2, max_iter=10, random_state=0).fit(train)
display = LossCurveDisplay.from_estimator(short)

# %%
# So the counts are wrong.
display = ActiveDimensionDisplay.from_estimator(short, test, label)

# %%
# Long enough
# -----------
#
# The default number of steps. There is no warning, the curves are flat at the end, and the counts
# are the dimensions.
good = VAEenseTransformer(12, n_init=2, random_state=0).fit(train)
display = LossCurveDisplay.from_estimator(good)

# %%
display = ActiveDimensionDisplay.from_estimator(good, test, label)

# %%
# The signs of failure, their causes and their cures are in :doc:`/user_guide/troubleshooting`.
