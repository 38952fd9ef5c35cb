"""Explanations of samples: gates over a dictionary, fitted by expectation maximisation."""

from skvaeense.explanations._gate_dictionary import GateDictionary
from skvaeense.explanations._gates import GatePosterior as GatePosterior
from skvaeense.explanations._gates import Gates as Gates
from skvaeense.explanations._laws import FlatLaw as FlatLaw
from skvaeense.explanations._laws import GateLaw as GateLaw

__all__ = ["GateDictionary"]
