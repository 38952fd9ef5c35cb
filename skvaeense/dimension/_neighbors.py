"""The dimension from the growth of the number of neighbours with the distance."""

from skvaeense.dimension._pools import PoolMethod
from skvaeense.utils._typing import Auto


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
    >>> vaeense = VAEenseTransformer(n_init=1, max_iter=50, random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Neighbors(n_neighbors=50))
    >>> estimator = estimator.set_params(random_state=0).fit(X)
    >>> round(estimator.dimension_)
    2
    """

    alias = "neighbors"

    requires = ("transform", "inverse_transform")

    def __init__(self, n_neighbors: Auto | int = "auto") -> None:
        self.n_neighbors = n_neighbors

    def _answer(self, around, most):
        return around.ratio
