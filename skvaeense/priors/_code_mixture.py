"""A mixture of normal distributions over the codes that a nonlinear decoder sees."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from skvaeense.mixture._density import MixtureDensity, Shared, check_mixture
from skvaeense.utils._rounding import ROUNDING
from skvaeense.utils._typing import DoubleArray, IntArray


@dataclass(frozen=True, eq=False)
class CodeMixture(Shared):  # numpydoc ignore=PR02
    """A mixture of normal distributions of codes, each with its own few directions.

    Component c has the weight p_c and the codes ``e = mu_c + S_c w``, with w from N(0, I). Samples
    that are decoded from these codes have the noise variance g_c.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
        Weights of the components.

    means : ndarray of shape (n_components, n_latents)
        Means mu_c of the components.

    factors : ndarray of shape (n_components, n_latents, max_rank)
        Factors S_c of the components; columns of zeros if a component has fewer directions.

    noise_variances : ndarray of shape (n_components,)
        Noise variances g_c of the components.

    Examples
    --------
    >>> import numpy as np
    >>> from skvaeense.priors import CodeMixture
    >>> mixture = CodeMixture(
    ...     np.ones(1), np.zeros((1, 2)), np.array([[[3.0], [0.0]]]), np.ones(1)
    ... )
    >>> len(mixture), mixture.ranks
    (1, array([1]))
    """

    weights: DoubleArray
    means: DoubleArray
    factors: DoubleArray
    noise_variances: DoubleArray

    @classmethod
    def of(cls, density: MixtureDensity, scale: DoubleArray, noise_variance: float) -> Self:
        """Return the mixture of codes that follows from a density of scaled codes with noise.

        Parameters
        ----------
        density : MixtureDensity
            The density of codes, each latent multiplied by its scale.

        scale : ndarray of shape (n_latents,)
            The scales, above 0.

        noise_variance : float
            Noise variance of samples.

        Returns
        -------
        CodeMixture
            The mixture.
        """
        d = len(density.center)
        factors = np.empty((len(density), d, d))
        for c in range(len(density)):
            covariance = density.covariance(c) - noise_variance * np.eye(d)
            values, vectors = np.linalg.eigh(covariance)
            # Values within the rounding errors of the noise count as 0.
            values = np.where(values > noise_variance * ROUNDING, values, 0.0)
            factors[c] = (vectors * np.sqrt(values))[:, ::-1]
        rank = int(factors.any(axis=1).sum(axis=1).max(initial=0))
        means = density.center + density.unit * (density.means @ density.basis.T)
        noise = np.full(len(density), noise_variance)
        return cls(density.weights, means / scale, factors[:, :, :rank] / scale[:, None], noise)

    def check(self, n_latents: int) -> None:
        """Raise an error unless all arrays are finite, and fit together.

        Parameters
        ----------
        n_latents : int
            Number of latents.

        Raises
        ------
        ValueError
            If an array is not finite, or the arrays do not fit together.
        """
        k, r = len(self.weights), np.shape(self.factors)[2]
        shapes = {
            "weights": (k,),
            "means": (k, n_latents),
            "factors": (k, n_latents, r),
            "noise_variances": (k,),
        }
        check_mixture(self, shapes)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def ranks(self) -> IntArray:
        """Number of directions of each component."""
        return self.factors.any(axis=1).sum(axis=1)

    def sample(self, n_samples: int, rng: np.random.RandomState) -> tuple[DoubleArray, IntArray]:
        """Draw codes.

        Parameters
        ----------
        n_samples : int
            Number of codes.

        rng : RandomState
            The source of randomness.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_latents)
            Codes.

        labels : ndarray of int of shape (n_samples,)
            The component of each code.
        """
        labels = rng.choice(len(self), n_samples, p=self.weights / self.weights.sum())
        w = rng.standard_normal((n_samples, self.factors.shape[2]))
        codes = self.means[labels]
        for c in range(len(self)):
            codes[labels == c] += w[labels == c] @ self.factors[c].T
        return codes, labels
