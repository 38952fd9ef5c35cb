"""Mixtures of normal distributions with few directions each, which model the data."""

from skvaeense.mixture._density import MixtureDensity as MixtureDensity
from skvaeense.mixture._subspace_mixture import SubspaceMixture

__all__ = ["SubspaceMixture"]
