"""
The dimension of a network's layers
===================================

A network reads images whose dimensions are known. How many dimensions are left in each layer?
"""

import numpy as np
from matplotlib import pyplot as plt
from scipy import ndimage
from sklearn.datasets import load_sample_image
from sklearn.decomposition import PCA
from sklearn.neural_network import MLPClassifier

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.inspection import ActiveDimensionDisplay

# %%
# The images show three places in a photograph, under one, two and four smooth transforms: a shift
# to the side, a shift down, a rotation, and a change of the size. The network classifies the place.
photograph = ndimage.gaussian_filter(load_sample_image("china.jpg").mean(axis=2) / 255, 2)
down, right = np.mgrid[-16:16:16j, -16:16:16j].reshape(2, -1)
rng = np.random.default_rng(0)


def view(center, side=0.0, sink=0.0, turn=0.0, log_size=0.0):
    """Return the pixels of a place, transformed by parameters between -1 and 1."""
    z = np.exp(0.25 * log_size + 0.4j * turn) * (down + 1j * right)
    where = [center[0] + 6 * sink + z.real, center[1] + 6 * side + z.imag]
    return ndimage.map_coordinates(photograph, where, order=1)


dims, centers = np.array([1, 2, 4]), [(100, 200), (210, 320), (300, 480)]
place = rng.integers(3, size=3000)
dimension = dims[place]
X = np.array([view(centers[i], *rng.uniform(-1, 1, dims[i])) for i in place])
network = MLPClassifier((64, 16), learning_rate_init=0.003, max_iter=40, random_state=0)
network.fit(X, place)

layers, states = {}, X
for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
    states = np.maximum(states @ weights + bias, 0)
    layers[f"{len(bias)} units"] = states

# %%
# Each layer has its own estimator, which predicts the dimension of images that were not used in its
# fit. A layer cannot have more dimensions than its input. The images under one and two transforms
# keep their dimensions, and the images under four transforms lose about one.
figure, axes = plt.subplots(1, len(layers), figsize=(10, 3.6), sharex=True, layout="constrained")
labels = [f"dimension {r}" for r in dimension]
for ax, (name, states) in zip(axes, layers.items(), strict=True):
    estimator = IntrinsicDimensionEstimator(random_state=0).fit(states[:2500])
    ActiveDimensionDisplay.from_estimator(estimator, states[2500:], labels[2500:], ax=ax)
    n_linear = PCA(0.95).fit(states).n_components_
    ax.set_title(f"{name}, {n_linear} principal components hold 95 %")
    # sphinx_gallery_start_ignore
    found, truth = estimator.predict(states[2500:]), dimension[2500:]
    assert [round(found[truth == r].mean()) for r in (1, 2)] == [1, 2]
    assert (2.5 if len(states[0]) == 16 else 3.5) < found[truth == 4].mean() < 4.1
    assert n_linear <= 4
    # sphinx_gallery_end_ignore

# %%
# A classifier need not keep a direction that does not separate the places. The principal components
# of a whole layer do not show the dimensions: two components hold most of the variance, because
# most of the variance lies between the places.
#
# A direction that is a hundred times shorter than others looks like noise, and is not counted. So
# the result is the number of directions that a layer uses, not the rank of its Jacobian.
