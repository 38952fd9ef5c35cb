"""The only importer of private scikit-learn modules, and the checks built on them.

When scikit-learn moves a private name, only this file needs a change.
"""

from abc import ABC
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import _param_validation
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import _check_sample_weight, assert_all_finite

from skvaeense.utils._arrays import plain
from skvaeense.utils._estimators import DocLinkMixin
from skvaeense.utils._typing import DoubleArray

try:
    from sklearn.utils._sparse import _align_api_if_sparse as align_api_if_sparse
except ImportError:  # Before scikit-learn 1.9 results are matrices.
    from scipy.sparse import csr_matrix as align_api_if_sparse
# Names that other files import from scikit-learn through this file.
__all__ = ["HasMethods", "StrOptions", "align_api_if_sparse"]


class Interval(_param_validation.Interval):
    """An interval of numbers without booleans, which are integers in Python."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a number in the interval."""
        return not isinstance(val, bool) and bool(super().is_satisfied_by(val))

    def checked(self, value: Any, name: str, method: str) -> int:
        """Return an argument of a method as an int; raise scikit-learn's error if it is invalid."""
        _param_validation.validate_parameter_constraints({name: [self]}, {name: value}, method)
        return int(value)


class NumberOfLatents(Interval):
    """A number of latents; the error for another number names the parameter for a share."""

    def __init__(self) -> None:
        super().__init__(Integral, 1, None, closed="left")

    def __str__(self) -> str:
        return f"{super().__str__()} (set target_explained_variance for a share of the variance)"


class Sizes(Interval):
    """A list, tuple or 1-d array of integers, all at least 1."""

    def __init__(self) -> None:
        super().__init__(Integral, 1, None, closed="left")

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is such a list, with at least one entry."""
        return np.ndim(val) == 1 and len(val) > 0 and all(map(super().is_satisfied_by, val))

    def __str__(self) -> str:
        return f"a list such as [4, 4], each entry {super().__str__()}"


AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
AT_LEAST_ZERO = Interval(Integral, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="neither")
# Unlike scikit-learn's constraint, this one refuses booleans.
RANDOM_STATE = [Interval(Integral, 0, 2**32 - 1, closed="both"), np.random.RandomState, None]
SIZES = Sizes()

Method = TypeVar("Method", bound=Callable[..., Any])
# The decorator that validates parameters before a method runs, with a type.
fit_context: Callable[..., Callable[[Method], Method]] = _fit_context


class Specification(DocLinkMixin, BaseEstimator, ABC):
    """The choice of a part of an estimator: a class with its own parameters.

    Each kind of part derives from this class. A class of that kind can have an `alias`, a word that
    means the class with its defaults wherever an estimator takes this kind of part.

    Attributes
    ----------
    aliases : dict of str to type
        The classes of a kind, by their aliases.
    """

    # As in scikit-learn's estimators; parameters without a constraint are not checked.
    _parameter_constraints: dict[str, list[Any]] = {}

    alias: ClassVar[str | None] = None
    aliases: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Specification in cls.__bases__:
            cls.aliases = {}
        alias = vars(cls).get("alias")
        if alias is None:
            return
        other = cls.aliases.setdefault(alias, cls)
        # A notebook cell that runs again defines the same class again.
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"The alias {alias!r} is already used by {other!r}; give {cls!r} another alias."
            )
        cls.aliases[alias] = cls

    @classmethod
    def resolve(cls, value: "str | Self") -> Self:
        """Return an instance of the class that an alias names, or a given instance.

        Parameters
        ----------
        value : str or instance of the class
            An alias, or an instance whose parameters are to be checked.

        Returns
        -------
        instance of the class
            The class that the alias names, with its defaults; or `value`.

        Raises
        ------
        ValueError
            If the alias is unknown, or a parameter is out of its range.

        Examples
        --------
        >>> from skvaeense.nets.penalties import Penalty
        >>> Penalty.resolve("topk")
        TopK()
        """
        if isinstance(value, cls):
            value.validate()
            return value
        if isinstance(value, str) and value in cls.aliases:
            return cls.aliases[value]()
        raise ValueError(
            f"{cls.__name__} must be one of {sorted(cls.aliases)} or an instance of "
            f"{cls.__name__}, got {value!r}."
        )

    def validate(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If a parameter has the wrong type or is out of its range in `_parameter_constraints`.
        """
        self._validate_params()


class AliasOf(StrOptions):
    """The aliases of a kind of part, including classes defined later, and other words.

    Errors do not list the `refused` alias, which an estimator rejects with a reason.
    """

    def __init__(self, kind: type[Specification], *others: str, refused: str | None = None) -> None:
        super().__init__({*others, *kind.aliases} - {refused})
        self.kind, self.refused = kind, refused

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is one of these words."""
        self.options.update(self.kind.aliases.keys() - {self.refused})
        return bool(super().is_satisfied_by(val) or (isinstance(val, str) and val == self.refused))


def validate_params(constraints: dict[str, list[Any]]) -> Callable[[Method], Method]:
    """Return scikit-learn's decorator that validates arguments before a function runs."""
    return _param_validation.validate_params(constraints, prefer_skip_nested_validation=False)


def are_equal(a: Any, b: Any) -> bool:
    """Return whether two values of a parameter are equal, or equal specifications."""
    if isinstance(a, BaseEstimator):
        return type(a) is type(b) and are_equal(*(part.get_params(deep=False) for part in (a, b)))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(are_equal(a[name], b[name]) for name in a)
    return np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))


def check_weights(sample_weight: Any, X: Any) -> DoubleArray:
    """Return one weight of at least 0 for each sample, in double precision."""
    weights: DoubleArray = _check_sample_weight(
        plain(sample_weight, "sample_weight"), X, dtype=np.float64, ensure_non_negative=True
    )
    # scikit-learn does not check a single number for NaN and infinity.
    assert_all_finite(weights, input_name="sample_weight")
    return weights


def check_integer(value: Any, name: str, *, minimum: int) -> int:
    """Return a value as an int of at least `minimum`; booleans are not ints here."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return int(value)


def checked_scale(scale: float) -> float:
    """Return a standard deviation; raise an error if its square is out of range of float64."""
    if not 1e-150 < scale < 1e150:
        raise ValueError(
            f"X has a standard deviation of {scale:.3g}, so the noise variance, in squared units "
            "of X, is beyond the range of float64. Multiply X by a constant first."
        )
    return scale


def too_far(dtype: Any) -> ValueError:
    """Return the error for samples whose results are not finite."""
    return ValueError(
        f"X has samples too far from the training samples: results in {dtype} are not finite. "
        "Leave these samples out, or give X in double precision."
    )
