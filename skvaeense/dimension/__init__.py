"""Methods that estimate the dimension around a sample.

Methods that derive from `AutoencoderMethod` use an autoencoder, methods that derive from
`ScoreMethod` use a learned score. To add a method, write one class in one file and import it here.
Only the methods that use a score need torch.
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
