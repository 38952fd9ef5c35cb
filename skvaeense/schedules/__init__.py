"""Schedules of the learning rate.

A new schedule needs one class that derives from `Schedule`, in one file, and its import here.
"""

from skvaeense.schedules._base import Schedule
from skvaeense.schedules._constant import Constant
from skvaeense.schedules._cosine import Cosine

__all__ = ["Constant", "Cosine", "Schedule"]
