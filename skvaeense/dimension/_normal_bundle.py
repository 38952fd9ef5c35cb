"""Normal bundle: the number of directions in which scores around a sample do not point."""

import math

import torch
from torch import Tensor

from skvaeense.dimension._score import Noise, ScoreMethod


def simplex(n_features: int, generator: torch.Generator) -> Tensor:
    """Return the corners of a regular simplex, with the typical length of noise.

    The corners have shape (n_features + 1, n_features), and are turned at random. They replace
    draws of noise: their mean is exactly 0, and their covariance is the identity. The spread of
    random draws would widen the spectrum.
    """
    n_corners = n_features + 1
    # An orthonormal basis of the space orthogonal to the ones; its rows are the corners.
    normal = torch.randn((n_corners, n_corners), generator=generator, dtype=torch.float64)
    normal[:, 0] = 1.0
    return math.sqrt(n_corners) * torch.linalg.qr(normal).Q[:, 1:]


class NormalBundle(ScoreMethod):
    """Count the directions in which the scores around a sample do not point.

    Around a sample on a manifold, the score of the noisy density points back to the manifold, so
    the scores at many perturbations of a sample span its normal space. Their matrix has D - d
    large singular values and d small ones. In units of the noise that was added, a singular value
    is 1 in a normal direction and 0 in a tangent direction, and the dimension is the number of
    singular values below the largest gap. The bounds 1 and 0 belong to the spectrum, so that the
    dimension can be D or 0; singular values above 1, as on curved manifolds, count as 1. The mean
    of the scores is subtracted first: it points along the manifold, to where samples are denser.

    This is the estimator of [1]_, with added bounds, a subtracted mean and regular perturbations.

    See Also
    --------
    FLIPD : Faster on many features.

    References
    ----------
    .. [1] Stanczuk, Batzolis, Deveney and Schönlieb (2024). Diffusion Models Encode the Intrinsic
       Dimension of Data Manifolds. ICML. arXiv:2212.12611.

    Examples
    --------
    The noise along the only direction of a line cannot be distinguished from the sample:

    >>> import torch
    >>> from skvaeense.dimension import NormalBundle
    >>> method, level = NormalBundle(), 0.1
    >>> def noise(z):
    ...     return z * torch.tensor([0.0, 1.0, 1.0]) / level
    >>> x = torch.tensor([[3.0, 0.0, 0.0]])
    >>> vectors = method.vectors(3, torch.Generator().manual_seed(0)).float()
    >>> method.estimate(noise, x, level, vectors)
    tensor([1.])
    """

    alias = "normal_bundle"

    def vectors(self, n_features: int, generator: torch.Generator) -> Tensor:
        """Return the directions in which samples are perturbed.

        Parameters
        ----------
        n_features : int
            Number of features.

        generator : torch.Generator
            Turns the directions at random.

        Returns
        -------
        torch.Tensor of shape (n_features + 1, n_features)
            The corners of a regular simplex, of length sqrt(n_features).
        """
        return simplex(n_features, generator)

    def estimate(self, noise: Noise, x: Tensor, level: float, vectors: Tensor) -> Tensor:
        """Return the dimension of samples.

        Parameters
        ----------
        noise : callable
            Function from samples to the predicted noise, both of shape (n, n_features).

        x : torch.Tensor of shape (n_samples, n_features)
            Samples without noise.

        level : float
            Standard deviation t of the noise.

        vectors : torch.Tensor of shape (n_vectors, n_features)
            Output of `vectors`.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            The dimensions, whole numbers; NaN where scores are beyond the precision of x.
        """
        perturbed = x[:, None] + level * vectors
        scores = noise(perturbed.flatten(0, 1)).reshape(perturbed.shape)
        scores = scores - scores.mean(dim=1, keepdim=True)
        # Matrices with entries that are not finite have no eigenvalues.
        known = scores.isfinite().all(dim=2).all(dim=1)
        scores = scores.where(known[:, None, None], 0)
        # Far from the data, scores can be so large that their squares overflow.
        size = scores.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1.0)
        scores = scores / size
        # The eigenvalues of the covariance are the squares of the singular values.
        covariance = scores.transpose(1, 2) @ scores / len(vectors)
        values = torch.linalg.eigvalsh(covariance).clamp_min(0).sqrt() * size[:, 0]
        # The bounds 0 and 1 belong to the spectrum.
        spectrum = torch.nn.functional.pad(values.clamp_max(1), (1, 0))
        spectrum = torch.nn.functional.pad(spectrum, (0, 1), value=1.0)
        dimension = spectrum.diff(dim=1).argmax(dim=1).to(x.dtype)
        return dimension.where(known, math.nan)
