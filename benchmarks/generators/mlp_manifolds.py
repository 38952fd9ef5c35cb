"""Unions of curved manifolds: images of Gaussian latents under random smooth networks."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from sklearn.utils import check_random_state

from skvaeense.datasets._datasets import COMMON, Samples, check_room, draw_union
from skvaeense.utils._typing import DoubleArray, RandomState
from skvaeense.utils._validation import SIZES, validate_params

# Number of latents that set the scale of a manifold. They are drawn separately from the samples, so
# that the scale depends neither on n_samples nor on the samples.
_N_REFERENCE = 1000
# Weights and biases of the hidden layers, and the output weights.
_Network: TypeAlias = tuple[list[tuple[DoubleArray, DoubleArray]], DoubleArray]


@validate_params(COMMON | {"hidden_layer_sizes": [SIZES]})
def make_mlp_manifolds(
    n_samples: int = 1000,
    *,
    dims: Iterable[int] = (2, 4, 8),
    n_features: int = 40,
    hidden_layer_sizes: Iterable[int] = (64,),
    noise: float = 0.0,
    random_state: RandomState = None,
) -> Samples:
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
        Standard deviation of the Gaussian noise added in every ambient direction, as a
        fraction of the root mean square (over samples and features) of the noiseless
        data around its mean.
    random_state : int, RandomState instance or None, default=None
        Seed or generator of the networks, the samples, their order and the noise. Pass an
        int for a reproducible result.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), dtype float64
        The samples, shuffled.
    manifold : ndarray of int of shape (n_samples,)
        Index into `dims` of the manifold that each sample was drawn from.
    dimension : ndarray of int of shape (n_samples,)
        Dimension of that manifold.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or a layer or R^n_features is too small for
        the dimensions.

    Notes
    -----
    A sample of manifold i is ``x = f_i(z) / s_i`` with z from N(0, I_r). The network f_i
    has the layers ``h_l = tanh(h_{l-1} @ W_l + b_l)``, ``h_0 = z``, and the output
    ``h_L @ W_{L+1}`` without a bias. Weights are N(0, 1 / fan_in) and biases N(0, 1), all
    independent, drawn anew for each manifold. The scalar s_i is the root mean square (over
    samples and features) of f_i around its mean on 1,000 further latents, so that every
    manifold has a root mean square of about 1 around its own mean. Manifolds are not
    centred: their means differ and keep them apart.

    A network with these widths has a Jacobian of rank r at almost every z, so its image is
    a smooth sheet of dimension r. The sheet is curved: it spans more than r linear
    dimensions where ``n_features > r``.

    To get training and test samples of the same manifolds, draw one set and split it.

    Examples
    --------
    >>> import numpy as np
    >>> from benchmarks.generators.mlp_manifolds import make_mlp_manifolds
    >>> X, manifold, dimension = make_mlp_manifolds(300, dims=(2, 4), random_state=0)
    >>> X.shape
    (300, 40)
    >>> np.unique(dimension[manifold == 1]).tolist()
    [4]
    """
    dims = tuple(dims)
    check_room(max(dims), n_features, f"A manifold of dimension {max(dims)}")
    widths = tuple(hidden_layer_sizes)
    if min(widths) < max(dims):
        raise ValueError(
            f"A hidden layer of {min(widths)} units cannot carry a manifold of dimension "
            f"{max(dims)}: make every entry of hidden_layer_sizes at least {max(dims)}."
        )
    rng = check_random_state(random_state)
    networks = [_draw_network([dim, *widths, n_features], rng) for dim in dims]

    def draw(i: int, n: int) -> DoubleArray:
        return _apply_network(networks[i], rng.standard_normal((n, dims[i])))

    return draw_union(n_samples, dims, draw, noise, rng)


def _draw_network(sizes: Sequence[int], rng: np.random.RandomState) -> _Network:
    """Return hidden weights and biases, and output weights scaled to root mean square 1."""
    weights = [
        rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        for fan_in, fan_out in pairwise(sizes)
    ]
    biases = [rng.standard_normal(size) for size in sizes[1:-1]]
    hidden = list(zip(weights[:-1], biases, strict=True))
    reference = _apply_network((hidden, weights[-1]), rng.standard_normal((_N_REFERENCE, sizes[0])))
    return hidden, weights[-1] / np.sqrt(reference.var(axis=0).mean())


def _apply_network(network: _Network, latents: DoubleArray) -> DoubleArray:
    """Return the image of `latents` under `network`, shape (n_samples, n_features)."""
    hidden, output = network
    values = latents
    for weight, bias in hidden:
        values = np.tanh(values @ weight + bias)
    return values @ output
