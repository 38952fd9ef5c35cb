"""
Finding out why a fit is bad
============================

In this example training by gradients fails on purpose, in two ways. What do warnings and curves
show, and what does a good fit look like?
"""

import warnings

from sklearn.exceptions import ConvergenceWarning

from skvaeense import VAEase, VAEenseTransformer
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
# The first noise variance is far too high, so all latents close before it has fallen. There is a
# warning:
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    noisy = VAEase(noise_variance=100.0, n_init=2, max_iter=30)
    collapsed = VAEenseTransformer(12, model=noisy, random_state=0).fit(train)
print(caught[0].message)

# %%
# The curves agree: the KL divergence, which measures how much information codes have about samples,
# falls to 0 and stays there.
display = LossCurveDisplay.from_estimator(collapsed)

# %%
# Too short
# ---------
#
# Now the first noise variance is right, but training is too short. There is no warning, since no
# sign of failure is strong enough. But the loss and the noise variance are still falling when
# training ends:
brief = VAEase(noise_variance=0.1, n_init=1, max_iter=15)
short = VAEenseTransformer(12, model=brief, random_state=0).fit(train)
display = LossCurveDisplay.from_estimator(short)

# %%
# The counts of active latents are too high:
display = ActiveDimensionDisplay.from_estimator(short, test, label)

# %%
# Long enough
# -----------
#
# With its defaults, a `VAEase` trains for more steps, from three random inits. There is no warning,
# the loss is far lower, and about nine in ten counts equal the dimensions:
good = VAEenseTransformer(12, model="vaease", random_state=0).fit(train)
print(f"loss {good.loss_curve_[-1]:.1f}, with too few steps {short.loss_curve_[-1]:.1f}")
display = ActiveDimensionDisplay.from_estimator(good, test, label)

# sphinx_gallery_start_ignore
assert collapsed.history_["kl"][-5:].max() < 0.05
assert short.history_["loss"][-1] < short.history_["loss"][-3] - 0.1
assert short.history_["noise_variance"][-1] < 0.95 * short.history_["noise_variance"][-3]
assert (short.active_dimensions(test).sum(axis=1) - dimension[2500:]).mean() > 0.5
assert good.history_["loss"][-1] < short.history_["loss"][-1] - 20
assert 0.85 < (good.active_dimensions(test).sum(axis=1) == dimension[2500:]).mean() < 0.97
default = VAEenseTransformer(12, random_state=0).fit(train)
assert (default.active_dimensions(test).sum(axis=1) == dimension[2500:]).mean() > 0.98
# sphinx_gallery_end_ignore

# %%
# The default of `VAEenseTransformer` finds these subspaces without gradients, and then all counts
# are right. :doc:`/user_guide/faq` lists the signs of failure, with their causes and cures.
