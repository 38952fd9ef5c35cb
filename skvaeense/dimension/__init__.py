"""Methods that say how many dimensions there are around a sample.

Those that derive from `AutoencoderMethod` ask an autoencoder, those that derive from `ScoreMethod`
a learned score. A new method is one class in one file, and its import here. Only the methods that
ask a score need torch.
"""

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.dimension._component_rank import ComponentRank
from skvaeense.dimension._consensus import Consensus
from skvaeense.dimension._count import Count
from skvaeense.dimension._flipd import FLIPD
from skvaeense.dimension._neighbors import Neighbors
from skvaeense.dimension._normal_bundle import NormalBundle
from skvaeense.dimension._score import ScoreMethod

__all__ = [
    "FLIPD",
    "AutoencoderMethod",
    "ComponentRank",
    "Consensus",
    "Count",
    "Neighbors",
    "NormalBundle",
    "ScoreMethod",
]
