"""Optimizers, which move the weights by their gradients.

A new optimizer needs one class that derives from `Optimizer`, in one file, and its import here.
"""

from skvaeense.optimizers._adam import Adam
from skvaeense.optimizers._base import Optimizer
from skvaeense.optimizers._sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
