"""
Finding out why a fit is bad
============================

Training can fail, and then says so. Here it fails on purpose: it is much too short. What do the warning and
the curves say, and what does a good fit look like?
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
# Too short
# ---------
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    short = VAEenseTransformer(12, n_init=2, max_iter=5, random_state=0).fit(train)
print(caught[0].message)

# %%
# The loss still falls where training ends, and so does the noise variance, which should settle.
display = LossCurveDisplay.from_estimator(short)

# %%
# So counts mean nothing yet.
display = ActiveDimensionDisplay.from_estimator(short, test, label)

# %%
# Long enough
# -----------
#
# The default number of steps. There is no warning, the curves are flat at the end, and the counts are the
# dimensions.
good = VAEenseTransformer(12, n_init=2, random_state=0).fit(train)
display = LossCurveDisplay.from_estimator(good)

# %%
display = ActiveDimensionDisplay.from_estimator(good, test, label)

# %%
# The signs of failure, their causes and their cures are in :doc:`/user_guide/troubleshooting`.
