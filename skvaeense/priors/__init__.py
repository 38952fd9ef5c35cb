"""Distributions of the latents.

A new prior is one class that derives from `Prior`, and its import here.
"""

from skvaeense.priors._base import Posterior, Prior, StandardNormal

__all__ = ["Posterior", "Prior", "StandardNormal"]
