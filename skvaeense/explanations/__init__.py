"""Explanations of samples: gates over a dictionary, fitted by expectation maximisation."""

from skvaeense.explanations._gate_dictionary import GateDictionary
from skvaeense.explanations._gates import GatePosterior, Gates

__all__ = ["GateDictionary", "GatePosterior", "Gates"]
