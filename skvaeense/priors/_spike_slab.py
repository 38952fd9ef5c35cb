"""Gates that are open with learned probabilities, and slabs behind them."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import torch
import torch.nn.functional as F

from skvaeense.priors._mixture import Mixture
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import FRACTION, SHARE, Interval, StrOptions


class GatePrior(NamedTuple):
    """The prior of latents behind gates, and the noise variance.

    Attributes
    ----------
    probability : torch.Tensor of shape (n_components,)
        Probability that each gate is open, without its price.

    mean : torch.Tensor of shape (n_components,)
        Mean of each latent if its gate is open.

    variance : torch.Tensor of shape (n_components,)
        Variance of each latent if its gate is open.

    price : torch.Tensor that broadcasts to (n_samples, n_components)
        Amount by which the log-odds of all gates are lowered.

    noise_variance : torch.Tensor without dimensions
        Variance of the noise in each feature.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.priors import GatePrior
    >>> half, one = torch.full((3,), 0.5), torch.ones(3)
    >>> GatePrior(half, 0 * one, one, torch.zeros(1), torch.tensor(0.1)).log_odds
    tensor([0., 0., 0.])
    """

    probability: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    price: torch.Tensor
    noise_variance: torch.Tensor

    @property
    def log_odds(self) -> torch.Tensor:
        """The logits of the probabilities that gates are open, minus the price."""
        return torch.logit(self.probability) - self.price

    @property
    def open_variance(self) -> torch.Tensor:
        """Posterior variance of each latent, if its gate is open."""
        noise = self.noise_variance.to(self.variance)
        return self.variance * noise / (self.variance + noise)

    def update(self) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]:
        """Return the function from estimates of latents to their posterior.

        Returns
        -------
        callable
            A function of an estimate u of each latent, if its gate is open, and of the precision r
            of u, the inverse of its variance. It returns the posterior precision ``r + 1 / t``, the
            posterior mean, and the logits of the gates.
        """
        shift, precision = self.mean / self.variance, 1 / self.variance
        constant = self.log_odds - 0.5 * (self.mean * shift + self.variance.log())

        def posterior_of(u: torch.Tensor, r: torch.Tensor) -> tuple[torch.Tensor, ...]:
            p = r + precision
            mean = torch.addcmul(shift, u, r).div_(p)
            # (u r + m / t) * mean is mean^2 p.
            logit = torch.log(p).neg_().addcmul_(mean * mean, p).mul_(0.5).add_(constant)
            return p, mean, logit

        return posterior_of


class GatePosterior(NamedTuple):
    """The posterior of latents behind gates, independent for each latent.

    Attributes
    ----------
    gate_logit : torch.Tensor of shape (n_samples, n_components)
        Logits of the probabilities that gates are open. Note the sign: the logits of `Posterior`
        are large where a latent is closed.

    mean : torch.Tensor of shape (n_samples, n_components)
        Means of the latents, if their gates are open.

    variance : torch.Tensor that broadcasts to (n_samples, n_components)
        Variances of the latents, if their gates are open.

    seen : torch.Tensor of shape (n_samples, n_components) or None
        Inner products of the columns of a linear decoder and the centred samples.

    Examples
    --------
    >>> import torch
    >>> from skvaeense.priors import GatePosterior
    >>> zeros = torch.zeros(2, 3)
    >>> GatePosterior(zeros, zeros, torch.ones(3)).probability[0, 0]
    tensor(0.5000)
    """

    gate_logit: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    seen: torch.Tensor | None = None

    @property
    def probability(self) -> torch.Tensor:
        """The probabilities that gates are open."""
        return torch.sigmoid(self.gate_logit)

    @property
    def openness(self) -> torch.Tensor:
        """Factor of each decoder column, as the openness of a `Posterior`."""
        return self.probability

    @property
    def is_open(self) -> torch.Tensor:
        """Whether gates are more probably open than closed."""
        return self.gate_logit > 0

    @property
    def std(self) -> torch.Tensor:
        """Standard deviations of the latents, if their gates are open."""
        return self.variance.sqrt().expand_as(self.mean)

    @property
    def log_variance(self) -> torch.Tensor:
        """Natural logarithm of the variances."""
        return self.variance.log().expand_as(self.mean)


@dataclass(eq=False, repr=False, kw_only=True)
class SpikeSlab(Mixture):  # numpydoc ignore=PR02
    """Give each latent a gate that is open with a learned probability, and a slab behind it.

    A latent is exactly 0, the spike, or from a normal distribution, the slab [1]_::

        x = b + A (s * z) + noise,    s_j ~ Bernoulli(p_j),    z_j | s_j = 1 ~ N(m_j, t_j)

    So an open latent has a price: the bound charges for ``log 1 / p_j`` and for its precision. With
    a linear decoder the bound is exact without sampling; the default network, `networks.MeanField`,
    has a linear decoder, and its encoder uses the decoder to infer gates. If another decoder f
    takes the place of A, the bound is estimated from draws of a normal code with the mean and
    variance of ``s * z``. In training, p and the noise variance are running means of their best
    values, given the encoder. With `networks.MeanField`, so are m and t. With other networks, m and
    t do not change, and set the unit of codes.

    If the decoder is linear, a search starts from the gates of the encoder. It opens and closes
    gates one by one until the pattern of a sample cannot get more probable [2]_. With more latents
    than features, a second search starts with all gates closed, and the more probable pattern is
    kept. Codes, counts and bounds belong to this pattern.

    For densities a mixture is fitted afterwards, as in `Mixture`, if the decoder is linear.

    Parameters
    ----------
    first_share : "auto" or float, default="auto"
        First probability of each gate. "auto" means a twentieth, or the share that the `target_l0`
        of an estimator requires.

    hold : float, default=0.3
        Share of the training, at its start, in which p, m and t do not change. Before the columns
        have found their directions, the samples that open a latent say little about the latent.

    memory : float, default=0.05
        Weight of a batch in the running means.

    pooling : float, default=0.1
        Weight of the mean of p over all latents in each p_j. So latents that are rarely open keep a
        chance of opening.

    first_noise : float, default=3.0
        First factor on the noise variance that suits the error best; the factor falls to 1 over the
        first half of the training. More noise at first delays the decisions on gates.

    search : bool, default=True
        Whether a search finds the gates of samples, if the decoder is linear. The search opens
        fewer gates, and is right more often, but takes longer. False keeps the gates of the
        encoder. Training does not depend on this parameter.

    n_components : "auto" or int, default="auto"
        Number of components of the mixture. "auto" chooses it on held-out samples.

    max_components : int, default=64
        Largest number that "auto" tries.

    lazy : bool, default=True
        Whether the mixture is fitted when it is first needed, and not in `fit`.

    See Also
    --------
    Mixture : A prior that charges all latents as standard normal ones.
    skvaeense.models.SpikeSlabVAE : The model.

    References
    ----------
    .. [1] T. J. Mitchell and J. J. Beauchamp, "Bayesian variable selection in linear regression",
       Journal of the American Statistical Association 83, 1988.
    .. [2] P. Schniter, L. C. Potter and J. Ziniel, "Fast Bayesian matching pursuit", Information
       Theory and Applications Workshop 2008.

    Examples
    --------
    Codes of digits that keep 90 % of the variance, and the number of principal components that
    keep as much:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.metrics import l0
    >>> X = load_digits().data[:500]
    >>> vaeense = VAEenseTransformer(
    ...     prior="spike_slab", target_explained_variance=0.9, max_iter=60, random_state=0
    ... )
    >>> int(PCA(n_components=0.9).fit(X).n_components_)
    19
    >>> l0(vaeense.fit_transform(X)) < 8
    True
    """

    alias = "spike_slab"

    _parameter_constraints = {
        "first_share": [SHARE, StrOptions({"auto"})],
        "hold": [FRACTION],
        "memory": [SHARE],
        "pooling": [FRACTION],
        "first_noise": [Interval(Real, 1, None, closed="left")],
        "search": ["boolean"],
    } | Mixture._parameter_constraints

    first_share: Auto | float = "auto"
    hold: float = 0.3
    memory: float = 0.05
    pooling: float = 0.1
    first_noise: float = 3.0
    search: bool = True
    n_components: Auto | int = "auto"
    max_components: int = 64
    lazy: bool = True

    @staticmethod
    def divergence(posterior: GatePosterior, prior: GatePrior) -> torch.Tensor:
        """Return the divergence of the posterior of gates and slabs from their prior.

        Parameters
        ----------
        posterior : GatePosterior
            Posterior of some samples.

        prior : GatePrior
            The prior.

        Returns
        -------
        torch.Tensor of shape (n_samples,)
            Divergence of each sample in nats, with a gradient::

                sum_j q log(q / p) + (1 - q) log((1 - q) / (1 - p))
                      + q/2 [(v + (mean - m)^2) / t - 1 - log(v / t)]
        """
        logit, q, v = posterior.gate_logit, posterior.probability, posterior.variance
        # log q = logit + log(1 - q), and likewise for the prior.
        odds = prior.log_odds
        constant = 0.5 * (v / prior.variance - 1 - torch.log(v / prior.variance)) - odds
        open_terms = torch.addcdiv(
            logit + constant, (posterior.mean - prior.mean).square(), prior.variance, value=0.5
        )
        terms = torch.addcmul(F.logsigmoid(-logit) - F.logsigmoid(-odds), q, open_terms)
        return terms.sum(dim=1)
