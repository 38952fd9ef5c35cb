"""The same learning rate throughout."""

from skvaeense.schedules._base import Schedule


class Constant(Schedule):
    """The same learning rate throughout.

    See Also
    --------
    Cosine : Falls to 0, which most models need.

    Examples
    --------
    >>> from skvaeense.schedules import Constant
    >>> Constant().factor(0.9)
    1.0
    """

    alias = "constant"

    def factor(self, fraction_done: float) -> float:
        """Return 1."""
        return 1.0
