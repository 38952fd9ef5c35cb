"""
The dimension of each sample
============================

A solid ball, a rolled-up sheet and a spiral thread share one space. What is the dimension at each
sample, even at samples that were not used in training?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import make_swiss_roll

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
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
# The estimator is not told what is what. Its autoencoder has hidden layers in the decoder too,
# because sheet and thread are curved, and one random init to save time.
autoencoder = VAEenseTransformer(network="mlp", n_init=1, random_state=0)
estimator = IntrinsicDimensionEstimator(autoencoder, random_state=0).fit(X[:3500])
dimension = estimator.predict(X[3500:])

# %%
# Colours are dimensions at samples that were not seen in training.
figure, ax = plt.subplots(figsize=(7, 5), subplot_kw={"projection": "3d"}, layout="constrained")
dots = ax.scatter(*X[3500:].T, c=dimension, cmap="viridis", vmin=1, vmax=3, s=6)
figure.colorbar(dots, label="dimension", shrink=0.6, ticks=(1, 2, 3))
ax.view_init(elev=8, azim=-78)
ax.set_aspect("equal")
ax.set(xticks=(), yticks=(), zticks=())

# %%
# The same, counted:
display = ActiveDimensionDisplay.from_estimator(estimator, X[3500:], label[3500:])

# %%
# The number of active latents alone could not tell this: the sheet and the thread are curved, and
# take as many directions as the ball. So the estimator looks at the neighbours of a sample too:
# see :doc:`/user_guide/dimension`.
