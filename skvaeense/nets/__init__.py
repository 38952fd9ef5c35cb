"""Nets: torch modules that gradients train, and the parts that they are made of.

A new part of a kind is one class in the module of this kind.
"""

from skvaeense.nets import losses, models, networks, penalties, priors, thresholds

__all__ = ["losses", "models", "networks", "penalties", "priors", "thresholds"]
