"""The only importer of private scikit-learn modules, and the checks built on them.

When scikit-learn moves a private name, this file is the one to mend.
"""

from abc import ABC
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import _param_validation
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils._sparse import _align_api_if_sparse as align_api_if_sparse
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

from skvaeense.utils._repr import DocLinkMixin

# What is handed on from scikit-learn.
__all__ = ["HasMethods", "StrOptions", "align_api_if_sparse", "check_sample_weight"]


class Interval(_param_validation.Interval):
    """An interval of numbers, of which booleans are none, though Python has them among integers."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a number in the interval."""
        return not isinstance(val, bool) and bool(super().is_satisfied_by(val))


AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
AT_LEAST_ZERO = Interval(Integral, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
FRACTION = Interval(Real, 0, 1, closed="left")
SHARE = Interval(Real, 0, 1, closed="neither")
RANDOM_STATE = [Interval(Integral, 0, 2**32 - 1, closed="both"), np.random.RandomState, None]

Method = TypeVar("Method", bound=Callable[..., Any])


class Specification(DocLinkMixin, BaseEstimator, ABC):
    """What users choose a part of an estimator by: a class with parameters of its own."""

    # As in scikit-learn's estimators; parameters without a constraint are not checked.
    _parameter_constraints: dict[str, list[Any]] = {}

    def validate(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If one is of the wrong type or out of its range, as `_parameter_constraints` has it.
        """
        self._validate_params()


Kind = TypeVar("Kind", bound=Specification)


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]:
    """Return scikit-learn's decorator that validates parameters before a method runs."""
    decorator: Callable[[Method], Method] = _fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorator


def are_equal(a: Any, b: Any) -> bool:
    """Return whether two values of a parameter are the same, or specify the same."""
    if isinstance(a, BaseEstimator):
        return type(a) is type(b) and are_equal(*(part.get_params(deep=False) for part in (a, b)))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(are_equal(a[name], b[name]) for name in a)
    return np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))


def resolve_alias(
    name: str, value: Any, kind: type[Kind], aliases: Mapping[str, type[Kind]]
) -> Kind:
    """Return an instance of `kind`: the value, checked, or the defaults of the class it names."""
    if isinstance(value, kind):
        value.validate()
        return value
    if isinstance(value, str) and value in aliases:
        return aliases[value]()
    raise ValueError(
        f"{name} must be one of {sorted(aliases)} or a {kind.__name__}, got {value!r}."
    )
