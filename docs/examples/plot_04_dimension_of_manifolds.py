"""
The dimension of each sample
============================

A circle, a sphere and a sphere of dimension four share a space of twelve dimensions. What is the dimension
at each sample, also at samples that were not there in training?
"""

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_spheres, make_swiss_rolls
from skvaeense.inspection import ActiveDimensionDisplay

X, sphere, dimension = make_spheres(3000, dims=(1, 2, 4), n_features=12, random_state=0)
train, test, label = X[:2500], X[2500:], [f"sphere of dimension {r}" for r in dimension[2500:]]

# %%
# The estimator is not told which sample is on which sphere.
estimator = IntrinsicDimensionEstimator(random_state=0).fit(train)
display = ActiveDimensionDisplay.from_estimator(estimator, test, label)

# %%
# Each sphere takes one more latent than it has dimensions, because it spans one more. So counting
# latents is not enough on curved manifolds. The default also looks at neighbours.
estimator.set_params(method="count")
display = ActiveDimensionDisplay.from_estimator(estimator, test, label)

# %%
# A swiss roll is a sheet that is rolled up. It fills three dimensions, and has two.
roll, _, _ = make_swiss_rolls(2500, random_state=0)
estimator = IntrinsicDimensionEstimator(random_state=0).fit(roll[:2000])
unseen = roll[2000:]
dimension, std = estimator.predict(unseen, return_std=True)

from matplotlib import pyplot as plt

figure, ax = plt.subplots(figsize=(7, 5), subplot_kw={"projection": "3d"}, layout="constrained")
points = ax.scatter(*unseen.T, c=dimension, cmap="viridis", vmin=1, vmax=3, s=12)
figure.colorbar(points, label="dimension at unseen samples", shrink=0.6, ticks=(1, 2, 3))
ax.set(xticks=(), yticks=(), zticks=())
