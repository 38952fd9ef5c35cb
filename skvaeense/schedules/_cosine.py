"""A short rise, then half a cosine down."""

import math

from skvaeense.schedules._base import Schedule
from skvaeense.utils._validation import FRACTION

# Learning rate of the first step, as a share of the peak.
FIRST = 0.04


class Cosine(Schedule):
    """A linear rise to the peak, the peak for a while, then half a cosine down.

    Parameters
    ----------
    warmup : float, default=0.1
        Share of the training after which the peak is reached, in [0, 1).

    hold : float, default=0.1
        Share of the training after which the rate falls; at least `warmup`, in [0, 1).

    floor : float, default=0.0
        Last factor, in [0, 1).

    See Also
    --------
    Constant : Neither rises nor falls.

    Examples
    --------
    >>> from skvaeense.schedules import Cosine
    >>> Cosine().factor(0.1), Cosine(hold=0.7).factor(0.5), round(Cosine().factor(0.55), 3)
    (1.0, 1.0, 0.5)
    """

    alias = "cosine"

    _parameter_constraints = {"warmup": [FRACTION], "hold": [FRACTION], "floor": [FRACTION]}

    def __init__(self, warmup: float = 0.1, hold: float = 0.1, floor: float = 0.0) -> None:
        self.warmup = warmup
        self.hold = hold
        self.floor = floor

    def factor(self, fraction_done: float) -> float:
        """Return the factor on the peak learning rate."""
        if fraction_done < self.warmup:
            return min(1.0, FIRST + fraction_done / self.warmup)
        if fraction_done < self.hold:
            return 1.0
        angle = math.pi * (fraction_done - self.hold) / (1 - self.hold)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(angle))
