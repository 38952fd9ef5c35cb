"""Optimizers, which move the weights by their gradients.

To add an optimizer, derive a class from `Optimizer` in a new file, and import it here.
"""

from skvaeense.optimizers._adam import Adam
from skvaeense.optimizers._base import Optimizer
from skvaeense.optimizers._sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
