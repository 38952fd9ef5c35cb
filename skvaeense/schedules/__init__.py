"""Schedules of the learning rate.

A new schedule is one class in one file that derives from `Schedule`, and its import here.
"""

from skvaeense.schedules._base import Schedule
from skvaeense.schedules._constant import Constant
from skvaeense.schedules._cosine import Cosine

__all__ = ["Constant", "Cosine", "Schedule"]
