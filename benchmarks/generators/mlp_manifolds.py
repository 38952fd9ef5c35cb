"""Unions of curved manifolds: images of Gaussian latents under random smooth networks."""

from itertools import pairwise

import numpy as np
from sklearn.utils import check_random_state

# Number of latents that set the scale of a manifold. They are drawn separately from the samples, so
# that the scale depends neither on n_samples nor on the samples.
N_REFERENCE = 1000


def make_mlp_manifolds(
    n_samples=1000,
    *,
    dims=(2, 4, 8),
    n_features=40,
    hidden_layer_sizes=(64,),
    noise=0.0,
    random_state=None,
):
    """Draw samples from a union of curved manifolds, the images of random smooth networks.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, split over the manifolds as evenly as possible.

    dims : sequence of int, default=(2, 4, 8)
        Dimension of each manifold.

    n_features : int, default=40
        Number of ambient dimensions.

    hidden_layer_sizes : sequence of int, default=(64,)
        Widths of the hidden layers of every network, each at least ``max(dims)``.

    noise : float, default=0.0
        Standard deviation of the noise in every direction, as a share of the root mean square of
        the data around their mean.

    random_state : int, RandomState instance or None, default=None
        Seed or generator of the networks, the samples, their order and the noise.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The samples, shuffled.

    manifold : ndarray of int of shape (n_samples,)
        Index into `dims` of the manifold that each sample was drawn from.

    dimension : ndarray of int of shape (n_samples,)
        Dimension of that manifold.

    Notes
    -----
    A sample of manifold i is ``x = f_i(z) / s_i`` with z from N(0, I). The network has the layers
    ``h_l = tanh(h_{l-1} @ W_l + b_l)``, ``h_0 = z``, and the output ``h_L @ W_{L+1}``. Weights are
    N(0, 1 / fan_in) and biases N(0, 1), drawn anew for each manifold. The scalar s_i makes the root
    mean square around the mean about 1. Manifolds are not centred: their means keep them apart.

    The Jacobian has full rank at almost every z, so the image is a smooth sheet. It is curved: it
    spans more linear dimensions than its own.
    """
    rng = check_random_state(random_state)
    networks = [draw_network([dim, *hidden_layer_sizes, n_features], rng) for dim in dims]
    counts = [len(share) for share in np.array_split(np.arange(n_samples), len(dims))]
    parts = [
        image(network, rng.standard_normal((count, dim)))
        for network, count, dim in zip(networks, counts, dims, strict=True)
    ]
    order = rng.permutation(n_samples)
    X = np.concatenate(parts)[order]
    manifold = np.repeat(np.arange(len(dims)), counts)[order]
    if noise > 0:
        X += noise * np.sqrt(X.var(axis=0).mean()) * rng.standard_normal(X.shape)
    return X, manifold, np.asarray(dims)[manifold]


def draw_network(sizes, rng):
    """Return hidden weights and biases, and output weights scaled to root mean square 1."""
    weights = [
        rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        for fan_in, fan_out in pairwise(sizes)
    ]
    biases = [rng.standard_normal(size) for size in sizes[1:-1]]
    hidden = list(zip(weights[:-1], biases, strict=True))
    reference = image((hidden, weights[-1]), rng.standard_normal((N_REFERENCE, sizes[0])))
    return hidden, weights[-1] / np.sqrt(reference.var(axis=0).mean())


def image(network, latents):
    """Return the image of latents under a network."""
    hidden, output = network
    for weight, bias in hidden:
        latents = np.tanh(latents @ weight + bias)
    return latents @ output
