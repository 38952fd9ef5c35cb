"""The number of active latents."""

from typing import Any

import numpy as np

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.utils._typing import DoubleArray, FloatArray


class Count(AutoencoderMethod):
    """Count the active latents of each sample.

    On unions of linear subspaces, this number is the dimension, however many subspaces there are.
    On a curved manifold, a linear decoder needs more latents: the dimension of the smallest linear
    space that holds the sample's neighbourhood.

    See Also
    --------
    Consensus : Uses neighbours too, and refines the count.

    References
    ----------
    Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Count
    >>> X, *_ = make_linear_subspaces(200, dims=(1, 2), n_features=6, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0).partial_fit(X)
    >>> dimension, std = Count().estimate(vaeense, X)
    >>> bool((dimension == vaeense.active_dimensions(X).sum(axis=1)).all())
    True
    """

    alias = "count"

    def estimate(self, autoencoder: Any, X: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the number of active latents of samples, without a standard error.

        Parameters
        ----------
        autoencoder : estimator
            A fitted autoencoder with `active_dimensions`.

        X : ndarray of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dimension : ndarray of shape (n_samples,)
            The number of active latents of each sample.

        std : ndarray of shape (n_samples,)
            NaN.
        """
        active = autoencoder.active_dimensions(X)
        return active.sum(axis=1).astype(np.float64), np.full(len(X), np.nan)
