"""Methods that estimate the dimension around a sample.

Methods derive from `AutoencoderMethod`. To add a method, write one class in one file and import it
here. No method needs torch.
"""

from skvaeense.dimension._base import AutoencoderMethod
from skvaeense.dimension._component_rank import ComponentRank
from skvaeense.dimension._consensus import Consensus
from skvaeense.dimension._count import Count
from skvaeense.dimension._neighbors import Neighbors

__all__ = [
    "AutoencoderMethod",
    "ComponentRank",
    "Consensus",
    "Count",
    "Neighbors",
]
