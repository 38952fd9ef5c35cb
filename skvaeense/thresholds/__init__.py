"""Rules that decide which latents are active; they need numpy only.

To add a rule, derive a class from `ThresholdRule`, and import it here.
"""

from skvaeense.thresholds._rules import Contribution, FixedVariance, Otsu, ThresholdRule
from skvaeense.thresholds._rules import Latents as Latents

__all__ = ["Contribution", "FixedVariance", "Otsu", "ThresholdRule"]
