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
# Now the first noise variance is right, but training is too short. With a given noise variance
# inits are random, and need many steps. There is no warning: the signs of failure are not proof.
# But the curve tells, as it still falls steeply where training ends.
short = VAEenseTransformer(12, noise_variance=0.1, n_init=1, max_iter=15, random_state=0).fit(train)
display = LossCurveDisplay.from_estimator(short)

# %%
# So the counts are wrong.
display = ActiveDimensionDisplay.from_estimator(short, test, label)

# %%
# Long enough
# -----------
#
# The defaults: training starts from what is found in the data, and has enough steps. There is no
# warning, the curves are flat at the end, and the counts are the dimensions.
good = VAEenseTransformer(12, random_state=0).fit(train)
display = LossCurveDisplay.from_estimator(good)

# %%
display = ActiveDimensionDisplay.from_estimator(good, test, label)

# %%
# The signs of failure, their causes and their cures are in :doc:`/user_guide/troubleshooting`.
