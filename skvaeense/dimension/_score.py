"""The base class of methods that use a score."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from skvaeense.utils._validation import Specification

Noise: TypeAlias = Callable[[Tensor], Tensor]


class ScoreMethod(Specification):
    """Estimate the dimension of each sample from the score of noisy samples.

    The score is given as the noise that it predicts: for samples z = x + t e with standard normal e
    and a fixed level t, ``noise(z)`` is the expectation of e given z, which is -t times the
    gradient of the log-density of z. Derive from this class and implement `estimate`. Implement
    `vectors` too, if the method needs directions in which to use the score. A method has
    parameters, and learns nothing.

    See Also
    --------
    FLIPD : The slope of the log-density as the noise grows.
    NormalBundle : The directions that the scores around a sample leave out.
    AutoencoderMethod : The base class for an autoencoder.

    Examples
    --------
    >>> from skvaeense import DiffusionDimensionEstimator
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import ScoreMethod
    >>> class Unexplained(ScoreMethod):
    ...     def estimate(self, noise, x, level, vectors):
    ...         return x.shape[1] - (noise(x + level) ** 2).sum(dim=1)
    >>> X, *_ = make_linear_subspaces(200, dims=(2,), n_features=5, random_state=0)
    >>> estimator = DiffusionDimensionEstimator(Unexplained(), max_iter=2, random_state=0).fit(X)
    >>> estimator.dimension_pw_.shape
    (200,)
    """

    def vectors(self, n_features: int, generator: torch.Generator) -> Tensor:
        """Return the directions that `estimate` uses for every sample; by default none.

        Parameters
        ----------
        n_features : int
            Number of features.

        generator : torch.Generator
            Draws the directions, on the CPU.

        Returns
        -------
        torch.Tensor of shape (n_vectors, n_features)
            Directions in double precision.
        """
        return torch.empty((0, n_features), dtype=torch.float64)

    @abstractmethod
    def estimate(self, noise: Noise, x: Tensor, level: float, vectors: Tensor) -> Tensor:
        """Return the dimension of samples. Values below 0 or above n_features are clipped later.

        Parameters
        ----------
        noise : callable
            Function from samples to the predicted noise, both of shape (n, n_features).

        x : torch.Tensor of shape (n_samples, n_features)
            Samples without noise.

        level : float
            Standard deviation t of the noise.

        vectors : torch.Tensor of shape (n_vectors, n_features)
            Output of the method `vectors`, in the precision of x.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            The dimensions.
        """
