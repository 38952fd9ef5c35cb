"""Penalties that make codes of sparse autoencoders sparse, by a price, a constraint, or both.

To add a penalty, derive a class from `Penalty` in a new file, and import it here.
"""

from skvaeense.penalties._base import Coding, Penalty
from skvaeense.penalties._batch_topk import BatchTopK
from skvaeense.penalties._gated import Gated
from skvaeense.penalties._jump_relu import JumpReLU
from skvaeense.penalties._l1 import L1
from skvaeense.penalties._log import Log
from skvaeense.penalties._matryoshka import Matryoshka
from skvaeense.penalties._topk import TopK

__all__ = ["L1", "BatchTopK", "Coding", "Gated", "JumpReLU", "Log", "Matryoshka", "Penalty", "TopK"]
