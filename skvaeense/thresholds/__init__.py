"""Rules that decide which latents are active; they need numpy only.

A new rule is one class in one file that derives from `ThresholdRule`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.thresholds._base import Latents, ThresholdRule
from skvaeense.thresholds._contribution import Contribution
from skvaeense.thresholds._fixed_variance import FixedVariance
from skvaeense.thresholds._otsu import Otsu
from skvaeense.utils._validation import resolve_alias

__all__ = [
    "Contribution",
    "FixedVariance",
    "Latents",
    "Otsu",
    "ThresholdRule",
    "resolve_threshold",
]

ThresholdName: TypeAlias = Literal["contribution", "fixed_variance", "otsu"]
ALIASES: dict[str, type[ThresholdRule]] = {
    "contribution": Contribution,
    "fixed_variance": FixedVariance,
    "otsu": Otsu,
}


def resolve_threshold(threshold: ThresholdName | ThresholdRule) -> ThresholdRule:
    """Return the rule that an alias stands for, or the instance itself.

    Parameters
    ----------
    threshold : {"contribution", "fixed_variance", "otsu"} or ThresholdRule
        An alias, which means the defaults of its class, or a rule.

    Returns
    -------
    ThresholdRule
        The rule.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the rule is out of its range.

    Examples
    --------
    >>> from skvaeense.thresholds import resolve_threshold
    >>> resolve_threshold("otsu")
    Otsu()
    """
    return resolve_alias("threshold", threshold, ThresholdRule, ALIASES)
