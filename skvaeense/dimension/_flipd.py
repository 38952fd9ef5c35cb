"""FLIPD: the dimension from the fall of the noisy density as the noise grows."""

import math

import torch
from torch import Tensor

from skvaeense.dimension._score import Noise, ScoreMethod
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import AT_LEAST_ONE, StrOptions

# Default number of random probes that estimate the trace of the Jacobian; with at most this many
# features, the trace is exact.
N_PROBES = 64


class FLIPD(ScoreMethod):
    """Estimate the dimension from the fall of the noisy density as the noise grows.

    Near a manifold of dimension d in D features the density of x + t e is about t^(d - D) for
    small t. Since the noisy density p_t obeys the heat equation, the slope of its logarithm over
    log t is ``t^2 (tr grad s + |s|^2)``, with the score ``s = grad log p_t = -noise / t``. So::

        d = D + t^2 (tr grad s(x) + |s(x)|^2) = D - t tr grad noise(x) + |noise(x)|^2

    This is FLIPD [1]_ for a process that adds noise and does not shrink samples. The dimension need
    not be a whole number.

    Parameters
    ----------
    n_probes : "auto" or int, default="auto"
        Number of random vectors that estimate the trace. Each vector costs a derivative of the
        network. With at least as many vectors as features, the trace is exact. "auto" means 64, or
        the number of features if it is smaller.

    See Also
    --------
    NormalBundle : Gives whole numbers, and takes longer on many features.

    References
    ----------
    .. [1] Kamkari, Ross, Hosseinzadeh, Cresswell and Loaiza-Ganem (2024). A Geometric View of
       Data Complexity: Efficient Local Intrinsic Dimension Estimation with Diffusion Models.
       NeurIPS. arXiv:2406.03537.

    Examples
    --------
    The noise along the only direction of a line cannot be distinguished from the sample:

    >>> import torch
    >>> from skvaeense.dimension import FLIPD
    >>> method, level = FLIPD(), 0.1
    >>> def noise(z):
    ...     return z * torch.tensor([0.0, 1.0, 1.0]) / level
    >>> x = torch.tensor([[3.0, 0.0, 0.0]])
    >>> vectors = method.vectors(3, torch.Generator().manual_seed(0)).float()
    >>> method.estimate(noise, x, level, vectors).round()
    tensor([1.])
    """

    alias = "flipd"

    _parameter_constraints = {"n_probes": [AT_LEAST_ONE, StrOptions({"auto"})]}

    def __init__(self, n_probes: Auto | int = "auto") -> None:
        self.n_probes = n_probes

    def vectors(self, n_features: int, generator: torch.Generator) -> Tensor:
        """Return vectors v with sum_v v' A v = tr A for every A, exactly or on average.

        Parameters
        ----------
        n_features : int
            Number of features.

        generator : torch.Generator
            Draws random signs, if needed.

        Returns
        -------
        torch.Tensor of shape (n_vectors, n_features)
            The unit vectors, or `n_probes` vectors of random signs.
        """
        n_probes = N_PROBES if self.n_probes == "auto" else self.n_probes
        if n_probes >= n_features:
            return torch.eye(n_features, dtype=torch.float64)
        signs = torch.randint(2, (n_probes, n_features), generator=generator, dtype=torch.float64)
        return (2 * signs - 1) / math.sqrt(n_probes)

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
            The dimensions.
        """
        predicted, pull_back = torch.func.vjp(noise, x)[:2]
        (rows,) = torch.func.vmap(pull_back)(vectors[:, None].expand(-1, *x.shape))
        trace = torch.einsum("knd,kd->n", rows, vectors)
        return x.shape[1] - level * trace + predicted.square().sum(dim=1)
