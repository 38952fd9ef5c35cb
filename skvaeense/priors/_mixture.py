"""Priors with a mixture of codes: with standard normal latents, and with gates."""

from dataclasses import dataclass

import numpy as np

from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._em import MAX_COMPONENTS, Rows
from skvaeense.mixture._fit import fit_mixture
from skvaeense.mixture._units import merged, units_of
from skvaeense.mixture._wide import MAX_DIRECTIONS, beside, is_noise
from skvaeense.priors._base import StandardNormal
from skvaeense.priors._samples import CodedSamples
from skvaeense.utils._linalg import ROUNDING, principal_directions, svd
from skvaeense.utils._typing import Auto, DoubleArray
from skvaeense.utils._validation import AT_LEAST_ONE, StrOptions


class Mixture(StandardNormal):
    """Train with independent standard normal latents, then fit a Gaussian mixture to the codes.

    Training uses the prior of `StandardNormal`. This prior describes the distribution of an open
    latent, but not which latents open together. So after training, with the decoder ``W e + b``
    fixed, a mixture of normal distributions is fitted to the codes e. With noise added, the samples
    then follow a mixture of normal distributions, too: `MixtureDensity`. Its log-density is exact,
    and needs no encoder. With a nonlinear decoder no mixture is fitted, and there is no density.

    The mixture is fitted to training samples that the model keeps: at most 8,192, and no more than
    four million entries.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        Number of components of the mixture. "auto" chooses it on held-out samples.

    max_components : int, default=64
        Largest number that "auto" tries.

    lazy : bool, default=True
        Whether the mixture is fitted when it is first needed, and not in `fit`.

    See Also
    --------
    StandardNormal : The prior of variational autoencoders.
    skvaeense.mixture.SubspaceMixture : Such a density as an estimator of its own.

    Notes
    -----
    The mixture is fitted as in :class:`skvaeense.mixture.SubspaceMixture`, in the span of the
    decoder: components vary freely there, in at most 128 directions, and by noise elsewhere. The
    residual of the decoder need not be noise alone. If some of its directions stand out, the
    residual has one normal distribution, the same for all components. So densities are lower if the
    decoder leaves out directions that distinguish components.

    A default fit finds a mixture before training, and starts from it. Then this mixture is the
    density.

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

    alias = "mixture"

    keeps_samples = True

    _parameter_constraints = {
        "n_components": [AT_LEAST_ONE, StrOptions({"auto"})],
        "max_components": [AT_LEAST_ONE],
        "lazy": ["boolean"],
    }

    def __init__(
        self,
        n_components: Auto | int = "auto",
        *,
        max_components: int = MAX_COMPONENTS,
        lazy: bool = True,
    ) -> None:
        self.n_components = n_components
        self.max_components = max_components
        self.lazy = lazy

    def has_density(self, gated: bool) -> bool:
        """Return True, with a gate or without."""
        return True

    def may_be(self, density: MixtureDensity) -> bool:
        """Return whether a mixture has as many components as the parameters allow.

        Parameters
        ----------
        density : MixtureDensity
            A mixture, with a number of components that was chosen by held-out samples.

        Returns
        -------
        bool
            Whether it can be the density.
        """
        return self.n_components == "auto" and len(density) <= self.max_components

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
        weights = samples.sample_weight
        x, bias = samples.x - samples.bias, samples.bias
        span, sizes, _ = svd(samples.weight[:, samples.used])
        span = span[:, sizes > ROUNDING * sizes.max(initial=0.0)]
        if span.shape[1] == 0:
            # No latent is open: the mixture is along one line.
            span = principal_directions(x)[1][:1].T
        if span.shape[1] == len(bias):
            ones = np.ones(len(x))
            center, scale = units_of(samples.x, ones if weights is None else weights)
            found = self._found((samples.x - center) / scale, None, weights)
            return found.in_units(center, scale)
        if span.shape[1] > MAX_DIRECTIONS:
            span = span @ principal_directions(x @ span)[1][:MAX_DIRECTIONS].T
        # Outside the span of the decoder, the density has the mean of the samples.
        left = x - (x @ span) @ span.T
        shift = np.average(left, axis=0, weights=weights)
        x, left, bias = x - shift, left - shift, bias + shift
        rows = Rows.of(x, weights)
        # If the residual is the same in all directions, each component has its own noise variance.
        if is_noise(left, rows):
            return self._found(x, span, weights).in_units(bias, 1.0)
        inside = self._found(x @ span, None, weights)
        return beside(inside, span, rows).in_units(bias, 1.0)

    def _found(
        self, x: DoubleArray, basis: DoubleArray | None, weights: DoubleArray | None
    ) -> MixtureDensity:
        """Return the mixture of rows that varies freely in some directions."""
        n_components = None if self.n_components == "auto" else int(self.n_components)
        rows, weights = merged(x, weights)
        return fit_mixture(
            rows,
            weights,
            np.random.RandomState(0),
            n_components=n_components,
            max_components=self.max_components,
            basis=basis,
        ).density


@dataclass(eq=False, repr=False, kw_only=True)
class SpikeSlab(Mixture):  # numpydoc ignore=PR02
    """Give each latent a gate that is open with a learned probability, and a slab behind it.

    A latent is exactly 0, the spike, or from a normal distribution, the slab [1]_::

        x = b + A (s * z) + noise,    s_j ~ Bernoulli(p_j),    z_j | s_j = 1 ~ N(m_j, t_j)

    So an open latent has a price: the bound charges for ``log 1 / p_j`` and for its precision.
    There is no encoder to train: p, m, t, A, b and the noise variance are fitted by expectation
    maximisation. A search opens and closes gates one by one until the pattern of a sample cannot
    get more probable [2]_. It starts from the gates that mean-field inference opens, and again with
    all gates closed, and the more probable pattern is kept. Codes, counts and bounds belong to this
    pattern.

    For densities a mixture is fitted afterwards, as in `Mixture`.

    Parameters
    ----------
    search : bool, default=True
        Whether a search finds the gates of samples. The search opens fewer gates, and is right more
        often, but takes longer. False keeps the gates of mean-field inference. The fit does not
        depend on this parameter.

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
    ...     prior="spike_slab", target_explained_variance=0.9, random_state=0
    ... )
    >>> int(PCA(n_components=0.9).fit(X).n_components_)
    19
    >>> l0(vaeense.fit_transform(X)) < 8
    True
    """

    alias = "spike_slab"

    _parameter_constraints = {"search": ["boolean"]} | Mixture._parameter_constraints

    search: bool = True
    n_components: Auto | int = "auto"
    max_components: int = 64
    lazy: bool = True
