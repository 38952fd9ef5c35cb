"""How fast the number of neighbours grows with the distance."""

from skvaeense.dimension._pools import PoolMethod
from skvaeense.utils._typing import Auto


class Neighbors(PoolMethod):
    """Measure how fast the number of neighbours grows with the distance, after denoising.

    Up to 20,000 training samples are kept, denoised by the autoencoder. Of a sample's nearest ones,
    those that have similar active latents, and lie near the flat through the very nearest, are its
    pool. Around each member of the pool, the
    distances R_a and R_b to its neighbours a and b follow
    ``E log(R_b / R_a) = (psi(b) - psi(a)) / r``, with psi the digamma function and r the dimension
    [1]_. With b = 4 and a = 1 that gives r, without any threshold. It is then corrected by what the
    same estimate gives for balls of known dimension with as many samples [2]_.

    Parameters
    ----------
    n_neighbors : "auto" or int, default="auto"
        Number of nearest samples that a pool is taken from, at least 4. "auto" means 512, or a
        sixth of the samples where they are few; where noise moves samples farther than that, 1,024
        and so on, up to a sixth.

    See Also
    --------
    Consensus : Rounds to the rank of the pool where that agrees, and counts where pools are small.

    Notes
    -----
    If the autoencoder moves samples by more than 15 % of the mean squared distance to their
    neighbours, pools grow, since noise may be larger than they are. If they are a sixth of the
    samples and that is not enough, or if it moves samples by so much beyond their noise, it is not
    asked: samples are projected on the principal directions that stand above the noise.

    The noise variance is that of the smallest variances of the samples, as far as the law of
    Marchenko and Pastur explains at least eight of them [3]_; where that is none, and the
    autoencoder is not asked, it is told from single pools. Distances that are not larger than
    noise are passed over for those at a larger scale, of 16, 64 or 256 neighbours, and no estimate
    exceeds the number of directions in which a pool stands above the noise.

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
    >>> X, *_ = make_linear_subspaces(500, dims=(2,), n_features=5, random_state=0)
    >>> vaeense = VAEenseTransformer(n_init=1, max_iter=50, random_state=0)
    >>> estimator = IntrinsicDimensionEstimator(vaeense, method=Neighbors(n_neighbors=100))
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
