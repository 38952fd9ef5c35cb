"""Explanations of samples: gates over a dictionary, fitted by expectation maximisation."""

from skvaeense.explanations._flat_law import FlatLaw as FlatLaw
from skvaeense.explanations._gate_dictionary import GateDictionary
from skvaeense.explanations._gate_law import GateLaw as GateLaw
from skvaeense.explanations._gates import GatePosterior as GatePosterior
from skvaeense.explanations._gates import Gates as Gates

__all__ = ["GateDictionary"]
