"""Distributions of the latents.

A new prior is one class in one file that derives from `Prior`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.priors._base import Posterior, Prior
from skvaeense.priors._code_mixture import CodeMixture
from skvaeense.priors._mixture import Mixture
from skvaeense.priors._samples import CodedSamples
from skvaeense.priors._spike_slab import GatePosterior, GatePrior, SpikeSlab
from skvaeense.priors._standard_normal import StandardNormal
from skvaeense.utils._validation import resolve_alias

__all__ = [
    "CodeMixture",
    "CodedSamples",
    "GatePosterior",
    "GatePrior",
    "Mixture",
    "Posterior",
    "Prior",
    "SpikeSlab",
    "StandardNormal",
    "resolve_prior",
]

PriorName: TypeAlias = Literal["mixture", "spike_slab", "standard_normal"]
ALIASES: dict[str, type[Prior]] = {
    "mixture": Mixture,
    "spike_slab": SpikeSlab,
    "standard_normal": StandardNormal,
}


def resolve_prior(prior: PriorName | Prior) -> Prior:
    """Return the prior that an alias stands for, or the instance itself.

    Parameters
    ----------
    prior : {"mixture", "spike_slab", "standard_normal"} or Prior
        An alias, which means the defaults of its class, or a prior.

    Returns
    -------
    Prior
        The prior.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the prior is out of its range.

    Examples
    --------
    >>> from skvaeense.priors import resolve_prior
    >>> resolve_prior("standard_normal")
    StandardNormal()
    """
    return resolve_alias("prior", prior, Prior, ALIASES)
