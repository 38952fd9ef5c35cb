"""
The dimension of each sample
============================

A solid ball, a rolled-up sheet and a spiral thread share one space. What is the dimension at each
sample, including samples that were not used in training?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import make_swiss_roll

from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer
from skvaeense.inspection import ActiveDimensionDisplay

rng = np.random.default_rng(0)
n = 1500
sheet = make_swiss_roll(n, random_state=0)[0] / 10
directions = rng.standard_normal((n, 3))
radii = 0.8 * rng.uniform(size=(n, 1)) ** (1 / 3)
ball = radii * directions / np.linalg.norm(directions, axis=1, keepdims=True) + (0, 1, 3.5)
turns = rng.uniform(0, 4 * np.pi, n)
thread = np.c_[0.6 * np.cos(turns) + 3, turns / 6, 0.6 * np.sin(turns) + 2.5]

X = np.concatenate([sheet, ball, thread])
label = np.repeat(["sheet", "ball", "thread"], n)
order = rng.permutation(len(X))
X, label = X[order], label[order]

# %%
# The estimator is not told which sample belongs to which shape. Its autoencoder has a decoder with
# hidden layers, because the sheet and the thread are curved. To save time, there is only one random
# init.
autoencoder = VAEenseTransformer(model=VAEase("mlp", n_init=1), random_state=0)
estimator = IntrinsicDimensionEstimator(autoencoder, random_state=0).fit(X[:3500])
dimension = estimator.predict(X[3500:])

# %%
# Colours are the dimensions of samples that were not used in training: 3 in the ball, 2 on the
# sheet and 1 on the thread.
figure, ax = plt.subplots(figsize=(7, 5), subplot_kw={"projection": "3d"}, layout="constrained")
dots = ax.scatter(*X[3500:].T, c=dimension, cmap="viridis", vmin=1, vmax=3, s=6)
figure.colorbar(dots, label="dimension", shrink=0.6, ticks=(1, 2, 3))
ax.view_init(elev=8, azim=-78)
ax.set_aspect("equal")
ax.set(xticks=(), yticks=(), zticks=())

# %%
# The same dimensions, counted for each shape:
display = ActiveDimensionDisplay.from_estimator(estimator, X[3500:], label[3500:])

# sphinx_gallery_start_ignore
for name, r in (("ball", 3), ("sheet", 2), ("thread", 1)):
    assert (dimension[label[3500:] == name] == r).mean() > 0.95, name
active = estimator.autoencoder_.active_dimensions(X[3500:]).sum(axis=1)
assert active[label[3500:] == "ball"].mean() < 2
# sphinx_gallery_end_ignore

# %%
# The number of active latents alone does not show these dimensions: the autoencoder opens fewer
# than three latents in the ball. So the estimator also looks at the neighbours of a sample: see
# :doc:`/user_guide/dimension`.
