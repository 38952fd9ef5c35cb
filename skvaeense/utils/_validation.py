"""The only importer of private scikit-learn modules, and the checks built on them.

When scikit-learn moves a private name, this file is the one to mend.
"""

from numbers import Integral, Real

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

__all__ = [
    "AT_LEAST_ONE",
    "FRACTION",
    "NON_NEGATIVE",
    "POSITIVE",
    "HasMethods",
    "Interval",
    "StrOptions",
    "fit_context",
]

fit_context = _fit_context

AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
FRACTION = Interval(Real, 0, 1, closed="neither")
