"""What is in the data: a mixture of normal distributions with few directions each."""

from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._subspace_mixture import SubspaceMixture

__all__ = ["MixtureDensity", "SubspaceMixture"]
