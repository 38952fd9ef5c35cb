"""Methods by neighbours, by neighbours and active latents, and by the parts of a mixture."""

from typing import Any

import numpy as np

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.dimension._pools import PoolMethod
from skvaeense.utils._typing import Auto, DoubleArray, FloatArray


class Neighbors(PoolMethod):
    """Measure how fast the number of neighbours grows with the distance, after denoising.

    Up to 20,000 training samples are kept, denoised by the autoencoder. The pool of a sample is its
    nearest training samples that have similar active latents and lie near the flat through the very
    nearest. Around each member of the pool, the distances R_a and R_b to its neighbours a and b
    follow ``E log(R_b / R_a) = (psi(b) - psi(a)) / r``, with psi the digamma function and r the
    dimension [1]_. With b = 4 and a = 1, this gives r without any threshold. The result is then
    corrected by the same estimate for balls of known dimension with the same number of samples
    [2]_.

    Parameters
    ----------
    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples that a pool is taken from, at least 4. "auto" means 512, or a
        sixth of the samples if there are few. If noise moves samples farther than the pool reaches,
        it means 1,024 and so on, up to a sixth of the samples.

    See Also
    --------
    Consensus : Rounds to the rank of the pool if it agrees, and counts if pools are small.

    Notes
    -----
    If the autoencoder moves samples by more than 15 % of the mean squared distance to their
    neighbours, pools grow, since noise may be larger than the pools. If pools of a sixth of the
    samples are not enough, or if the autoencoder moves samples by this much beyond their noise, the
    autoencoder is not used: samples are projected onto the principal directions that stand above
    the noise.

    The noise variance comes from the smallest variances of the samples, if the law of Marchenko and
    Pastur explains at least eight of them [3]_. Otherwise, if the autoencoder is not used, the
    noise variance comes from single pools. Distances that are not larger than noise are replaced by
    distances at a larger scale, of 16, 64 or 256 neighbours. No estimate exceeds the number of
    directions in which a pool stands above the noise.

    References
    ----------
    .. [1] F. Denti, D. Doimo, A. Laio and A. Mira (2022). The generalized ratios intrinsic
       dimension estimator. Scientific Reports 12.

    .. [2] C. Ceruti et al. (2014). DANCo: an intrinsic dimensionality estimator exploiting angle
       and norm concentration. Pattern Recognition 47.

    .. [3] S. Kritchman and B. Nadler (2009). Non-parametric detection of the number of signals:
       hypothesis testing and random matrix theory. IEEE Transactions on Signal Processing 57.

    Examples
    --------
    >>> from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.dimension import Neighbors
    >>> X, *_ = make_linear_subspaces(300, dims=(2,), n_features=5, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Neighbors(n_neighbors=50))
    >>> estimator = estimator.set_params(random_state=0).fit(X)
    >>> round(estimator.dimension_)
    2
    """

    alias = "neighbors"

    requires = ("transform", "inverse_transform")

    def __init__(self, n_neighbors: Auto | int = "auto") -> None:
        self.n_neighbors = n_neighbors

    def _answer(self, around, most=np.inf):
        return around.ratio


class Consensus(PoolMethod):
    """Combine the active latents with the distances to neighbours and the rank of neighbours.

    If fewer than a fifth of a sample's nearest samples have similar active latents, and the sample
    is on the flat of none of them, they lie on other subspaces and carry no information. The active
    latents are counted instead. With a linear decoder, the count is first refined to the number of
    dictionary atoms that a least-squares fit to the noise level needs.

    For all other samples, the method combines all measurements in one distribution over dimensions:
    the estimates by distances at several scales; the number of directions in which the nearest
    samples extend; without noise, the number of directions that no polynomial of the others
    predicts, since distances do not show thin directions; and the number of directions that
    equations of second degree leave, if such equations hold on the samples, as on spheres. The
    weights of the measurements were fitted by maximum likelihood on manifolds of many kinds. The
    dimension is the median of the distribution, nearly always a whole number. The method combines
    `Count` and `Neighbors`, which describes pools.

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
    >>> vaeense = VAEenseTransformer(random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Consensus(n_neighbors=50))
    >>> estimator = estimator.set_params(random_state=0).fit(X)
    >>> round(estimator.dimension_)
    2
    """

    alias = "auto"

    def __init__(self, n_neighbors: Auto | int = "auto") -> None:
        self.n_neighbors = n_neighbors

    def _answer(self, around, most=np.inf, least_alike=0.2):
        # If fewer of the nearest samples have similar active latents, they lie on other subspaces.
        near = around.held | (around.alike >= least_alike)
        believed = np.isfinite(around.ratio) & near
        # No manifold has more dimensions than the subspace that holds it.
        return np.where(believed, np.minimum(around.dimension, most), np.nan)


class ComponentRank(AutoencoderMethod):
    """Count the directions of the mixture component that a sample belongs to.

    A :class:`~skvaeense.VAEenseTransformer` finds a Gaussian mixture. Each component has a noise
    variance, and directions in which it varies by more than noise alone would in the same
    number of samples. The number of these directions is the dimension of the component. The
    location of a cluster is part of the component's mean, and adds no dimension. On a curved
    manifold, the number of directions, like the number of active latents, is the dimension of a
    linear space that holds a piece of the manifold.

    See Also
    --------
    Count : The number of active latents, sample by sample.
    skvaeense.mixture.SubspaceMixture : The mixture alone.

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
