"""Methods that estimate the dimension around a sample.

Methods derive from `AutoencoderMethod`. To add a method, write one class and import it
here. No method needs torch.
"""

from skvaeense.dimension._methods import (
    AutoencoderMethod,
    ComponentRank,
    Consensus,
    Count,
    Neighbors,
)

__all__ = ["AutoencoderMethod", "ComponentRank", "Consensus", "Count", "Neighbors"]
