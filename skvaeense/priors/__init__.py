"""Distributions of the latents.

A new prior is one class in one file that derives from `Prior`, and its import here.
"""

from skvaeense.priors._base import Posterior, Prior
from skvaeense.priors._mixture import Mixture
from skvaeense.priors._samples import CodedSamples
from skvaeense.priors._spike_slab import SpikeSlab
from skvaeense.priors._standard_normal import StandardNormal

__all__ = [
    "CodedSamples",
    "Mixture",
    "Posterior",
    "Prior",
    "SpikeSlab",
    "StandardNormal",
]
