"""The dimension by consensus of active latents, distances and the rank."""

import numpy as np

from skvaeense.dimension._pools import PoolMethod
from skvaeense.utils._typing import Auto

# If fewer of the nearest samples have similar active latents, they lie on other subspaces.
LEAST_ALIKE = 0.2


class Consensus(PoolMethod):
    """Combine the active latents with the distances to neighbours and the rank of neighbours.

    If fewer than a fifth of a sample's nearest samples have similar active latents, and the sample
    is on the flat of none of them, they lie on other subspaces and carry no information. The active
    latents are counted instead. With a linear decoder, the count is first refined to the number of
    dictionary atoms that a least-squares fit to the noise level needs.

    For all other samples, the method takes the rank of the pool, or of its nearest quarter, if the
    estimate by distances agrees, and otherwise the rounded estimate by distances. The rank is the
    number of directions with at least a tenth of the largest variance. Without noise, thin
    directions count too: the rank is then the number of directions that no polynomial of the others
    predicts, if this number is clear. The method combines `Count` and `Neighbors`, which describes
    pools.

    Parameters
    ----------
    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples that a pool is taken from, at least 4. "auto" means 512, or a
        sixth of the samples if there are few. If noise moves samples farther than the pool reaches,
        it means 1,024 and so on, up to a sixth of the samples.

    See Also
    --------
    Count : The number of active latents, not refined.
    Neighbors : The estimate by distances, not rounded.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Consensus
    >>> X, *_ = make_linear_subspaces(300, dims=(2,), n_features=5, random_state=0)
    >>> vaeense = VAEenseTransformer(n_init=1, max_iter=50, random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Consensus(n_neighbors=50))
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
