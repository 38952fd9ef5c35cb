"""Schedules of the learning rate.

A new schedule is one class in one file that derives from `Schedule`, and one line here.
"""

from typing import Literal, TypeAlias

from skvaeense.schedules._base import Schedule
from skvaeense.schedules._constant import Constant
from skvaeense.schedules._cosine import Cosine
from skvaeense.utils._validation import resolve_alias

__all__ = ["Constant", "Cosine", "Schedule", "resolve_schedule"]

ScheduleName: TypeAlias = Literal["constant", "cosine"]
ALIASES: dict[str, type[Schedule]] = {"constant": Constant, "cosine": Cosine}


def resolve_schedule(schedule: ScheduleName | Schedule) -> Schedule:
    """Return the schedule that an alias stands for, or the instance itself.

    Parameters
    ----------
    schedule : {"constant", "cosine"} or Schedule
        An alias, which means the defaults of its class, or a schedule.

    Returns
    -------
    Schedule
        The schedule.

    Raises
    ------
    ValueError
        If the alias is unknown, or a parameter of the schedule is out of its range.

    Examples
    --------
    >>> from skvaeense.schedules import resolve_schedule
    >>> resolve_schedule("cosine")
    Cosine()
    """
    return resolve_alias("schedule", schedule, Schedule, ALIASES)
