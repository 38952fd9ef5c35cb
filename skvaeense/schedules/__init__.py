"""Schedules of the learning rate.

To add a schedule, derive a class from `Schedule` in a new file, and import it here.
"""

from skvaeense.schedules._base import Schedule
from skvaeense.schedules._constant import Constant
from skvaeense.schedules._cosine import Cosine

__all__ = ["Constant", "Cosine", "Schedule"]
