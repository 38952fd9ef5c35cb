"""The standard normal distribution in training, and then a mixture over codes."""

from numbers import Integral, Real

from skvaeense.mixture._density import MixtureDensity
from skvaeense.priors._samples import CodedSamples
from skvaeense.priors._mixture_fit import MixtureFit
from skvaeense.priors._standard_normal import StandardNormal
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import AT_LEAST_ONE, Interval, StrOptions


class Mixture(StandardNormal):
    """Train with independent standard normal latents, then fit a Gaussian mixture to the codes.

    Training charges latents as `StandardNormal` does. That says how a latent that is open is
    distributed, but not which ones open together. So after training, with the decoder
    ``W e + b`` as it is, the codes e get a mixture of normal distributions. With noise on top, the
    samples then have a mixture, too: `MixtureDensity`. Its log-density is exact, and needs no
    encoder. With a nonlinear decoder there is a lower bound of the log-density: `CodeMixture`.

    It is fitted to training samples that the model keeps: at most 8,192, and no more than four
    million entries.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Number of components of the mixture. "auto" chooses it on held-out samples.

    max_components : int, default=32
        The most that "auto" tries, at most 64.

    shrinkage : "auto" or float, default="auto"
        Number of samples that the prior covariance of a component counts as. It has independent
        codes, with the variances that they have in this component. "auto" chooses it on held-out
        samples, and whether a fifth of that covariance is the same in all directions.

    n_draws : int, default=16
        Draws for each sample that the bound for a nonlinear decoder takes; more make it tighter.

    lazy : bool, default=True
        Whether the mixture is fitted when it is first asked for, and not in `fit`.

    See Also
    --------
    StandardNormal : Of variational autoencoders.
    MixtureDensity : What is fitted.
    CodeMixture : What is fitted if the decoder is nonlinear.

    Notes
    -----
    Expectation and maximisation start from k-means in two ways: on the pattern of latents that are
    open, which tells subspaces apart, and on the position. Each component has a noise variance, at
    least a fiftieth of the learned one, since likelihoods are unbounded without a bound, and shrunk
    to the common one. Directions in which it varies by no more than what noise would show are left
    out [1]_, and the variances in the others are corrected for the number of samples [2]_. So the
    number of directions is a dimension; see :class:`skvaeense.dimension.ComponentRank`.

    What the decoder leaves need not be the same in all directions. Its principal directions, at
    most 64, serve as latents that are always open if that makes held-out samples more probable.

    With a nonlinear decoder the samples of this fit are codes, each latent multiplied by the root
    mean square norm of its column of the decoder's Jacobian, with noise of the learned variance. So
    what tells codes apart is what tells samples apart. Noise variances of the components then
    follow from up to 512 training samples.

    References
    ----------
    .. [1] Tipping and Bishop (1999). Mixtures of Probabilistic Principal Component Analyzers.
       Neural Computation 11.
    .. [2] Donoho, Gavish and Johnstone (2018). Optimal Shrinkage of Eigenvalues in the Spiked
       Covariance Model. Annals of Statistics 46.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> from skvaeense.priors import Mixture
    >>> X, *_ = make_linear_subspaces(600, dims=(1, 2), n_features=8, noise=0.05, random_state=0)
    >>> vaeense = VAEenseTransformer(prior=Mixture(n_components=2), random_state=0).fit(X)
    >>> vaeense.predict_proba(X).shape
    (600, 2)
    """

    keeps_samples = True

    _parameter_constraints = {
        "n_components": [AT_LEAST_ONE, StrOptions({"auto"})],
        "max_components": [Interval(Integral, 1, 64, closed="both")],
        "shrinkage": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "n_draws": [AT_LEAST_ONE],
        "lazy": ["boolean"],
    }

    def __init__(
        self,
        n_components: Auto | int = "auto",
        *,
        max_components: int = 32,
        shrinkage: Auto | float = "auto",
        n_draws: int = 16,
        lazy: bool = True,
    ) -> None:
        self.n_components = n_components
        self.max_components = max_components
        self.shrinkage = shrinkage
        self.n_draws = n_draws
        self.lazy = lazy

    def has_density(self, gated: bool) -> bool:
        """Return True, with a gate or without."""
        return True

    def density(self, samples: CodedSamples) -> MixtureDensity:
        """Return the density that fits samples.

        Parameters
        ----------
        samples : CodedSamples
            Training samples.

        Returns
        -------
        MixtureDensity
            The density.
        """
        return MixtureFit(samples).best(
            None if self.n_components == "auto" else int(self.n_components),
            self.max_components,
            None if self.shrinkage == "auto" else float(self.shrinkage),
        )
