"""Rules that decide which latents are active; they need numpy only.

To add a rule, derive a class from `ThresholdRule` in a new file, and import it here.
"""

from skvaeense.thresholds._base import Latents, ThresholdRule
from skvaeense.thresholds._contribution import Contribution
from skvaeense.thresholds._fixed_variance import FixedVariance
from skvaeense.thresholds._otsu import Otsu

__all__ = ["Contribution", "FixedVariance", "Latents", "Otsu", "ThresholdRule"]
