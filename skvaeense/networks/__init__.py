"""Specifications of encoders and decoders; `build` turns one into a torch module.

To add an architecture, derive a class from `Network`, and import it here.
"""

from skvaeense.networks._base import Network
from skvaeense.networks._dense import MLP, Linear, SingleLayer
from skvaeense.networks._unrolled import Unrolled

__all__ = ["MLP", "Linear", "Network", "SingleLayer", "Unrolled"]
