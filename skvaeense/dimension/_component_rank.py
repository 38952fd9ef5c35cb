"""The number of directions of a component of the density."""

from typing import Any

import numpy as np

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.utils._typing import DoubleArray, FloatArray


class ComponentRank(AutoencoderMethod):
    """Count the directions of the mixture component that a sample belongs to.

    The density of :class:`~skvaeense.VAEenseTransformer` is a Gaussian mixture. Each component has
    a noise variance, and directions in which it varies by more than noise alone would in the same
    number of samples. The number of these directions is the dimension of the component. The
    location of a cluster is part of the component's mean, and adds no dimension. On a curved
    manifold, the number of directions, like the number of active latents, is the dimension of a
    linear space that holds a piece of the manifold.

    See Also
    --------
    Count : The number of active latents, sample by sample.
    skvaeense.priors.Mixture : The fit of the mixture.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import ComponentRank
    >>> X, _, dimension = make_linear_subspaces(
    ...     1000, dims=(1, 3), n_features=8, noise=0.05, random_state=0
    ... )
    >>> estimator = IntrinsicDimensionEstimator(method=ComponentRank(), random_state=0).fit(X)
    >>> bool((estimator.dimension_pw_ == dimension).mean() > 0.9)
    True
    """

    alias = "component_rank"

    requires = ("predict_proba", "component_ranks")

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the rank of the most probable component of each sample.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `predict_proba` and `component_ranks`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            Number of directions of this component.

        std : ndarray of shape (n_samples,)
            Root mean square difference between this rank and the ranks of the other components,
            weighted by their probabilities.
        """
        probability = np.asarray(autoencoder.predict_proba(X), dtype=np.float64)
        ranks = autoencoder.component_ranks().astype(np.float64)
        dimension = ranks[probability.argmax(axis=1)]
        squares = np.square(ranks - dimension[:, None])
        return dimension, np.sqrt((probability * squares).sum(axis=1))
