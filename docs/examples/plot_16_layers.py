"""
The dimension of a network's layers
===================================

A network reads images that have known dimensions. How many of them are left in each of its layers?
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.decomposition import PCA
from sklearn.neural_network import MLPClassifier

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.datasets import make_transformed_images
from skvaeense.inspection import ActiveDimensionDisplay

# %%
# Three places in photographs, under one, two and four smooth transforms: shifts, turns, and so on.
# The network says which place it sees.
X, place, dimension = make_transformed_images(3000, dims=(1, 2, 4), random_state=0)
network = MLPClassifier((64, 16), learning_rate_init=0.003, max_iter=40, random_state=0)
network.fit(X, place)

layers, states = {}, X
for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
    states = np.maximum(states @ weights + bias, 0)
    layers[f"{len(bias)} units"] = states

# %%
# Each layer has an estimator of its own, and its dimensions are those of images that the estimator
# has not seen. A layer can have no more dimensions than its input.
figure, axes = plt.subplots(1, len(layers), figsize=(10, 3.6), sharex=True, layout="constrained")
labels = [f"dimension {r}" for r in dimension]
for ax, (name, states) in zip(axes, layers.items(), strict=True):
    estimator = IntrinsicDimensionEstimator(random_state=0).fit(states[:2500])
    ActiveDimensionDisplay.from_estimator(estimator, states[2500:], labels[2500:], ax=ax)
    n_linear = PCA(0.95).fit(states).n_components_
    ax.set_title(f"{name}, {n_linear} principal components hold 95 %")

# %%
# A classifier need not keep what does not tell the places apart. The variance of a whole layer says
# nothing of this, since what sets the places apart has most of it.
#
# A direction that is a hundred times shorter than others looks like noise, and is not counted. So
# this is how many directions a layer uses, not the rank of its Jacobian. Both are compared, for
# other networks and with other estimators, in :ref:`layers_of_a_network`.
