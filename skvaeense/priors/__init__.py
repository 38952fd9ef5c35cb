"""Distributions of the latents.

A new prior is one class that derives from `Prior`, and its import here.
"""

from skvaeense.priors._base import Posterior, Prior, StandardNormal
from skvaeense.priors._mixture import Mixture, SpikeSlab
from skvaeense.priors._samples import CodedSamples as CodedSamples

__all__ = ["Mixture", "Posterior", "Prior", "SpikeSlab", "StandardNormal"]
