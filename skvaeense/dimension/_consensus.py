"""What active latents, distances and the rank agree on."""

import numpy as np

from skvaeense.dimension._pools import PoolMethod
from skvaeense.utils._typing import Auto

# Share of the nearest samples that must have similar active latents, or they lie elsewhere.
LEAST_ALIKE = 0.2


class Consensus(PoolMethod):
    """Take what the active latents, the distances to neighbours and their rank agree on.

    Where fewer than a fifth of a sample's nearest ones have similar active latents, and it is on
    the flat of none of them, they lie on other subspaces, and tell nothing: active latents are
    counted. With a linear decoder the count
    is refined before, to the number of dictionary atoms that a least-squares fit to the noise level
    needs. Elsewhere the rank of the pool, or of its nearest quarter, is taken, the number of
    directions with a tenth of the largest variance, if the estimate by distances agrees; and else
    that estimate, rounded. Without noise, thin directions count too, where the number of those that
    no polynomial of the others gives is clear. It is the best of both `Count` and `Neighbors`,
    which has more about pools.

    Parameters
    ----------
    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples that a pool is taken from, at least 4. "auto" means 512, or a
        sixth of the samples where they are few; where noise moves samples farther than that, 1,024
        and so on, up to a sixth.

    See Also
    --------
    Count : The number of active latents as it is.
    Neighbors : The estimate by distances, not rounded.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Consensus
    >>> X, *_ = make_linear_subspaces(1000, dims=(2,), n_features=5, random_state=0)
    >>> vaeense = VAEenseTransformer(n_init=1, max_iter=50, random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Consensus(n_neighbors=100))
    >>> estimator = estimator.set_params(random_state=0).fit(X)
    >>> round(estimator.dimension_)
    2
    """

    alias = "auto"

    def __init__(self, n_neighbors: Auto | int = "auto") -> None:
        self.n_neighbors = n_neighbors

    def _answer(self, around, most):
        near = around.held | (around.alike >= LEAST_ALIKE)
        believed = np.isfinite(around.ratio) & near
        # No manifold has more dimensions than the subspace that holds it.
        return np.where(believed, np.minimum(around.dimension, most), np.nan)
