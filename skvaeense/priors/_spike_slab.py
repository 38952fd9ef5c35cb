"""The prior of gates that are open with learned probabilities."""

from dataclasses import dataclass

from skvaeense.priors._mixture import Mixture
from skvaeense.utils._typing import Auto


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
