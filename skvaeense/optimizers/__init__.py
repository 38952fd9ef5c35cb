"""Optimizers: what moves the weights by their gradients.

A new optimizer is one class in one file that derives from `Optimizer`, and its import here.
"""

from skvaeense.optimizers._adam import Adam
from skvaeense.optimizers._base import Optimizer
from skvaeense.optimizers._sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
