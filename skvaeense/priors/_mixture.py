"""The standard normal distribution in training, and a mixture of codes afterwards."""

import numpy as np

from skvaeense.mixture import MixtureDensity
from skvaeense.mixture._em import MAX_COMPONENTS, Rows
from skvaeense.mixture._fit import MAX_DIRECTIONS, beside, fit_mixture, is_noise, merged, units_of
from skvaeense.priors._samples import CodedSamples
from skvaeense.priors._standard_normal import StandardNormal
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
    skvaeense.mixture.MixtureDensity : The density that is fitted.

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
        is_auto = self.n_components == "auto"
        if is_auto and len(getattr(self, "mixture_", ())) in range(1, self.max_components + 1):
            return self.mixture_
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
