"""Penalties that make codes of sparse autoencoders sparse, by a price, a constraint, or both.

To add a penalty, derive a class from `Penalty`, and import it here.
"""

from skvaeense.penalties._base import Coding as Coding
from skvaeense.penalties._base import Penalty
from skvaeense.penalties._penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, TopK

__all__ = ["L1", "BatchTopK", "Gated", "JumpReLU", "Log", "Matryoshka", "Penalty", "TopK"]
